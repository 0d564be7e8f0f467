package http

import (
	"context"
	"crypto/rand"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"varve/commands"
	"varve/domain"
	"varve/eventstore/fold"
	"varve/eventstore/memory"
	"varve/eventstore/state"
	"varve/http/scenario"
	"varve/projections"
)

var update = flag.Bool("update", false, "write docs/api-operations.md")

// TestMain holds docs/api-operations.md to what the scenarios of a whole run called.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if whole() && (code == 0 || *update) {
		code = max(code, operationsDocument())
	}
	os.Exit(code)
}

// whole says whether every test was to run.
func whole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

func operationsDocument() int {
	file := filepath.Join("..", "docs", "api-operations.md")
	want := scenario.Operations(New(Deps{}).Served)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			slog.Error("write the list of operations", "error", err)
			return 1
		}
		return 0
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		slog.Error("docs/api-operations.md is not what routes and scenarios say now: go test ./http -update writes it")
		return 1
	}
	return 0
}

// stack is a whole server in this process: memory store, read models in a
// directory of the test, two organizations. Its keys: admin, member, viewer
// and reader (permission read only) of one, other of another.
type stack struct {
	scenario.Stack
	server   *Server
	commands *commands.Handler
	clock    *clock
}

// clock is the server's clock: it stands until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newStack(t *testing.T, change ...func(*Deps)) *stack {
	t.Helper()
	ctx := context.Background()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	quiet := slog.New(slog.DiscardHandler)
	st := &stack{clock: &clock{time.Now().UTC()}}
	organizations := &fold.Cache[domain.Organization]{Store: store, Stream: domain.OrganizationStream, Apply: commands.FoldOrganization}
	configs := &fold.Cache[domain.Config]{Store: store, Stream: domain.ConfigStream, Apply: commands.FoldConfig}
	models := projections.NewRunner(store, t.TempDir(), projections.Options{Logger: quiet, PinWait: scenario.Patience})
	reads := Reads{Models: models, Directory: projections.NewDirectory(), Documents: projections.NewDocuments(), Objects: projections.NewObjects(), Batches: projections.NewBatches()}
	for _, m := range []any{reads.Directory, reads.Documents, reads.Objects, reads.Batches} {
		if p, ok := m.(projections.Projection); ok {
			models.Add(p)
		}
	}
	if err := models.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = models.Stop() })
	st.commands = &commands.Handler{
		Store: store, Organizations: organizations, Configs: configs, Log: quiet, Now: st.clock.now,
		Entropy:       func() (b [16]byte) { _, _ = rand.Read(b[:]); return b },
		Keys:          &commands.KeyRing{Pepper: []byte("pepper of the tests, 32 bytes ok"), Random: rand.Reader},
		ActiveBatches: func(context.Context) ([]commands.BatchRef, error) { return nil, nil },
		Work:          state.OpenDirectory(""),
	}
	deps := Deps{Commands: st.commands, Organizations: organizations, Configs: configs, Reads: reads, HashKey: st.commands.Keys.Hash,
		LookupKey: FindKeys(reads.Directory, store), Log: quiet, Now: st.clock.now, Version: "test"}
	for _, f := range change {
		f(&deps)
	}
	st.server = New(deps)
	st.Stack = scenario.Stack{Handler: st.server.Handler(), Store: store, Keys: map[string]string{}, Vars: map[string]string{}}
	org := st.organization(t, "admin", "ada@example.com")
	st.Vars["org"] = org.OrganizationID
	st.organization(t, "other", "oto@example.com")
	for _, k := range []struct{ as, role, permission string }{{"member", "member", ""}, {"viewer", "viewer", ""}, {"reader", "member", "read"}} {
		email := k.as + "@example.com"
		if _, err := st.commands.CreateUser(ctx, org, commands.CreateUser{Email: email, UserName: k.as, Role: k.role}); err != nil {
			t.Fatal(err)
		}
		cmd := commands.CreateKey{Email: email, Name: "k"}
		if k.permission != "" {
			cmd.Permissions = []string{k.permission}
		}
		made, err := st.commands.CreateKey(ctx, org, cmd)
		if err != nil {
			t.Fatal(err)
		}
		st.Keys[k.as] = made.Secret
	}
	if _, err := models.Pin(ctx, org.Organization, "directory"); err != nil {
		t.Fatal(err)
	}
	return st
}

func (st *stack) organization(t *testing.T, as, email string) commands.In {
	t.Helper()
	made, err := st.commands.CreateOrganization(context.Background(), commands.In{Origin: "test"}, commands.CreateOrganization{Name: as, Email: email})
	if err != nil {
		t.Fatal(err)
	}
	st.Keys[as] = made.APIKey
	found, err := st.server.LookupKey(context.Background(), commands.PublicPrefix(made.APIKey))
	for wait := time.Now().Add(scenario.Patience); err == nil && len(found) == 0 && time.Now().Before(wait); time.Sleep(time.Millisecond) {
		found, err = st.server.LookupKey(context.Background(), commands.PublicPrefix(made.APIKey))
	}
	if err != nil || len(found) != 1 {
		t.Fatalf("the key of %s is not found: %v, %v", as, found, err)
	}
	return commands.In{OrganizationID: made.Organization.ID, Organization: found[0].Organization, Actor: made.User.UserID, Origin: "test"}
}
