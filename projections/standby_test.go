package projections

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/memory"
)

// pair is two runners that share a database, as two processes do.
func pair(t *testing.T, s *stage, o Options, first, second Projection) (owner, other *Runner) {
	t.Helper()
	o = inDatabase(t, o)
	o.Lease, o.Logger, o.PinWait = &follow.Process{}, s.runner.o.Logger, s.runner.o.PinWait
	owner = NewRunner(s.store, "", o)
	owner.Add(first)
	o.Standby = true
	other = NewRunner(s.store, "", o)
	other.Add(second)
	return owner, other
}

// A process that only reads sees what another one applied and parked, whether
// notifications arrive or not, and follows it to what was built anew.
func TestStandbySees(t *testing.T) {
	for name, deaf := range map[string]bool{"told": false, "looking": true} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := newStage(t)
			one, two := &names{version: 1}, &names{version: 1}
			one.poison.Store(true)
			owner, other := pair(t, s, Options{}, one, two)
			other.database.deaf = deaf
			if err := other.Start(ctx); err != nil {
				t.Fatal(err)
			}
			defer other.Stop()
			if err := owner.Start(ctx); err != nil {
				t.Fatal(err)
			}
			defer owner.Stop()
			for i, id := range []string{"a", "poison", "b"} {
				s.put(written(id, "c", i))
			}
			for _, id := range []string{"d", "e"} {
				s.put(written(id, "c", 1))
				pin, err := other.Pin(ctx, s.log)
				if err != nil || pin.Lag != 0 || len(pin.Parked) != 1 || pin.Parked[0].Stream != "document-poison" {
					t.Fatalf("pin %+v, %v", pin, err)
				}
			}
			expect(t, "seen", must[[]string](t)(two.all(ctx)), []string{"a", "b", "d", "e"})
			k := follow.Key{Log: s.log, Stream: domain.DocumentStream("poison")}
			if err := other.Retry(ctx, "names", 0, k, 0); !errors.Is(err, follow.ErrStandby) {
				t.Errorf("a retry where another process has the lease gave %v", err)
			}
			one.poison.Store(false)
			if err := owner.Retry(ctx, "names", 0, k, 0); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; pause(ctx, 10*time.Millisecond) {
				if pin := must[Pin](t)(other.Pin(ctx, s.log)); len(pin.Parked) == 0 {
					break
				} else if time.Now().After(deadline) {
					t.Fatalf("still parked there: %+v", pin)
				}
			}
			if err := other.Rebuild(ctx, "names", nil); err != nil { // who only reads may ask for it
				t.Fatal(err)
			}
			s.put(written("f", "c", 1))
			for _, r := range []*Runner{owner, other} {
				if pin, err := r.Pin(ctx, s.log); err != nil || pin.Lag != 0 || pin.Position != 6 {
					t.Errorf("pin %+v, %v", pin, err)
				}
			}
			expect(t, "rebuilt", must[[]string](t)(two.all(ctx)), []string{"a", "poison", "b", "d", "e", "f"})
			if one, two := owner.models[0].current().path, other.models[0].current().path; one != two || !strings.HasSuffix(one, "_g2") {
				t.Errorf("they read %s and %s", one, two)
			}
		})
	}
}

// A newer program builds its version beside the older one's, which serves as long
// as a process reads it, and is dropped then.
func TestVersionsLiveSideBySide(t *testing.T) {
	ctx := context.Background()
	s := newStage(t)
	old, next := &names{version: 1}, &names{version: 2}
	older, newer := pair(t, s, Options{}, old, next)
	newer.o.Standby = false
	for _, r := range []*Runner{older, newer} {
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	defer newer.Stop()
	s.put(written("a", "c", 1), written("b", "c", 1))
	for r, n := range map[*Runner]*names{older: old, newer: next} {
		if pin, err := r.Pin(ctx, s.log); err != nil || pin.Lag != 0 {
			t.Fatalf("pin %+v, %v", pin, err)
		}
		expect(t, r.models[0].current().path, must[[]string](t)(n.all(ctx)), []string{"a", "b"})
	}
	if err := newer.database.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	expect(t, "of the older one", must[[]string](t)(old.all(ctx)), []string{"a", "b"})
	if err := older.Stop(); err != nil {
		t.Fatal(err)
	}
	var schemas []string
	var err error
	for try := 0; try < 500 && err == nil && len(schemas) != 1; try++ { // the server notices a moment later that a connection was closed
		pause(ctx, time.Duration(min(try, 1))*10*time.Millisecond)
		if err = newer.database.sweep(ctx); err == nil {
			schemas, err = newer.database.schemas(ctx)
		}
	}
	if err != nil || len(schemas) != 1 || !strings.Contains(schemas[0], "names_v2_") {
		t.Errorf("left are %v, %v", schemas, err)
	}
}

// What is wrong with the database is said in one line, without the password.
func TestDatabaseSaysWhatIsWrong(t *testing.T) {
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for dsn, want := range map[string]string{
		"postgres://u:sesame@127.0.0.1:1/x":             "no PostgreSQL answers at 127.0.0.1:1",
		"mysql://u:sesame@127.0.0.1/x":                  "no PostgreSQL address",
		"postgres://u:sesame@127.0.0.1:1/x?port=sesame": "setting",
	} {
		r := NewRunner(store, "", Options{Database: dsn})
		r.Add(NewDocuments())
		err := r.Start(context.Background())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame@") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s gives %v", want, err)
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	}
	r := NewRunner(store, "", Options{Database: "postgres://127.0.0.1/x", Schema: "Not Good"})
	r.Add(NewDocuments())
	if err := r.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "small letters") {
		t.Errorf("a bad schema gives %v", err)
	}
}

// way is a way to the server that can be cut.
func way(t *testing.T, to string) (address string, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ends := []io.Closer{l}
	keep := func(c io.Closer) {
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, c)
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			keep(from)
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			keep(server)
			go func() { _, _ = io.Copy(server, from); _ = server.Close() }()
			go func() { _, _ = io.Copy(from, server); _ = from.Close() }()
		}
	}()
	return l.Addr().String(), func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range ends {
			_ = c.Close()
		}
	}
}

// A runner that cannot reach its server any more says so, and stops all the same.
func TestStopsWithoutServer(t *testing.T) {
	s := newStage(t)
	owner, _ := pair(t, s, Options{}, &names{version: 1}, &names{version: 1})
	u, err := url.Parse(owner.o.Database)
	if err != nil {
		t.Fatal(err)
	}
	address, cut := way(t, u.Host)
	u.Host = address
	owner.database.dsn = u.String()
	ctx := context.Background()
	s.put(written("a", "c", 1))
	if err := owner.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := owner.WaitApplied(ctx, 0, 1); err != nil {
		t.Fatal(err)
	}
	cut()
	n := owner.models[0].p.(*names)
	if _, err := n.all(ctx); domain.CodeOf(err) != domain.CodeUnavailable || strings.Contains(err.Error(), "\n") {
		t.Errorf("a query gave %v", err)
	}
	begun := time.Now()
	_ = owner.Stop() // what it says does not matter
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}

// unheard is a store that has not heard yet of what others appended: it waits for
// it, but does not know of it when it is only asked.
type unheard struct{ eventstore.Follower }

func (u unheard) Wait(ctx context.Context, shard int, after uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return u.Follower.Wait(ctx, shard, after)
}

// A read sees what another process was acknowledged before, whether or not this
// one has heard of it.
func TestPinSeesWhatOthersWereAcknowledged(t *testing.T) {
	s := newStage(t, &names{version: 1})
	g := &gate{open: make(chan struct{})}
	close(g.open)
	r := NewRunner(unheard{s.store}, "", inDatabase(t, Options{Logger: s.runner.o.Logger, PinWait: time.Minute}))
	r.Add(&names{version: 1})
	r.AddIndex("gate", g)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	for i := range 20 {
		want := s.put(written("a", "c", 1)).Position
		if pin, err := r.Pin(t.Context(), s.log); err != nil || pin.Position != want || pin.Lag != 0 {
			t.Fatalf("read %d at %+v, %v; position %d was acknowledged before", i, pin, err, want)
		}
	}
}
