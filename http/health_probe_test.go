package http

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"varve/domain"
)

// stateOf is a health answer as its readers see it.
type stateOf struct {
	Status       string
	Live, Ready  bool
	Dependencies map[string]struct {
		OK, Required bool
		Reason       string
	}
}

func healthOf(t *testing.T, s *Server, path string) (int, stateOf, answered) {
	t.Helper()
	a := ask(s, "GET", path, "")
	var h stateOf
	if a.Code == 200 {
		if err := json.Unmarshal(a.Body.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
	}
	return a.Code, h, a
}

func TestReadinessAndDependencies(t *testing.T) {
	var store, blobs atomic.Pointer[error]
	fails := func(p *atomic.Pointer[error], err error) { p.Store(&err) }
	told := func(p *atomic.Pointer[error]) func(context.Context) error {
		return func(context.Context) error {
			if e := p.Load(); e != nil {
				return *e
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := New(Deps{Version: "test", Dependencies: []Dependency{
			{Name: "store", Check: told(&store)}, {Name: "blobs", Check: told(&blobs), Optional: true},
		}})
		code, h, _ := healthOf(t, s, "/v1/health/ready")
		if code != 200 || h.Status != "OK" || !h.Ready || !h.Live || !h.Dependencies["store"].OK || !h.Dependencies["store"].Required || h.Dependencies["blobs"].Required {
			t.Fatalf("%d %+v", code, h)
		}
		fails(&blobs, errors.New("open /secret/place: no such host"))
		if _, h, _ = healthOf(t, s, "/v1/health"); h.Status != "OK" {
			t.Error("asked again within a second")
		}
		time.Sleep(probeAge)
		code, h, a := healthOf(t, s, "/v1/health/ready")
		if code != 200 || h.Status != "DEGRADED" || !h.Ready || h.Dependencies["blobs"].Reason != unclear || strings.Contains(a.Body.String(), "secret") {
			t.Errorf("without an optional part: %d %s", code, a.Body)
		}
		fails(&store, &domain.Error{Code: domain.CodeUnavailable, Message: "is being filled"})
		time.Sleep(probeAge)
		code, h, _ = healthOf(t, s, "/v1/health")
		if code != 200 || h.Status != "NOT_READY" || h.Ready || !h.Live {
			t.Errorf("health without a required part: %d %+v", code, h)
		}
		code, _, a = healthOf(t, s, "/v1/health/ready")
		if code != 503 || a.envelope.Error.Code != "not_ready" || a.envelope.Error.Message != "not ready: store is being filled" || a.envelope.Error.Details["dependencies"] == nil {
			t.Errorf("readiness without a required part: %d %s", code, a.Body)
		}
		fails(&store, nil)
		time.Sleep(probeAge)
		if code, _, _ = healthOf(t, s, "/v1/health/ready"); code != 200 {
			t.Errorf("not ready again: %d", code)
		}
		s.Stop()
		if code, _, a = healthOf(t, s, "/v1/health/ready"); code != 503 || a.envelope.Error.Code != "stopping" {
			t.Errorf("ready while it stops: %d %s", code, a.Body)
		}
		if code, _, _ = healthOf(t, s, "/v1/health/live"); code != 200 {
			t.Errorf("not alive while it stops: %d", code)
		}
	})
}

// A check that heeds nothing holds nobody longer than two seconds, and is not
// begun again while it hangs; one that panics is an error.
func TestChecksThatHangOrPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, begun := make(chan struct{}), atomic.Int32{}
		s := New(Deps{
			Dependencies: []Dependency{
				{Name: "store", Check: func(context.Context) error { begun.Add(1); <-release; return nil }},
				{Name: "index", Check: func(context.Context) error { panic("secret") }},
			},
			Checks: map[string]func(context.Context) error{"cache": func(context.Context) error { begun.Add(1); <-release; return nil }},
		})
		for round := range 3 {
			from := time.Now()
			code, _, a := healthOf(t, s, "/v1/health/ready")
			if code != 503 || !strings.Contains(a.envelope.Error.Message, "store has not answered within") || strings.Contains(a.Body.String(), "secret") {
				t.Errorf("%d %s", code, a.Body)
			}
			if took := time.Since(from); took > probeTime || round > 0 && took > 0 {
				t.Errorf("round %d took %s", round, took)
			}
		}
		if n := begun.Load(); n != 1 {
			t.Errorf("the check was begun %d times", n)
		}
		if got := s.Health(t.Context()); got["store"] == "" || got["index"] != unclear {
			t.Errorf("%v", got)
		}
		part := askAll(t.Context(), []*probe{s.parts["cache"]}, 0)[0]
		if part.err == nil || part.took != probeTime {
			t.Errorf("%+v", part)
		}
		close(release)
		synctest.Wait()
		time.Sleep(probeAge)
		if got := s.Health(t.Context()); got["store"] != "" {
			t.Errorf("%v", got)
		}
	})
}
