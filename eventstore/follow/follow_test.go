package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/eventstore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T) eventstore.Owner {
	t.Helper()
	s, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put appends one event each to streams of a log, "stream" or "stream type".
func put(t *testing.T, s eventstore.Store, log eventstore.LogID, streams ...string) {
	t.Helper()
	for _, stream := range streams {
		kind := "thing.happened"
		_, _ = fmt.Sscanf(stream, "%s %s", &stream, &kind)
		_, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: log, Stream: stream, Events: []eventstore.Event{{Type: kind, Data: []byte("{}")}}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// ledger is a consumer in memory: it writes down what it was given, refuses what
// it is told to, and keeps its state as a database would.
type ledger struct {
	mu      sync.Mutex
	state   State
	taken   []string // log/stream@version
	skipped []string
	poison  map[string]bool // stream@version
	down    int             // how many more times it is unavailable
	loads   int
	moves   int
}

func (l *ledger) Load(context.Context, int) (State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	s := l.state
	s.Parked = slices.Clone(s.Parked)
	return s, nil
}

func (l *ledger) Take(_ context.Context, m Move) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down > 0 {
		l.down--
		return Unavailable(errors.New("the disk is full"))
	}
	if l.state.Checkpoint != m.From {
		return ErrMoved
	}
	var names []string
	for _, r := range m.Records {
		if l.poison[fmt.Sprintf("%s@%d", r.Stream, r.Version)] {
			return fmt.Errorf("cannot apply %s@%d", r.Stream, r.Version)
		}
		names = append(names, fmt.Sprintf("%s/%s@%d", r.Log, r.Stream, r.Version))
	}
	l.moves++
	l.taken = append(l.taken, names...)
	l.state.Checkpoint = m.To
	for _, k := range m.Unpark {
		l.state.Parked = slices.DeleteFunc(l.state.Parked, func(p Parked) bool { return p.Key() == k })
	}
	for _, p := range m.Park {
		l.state.Parked = append(slices.DeleteFunc(l.state.Parked, func(q Parked) bool { return q.Key() == p.Key() }), p)
	}
	for _, p := range m.Skipped {
		l.skipped = append(l.skipped, fmt.Sprintf("%s@%d", p.Stream, p.Version))
	}
	return nil
}

func (l *ledger) heal(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		delete(l.poison, n)
	}
}

func (l *ledger) expect(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.taken, want) {
		t.Errorf("taken\n have %v\n want %v", l.taken, want)
	}
}

func follower(s eventstore.Follower, l *ledger) *Follower {
	return &Follower{Store: s, Name: "ledger", Consumer: l, Logger: quiet, Backoff: func(int) time.Duration { return time.Millisecond }}
}

// run runs a follower until the returned function is called.
func run(t *testing.T, f *Follower) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func reach(t *testing.T, s eventstore.Follower, f *Follower) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	head, err := s.Head(ctx, 0)
	if err == nil {
		err = f.WaitApplied(ctx, head)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFollowsResumesAndFilters(t *testing.T) {
	s, l := open(t), &ledger{}
	put(t, s, "a", "x", "x other.happened", "y")
	f := follower(s, l)
	f.Types = []string{"thing.happened"}
	stop := run(t, f)
	reach(t, s, f)
	put(t, s, "a", "x", "x other.happened")
	reach(t, s, f)
	stop()
	put(t, s, "b", "z")
	f = follower(s, l)
	f.Types = []string{"thing.happened"}
	stop = run(t, f)
	defer stop()
	reach(t, s, f)
	l.expect(t, "a/x@1", "a/y@1", "a/x@3", "b/z@1")
	if err := f.WaitApplied(context.Background(), 6); err != nil || f.Applied() != 6 {
		t.Errorf("applied %d, %v", f.Applied(), err)
	}
}

func TestParksTheStreamAndNothingElse(t *testing.T) {
	s, l := open(t), &ledger{poison: map[string]bool{"x@2": true}}
	put(t, s, "a", "x", "y", "x", "x", "y", "z")
	put(t, s, "b", "x")
	f := follower(s, l)
	stop := run(t, f)
	reach(t, s, f)
	put(t, s, "a", "x", "y")
	reach(t, s, f)
	l.expect(t, "a/x@1", "a/y@1", "a/y@2", "a/z@1", "b/x@1", "a/y@3")
	parked := f.Parked()
	if len(parked) != 1 || parked[0].Key() != (Key{"a", "x"}) || parked[0].Version != 2 || parked[0].Position != 3 || parked[0].Error == "" || parked[0].Tries != 3 {
		t.Fatalf("parked %+v", parked)
	}
	if got := f.ParkedIn("b"); got != nil {
		t.Errorf("log b has %v", got)
	}
	var still *StillParkedError
	if err := f.Retry(context.Background(), Key{"a", "x"}, 0); !errors.As(err, &still) || still.Parked != f.Parked()[0] || still.Parked.Tries != 4 {
		t.Errorf("a retry of what still fails gave %v, parked is %+v", err, f.Parked())
	}
	stop()

	// A follower that starts later knows what is parked.
	f = follower(s, l)
	stop = run(t, f)
	defer stop()
	reach(t, s, f)
	l.heal("x@2")
	if err := f.Retry(context.Background(), Key{"a", "x"}, 0); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "x")
	reach(t, s, f)
	l.expect(t, "a/x@1", "a/y@1", "a/y@2", "a/z@1", "b/x@1", "a/y@3", "a/x@2", "a/x@3", "a/x@4", "a/x@5")
	if f.Parked() != nil {
		t.Errorf("still parked: %v", f.Parked())
	}
	if err := f.Retry(context.Background(), Key{"a", "x"}, 0); !errors.Is(err, ErrNotParked) {
		t.Errorf("a retry of nothing gave %v", err)
	}
}

func TestSkipLeavesOutOneEvent(t *testing.T) {
	s, l := open(t), &ledger{poison: map[string]bool{"x@1": true, "x@3": true}}
	put(t, s, "a", "x", "x", "x", "x")
	f := follower(s, l)
	stop := run(t, f)
	defer stop()
	reach(t, s, f)
	ctx := context.Background()
	var still *StillParkedError
	at := f.Parked()[0].Position
	if err := f.Skip(ctx, Key{"a", "x"}, at+1); !errors.Is(err, ErrNotParked) {
		t.Errorf("a skip of what stands elsewhere gave %v", err)
	}
	if err := f.Skip(ctx, Key{"a", "x"}, at); !errors.As(err, &still) || still.Parked.Version != 3 {
		t.Errorf("x@3 fails too, and skipping x@1 gave %v", err)
	}
	l.expect(t, "a/x@2")
	if p := f.Parked(); len(p) != 1 || p[0].Version != 3 {
		t.Fatalf("parked %+v", p)
	}
	if err := f.Skip(ctx, Key{"a", "x"}, 0); err != nil {
		t.Fatal(err)
	}
	l.expect(t, "a/x@2", "a/x@4")
	if !slices.Equal(l.skipped, []string{"x@1", "x@3"}) {
		t.Errorf("recorded as skipped: %v", l.skipped)
	}
}

// slow is a consumer that takes its time.
type slow struct {
	*ledger
	pages []int
}

func (s *slow) Take(ctx context.Context, m Move) error {
	s.pages = append(s.pages, len(m.Records))
	time.Sleep(time.Second)
	return s.ledger.Take(ctx, m)
}

// What comes one by one while a page is applied is applied together, up to a page.
func TestRecordsJoin(t *testing.T) {
	for size, want := range map[int]string{0: "[1 5]", 2: "[1 2 1 2]", 5: "[1 5]"} {
		synctest.Test(t, func(t *testing.T) {
			s, l := open(t), &slow{ledger: &ledger{}}
			f := follower(s, l.ledger)
			f.Consumer, f.PageSize = l, size
			stop := run(t, f)
			defer stop()
			for range 6 {
				put(t, s, "a", "x")
				synctest.Wait() // it has been read
			}
			reachWithin(t, s, f, time.Minute)
			l.expect(t, "a/x@1", "a/x@2", "a/x@3", "a/x@4", "a/x@5", "a/x@6")
			if got := fmt.Sprint(l.pages); got != want {
				t.Errorf("pages of %d records at most: %s, want %s", size, got, want)
			}
		})
	}
}

func TestConfigParksItsWholeLog(t *testing.T) {
	s, l := open(t), &ledger{poison: map[string]bool{"config@1": true}}
	put(t, s, "a", "x", "config", "x", "y")
	put(t, s, "b", "x")
	f := follower(s, l)
	f.PageSize = 2
	stop := run(t, f)
	defer stop()
	reach(t, s, f)
	l.expect(t, "a/x@1", "b/x@1")
	l.heal("config@1")
	if err := f.Retry(context.Background(), Key{"a", ""}, 0); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "y")
	reach(t, s, f)
	l.expect(t, "a/x@1", "b/x@1", "a/config@1", "a/x@2", "a/y@1", "a/y@2")
}

func TestHoldsOneLogBack(t *testing.T) {
	s, l := open(t), &ledger{}
	put(t, s, "a", "x")
	f := follower(s, l)
	stop := run(t, f)
	reach(t, s, f)
	ctx := context.Background()
	for _, log := range []eventstore.LogID{"a", "c"} {
		if err := f.Hold(ctx, log); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "a", "x", "y")
	put(t, s, "b", "x")
	reach(t, s, f)
	if err := f.Skip(ctx, Key{"a", ""}, 0); err == nil {
		t.Error("a log that is held was skipped")
	}
	stop()
	f = follower(s, l)
	stop = run(t, f)
	defer stop()
	put(t, s, "a", "x")
	reach(t, s, f)
	l.expect(t, "a/x@1", "b/x@1")
	for range 2 { // the second changes nothing
		for _, log := range []eventstore.LogID{"a", "c"} {
			if err := f.Release(ctx, log); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(t, s, "c", "x")
	reach(t, s, f)
	l.expect(t, "a/x@1", "b/x@1", "a/x@2", "a/y@1", "a/x@3", "c/x@1")
}

// What is nobody's fault parks nothing, however often it is tried, and says so.
func TestUnavailableIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.Open(memory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := &ledger{down: 9}
		put(t, s, "a", "x", "y")
		f := &Follower{Store: s, Name: "ledger", Consumer: l, Logger: quiet}
		start := time.Now()
		stop := run(t, f)
		defer stop()
		time.Sleep(time.Second)
		if f.Err() == nil {
			t.Error("it does not say that it cannot get on")
		}
		reachWithin(t, s, f, time.Minute)
		if waited := time.Since(start); waited < 10*time.Second || waited > 30*time.Second {
			t.Errorf("nine failures took %s", waited)
		}
		if f.Err() != nil || f.Parked() != nil {
			t.Errorf("then: %v, parked %v", f.Err(), f.Parked())
		}
		l.expect(t, "a/x@1", "a/y@1")
	})
}

func reachWithin(t *testing.T, s eventstore.Follower, f *Follower, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	head, err := s.Head(ctx, 0)
	if err == nil {
		err = f.WaitApplied(ctx, head)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A follower that was overtaken changes nothing, loads again and goes on.
func TestZombieChangesNothing(t *testing.T) {
	s, l := open(t), &ledger{}
	put(t, s, "a", "x")
	one, two := follower(s, l), follower(s, l)
	stopOne, stopTwo := run(t, one), run(t, two)
	defer stopOne()
	defer stopTwo()
	var want []string
	want = append(want, "a/x@1")
	for i := range 50 {
		put(t, s, "a", "y")
		want = append(want, fmt.Sprintf("a/y@%d", i+1))
	}
	reach(t, s, one)
	reach(t, s, two)
	l.expect(t, want...)
}

func TestLeaseLetsOneWork(t *testing.T) {
	s, l := open(t), &ledger{}
	lease := &Process{}
	one, two := follower(s, l), follower(s, l)
	one.Lease, two.Lease = lease, lease
	stopOne := run(t, one)
	put(t, s, "a", "x")
	reach(t, s, one)
	stopTwo := run(t, two)
	defer stopTwo()
	if two.Applied() != 0 {
		t.Error("the second works without the lease")
	}
	stopOne()
	put(t, s, "a", "x")
	reach(t, s, two)
	l.expect(t, "a/x@1", "a/x@2")
	if l.loads != 2 {
		t.Errorf("state was loaded %d times", l.loads)
	}
	if err := one.WaitApplied(context.Background(), 2); !errors.Is(err, ErrStopped) {
		t.Errorf("waiting for a stopped follower gave %v", err)
	}
	if err := one.Retry(context.Background(), Key{}, 0); !errors.Is(err, ErrStopped) {
		t.Errorf("a command to a stopped follower gave %v", err)
	}
}

func TestRefusesAnotherRecord(t *testing.T) {
	s, other := open(t), open(t)
	put(t, s, "a", "x", "x")
	put(t, other, "a", "x")
	for name, test := range map[string]func(l *ledger){
		"another record": func(l *ledger) { put(t, other, "a", "x") },
		"a shorter feed": func(l *ledger) { l.state.Checkpoint.Feed = 99 },
	} {
		l := &ledger{}
		f := follower(s, l)
		stop := run(t, f)
		reach(t, s, f)
		stop()
		test(l)
		err := follower(other, l).Run(context.Background())
		var refused *CheckpointError
		if !errors.As(err, &refused) {
			t.Errorf("%s: run gave %v", name, err)
		}
	}
}

// While nothing happens a follower does nothing: in a bubble whose time stands
// still as long as anything runs, an idle hour passes at once.
func TestIdleFollowerSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.Open(memory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := &ledger{}
		f := follower(s, l)
		stop := run(t, f)
		defer stop()
		put(t, s, "a", "x")
		time.Sleep(time.Hour)
		synctest.Wait()
		if l.moves != 1 || l.loads != 1 {
			t.Errorf("%d moves and %d loads in an idle hour", l.moves, l.loads)
		}
	})
}

func TestSkipsWhatRetentionRemoved(t *testing.T) {
	s, l := open(t), &ledger{}
	put(t, s, "a", "x", "x", "x", "x")
	if err := s.Truncate(context.Background(), 0, 2); err != nil {
		t.Fatal(err)
	}
	f := follower(s, l)
	stop := run(t, f)
	defer stop()
	reach(t, s, f)
	l.expect(t, "a/x@3", "a/x@4")
}
