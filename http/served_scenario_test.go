package http_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	. "varve/http/scenario"
)

// served is Varve as it is served, with a namespace "films". Batches run only
// between run and the function that it gives, so that other steps know every event.
type served struct {
	*Stack
	varve *serve.Varve
	log   eventstore.LogID // of the namespace
}

func films(t *testing.T, change ...func(*serve.Config)) *served {
	t.Helper()
	ctx := context.Background()
	c := serve.Config{Data: t.TempDir(), Workers: 2, MaxBody: 1 << 20, RateLimit: -1, Drain: 5 * time.Second, ReadWait: Patience, LogLevel: "error"}
	for _, f := range change {
		f(&c)
	}
	v, err := serve.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &served{varve: v, Stack: &Stack{Handler: v.API.Handler(), Store: v.Store, Keys: map[string]string{}, Vars: map[string]string{}}}
	var organizations []domain.Organization
	for _, as := range []string{"admin", "other"} {
		made, err := v.Commands.CreateOrganization(ctx, commands.In{Origin: "test"}, commands.CreateOrganization{Name: as, Email: as + "@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		organizations = append(organizations, made.Organization)
		s.Keys[as] = made.APIKey
	}
	s.Play(t,
		Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Events: []string{"namespace.created", "namespace.configured"}, Save: map[string]string{"ns": "namespace_id"}},
		Step{Do: "POST /v1/namespaces", As: "other", Body: `{"namespace_name":"films"}`, AnyEvents: true},
	)
	o, _, err := v.Commands.Organizations.Head(ctx, eventstore.LogID("o-"+strings.TrimPrefix(organizations[0].ID, domain.OrganizationPrefix)))
	if err != nil {
		t.Fatal(err)
	}
	n, ok := o.Namespace("films")
	if !ok {
		t.Fatal("the namespace is not there")
	}
	s.log = eventstore.LogID(n.Log)
	return s
}

// films plays steps in the namespace.
func (s *served) films(t *testing.T, steps ...Step) {
	t.Helper()
	for i := range steps {
		if steps[i].Namespace == "" {
			steps[i].Namespace = "films"
		}
	}
	s.Play(t, steps...)
}

// run lets batches run until stop is called or the test ends.
func (s *served) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.varve.Commands.RunBatches(ctx, 2) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// records reads the namespace's log after a position.
func (s *served) records(t *testing.T, after uint64) []eventstore.Record {
	t.Helper()
	var all []eventstore.Record
	for r, err := range s.Store.Read(context.Background(), s.log, after, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// head is the newest position of the namespace's log.
func (s *served) head(t *testing.T) uint64 {
	t.Helper()
	head, err := s.Store.LogHead(context.Background(), s.log)
	if err != nil {
		t.Fatal(err)
	}
	return head.Position
}

// count counts records by type.
func count(records []eventstore.Record) map[string]int {
	n := map[string]int{}
	for _, r := range records {
		n[r.Type]++
	}
	return n
}

// wrong is a request that is refused with 422 for one value, which the answer
// names by its place in the body; nothing may be appended.
func wrong(name, do, body string, location ...any) Step {
	return Step{Name: name, Do: do, Body: body, Status: 422, Check: map[string]any{
		"success": false, "error.type": "ValidationError", "error.details.validation_errors.0.location": append([]any{"body"}, location...), "error.details.validation_errors.0.message": Present}}
}

// refused is a request that is refused with a status and a text in its message.
func refused(name, do, body string, status int, message string) Step {
	return Step{Name: name, Do: do, Body: body, Status: status, Check: map[string]any{"success": false, "error.message": Match(message), "request_id": Present}}
}
