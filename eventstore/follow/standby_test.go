package follow

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"varve/eventstore/memory"
)

// watched is a ledger that others may look at.
type watched struct {
	*ledger
	broken bool // its watch fails at first
}

func (w *watched) Watch(ctx context.Context, shard int, seen func(State)) error {
	if w.broken {
		w.broken = false
		return errors.New("nobody answers")
	}
	for ctx.Err() == nil {
		s, _ := w.Load(ctx, shard)
		seen(s)
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// fragile is a lease that is lost when it is told so.
type fragile struct {
	Process
	mu   sync.Mutex
	lose context.CancelFunc
}

func (f *fragile) Acquire(ctx context.Context, name string) (context.Context, func(), error) {
	held, release, err := f.Process.Acquire(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	held, f.lose = context.WithCancel(held)
	return held, release, nil
}

// Who has no lease tells what the owner has applied, refuses commands, and goes
// on from there when the owner ends.
func TestStandbyWatchesAndTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.Open(memory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l := &ledger{poison: map[string]bool{"x@2": true}}
		lease := &Process{}
		owner, second, reader := follower(s, l), follower(s, l), follower(s, l)
		owner.Consumer, second.Consumer, reader.Consumer = &watched{ledger: l}, &watched{ledger: l, broken: true}, &watched{ledger: l}
		owner.Lease, second.Lease, reader.Standby = lease, lease, true
		stopOwner := run(t, owner)
		put(t, s, "a", "x")
		reach(t, s, owner)
		stopSecond, stopReader := run(t, second), run(t, reader)
		defer stopReader()
		defer stopSecond()
		put(t, s, "a", "x", "y")
		for _, f := range []*Follower{owner, second, reader} {
			reach(t, s, f)
			if p := f.Parked(); len(p) != 1 || p[0].Stream != "x" {
				t.Errorf("parked %+v", p)
			}
		}
		for _, f := range []*Follower{second, reader} {
			if err := f.Retry(context.Background(), Key{"a", "x"}, 0); !errors.Is(err, ErrStandby) {
				t.Errorf("a retry without the lease gave %v", err)
			}
		}
		stopOwner()
		put(t, s, "a", "y")
		reach(t, s, second)
		reach(t, s, reader)
		l.expect(t, "a/x@1", "a/y@1", "a/y@2")
	})
}

// A lease that is lost stops nobody for good: the follower loads what another
// may have moved meanwhile, and goes on when it has the lease again.
func TestLostLeaseIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := memory.Open(memory.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		l, lease := &ledger{}, &fragile{}
		f := follower(s, l)
		f.Lease = lease
		stop := run(t, f)
		defer stop()
		for range 3 {
			put(t, s, "a", "x")
			reach(t, s, f)
			lease.mu.Lock()
			lease.lose()
			lease.mu.Unlock()
			synctest.Wait()
		}
		put(t, s, "a", "x")
		reach(t, s, f)
		l.expect(t, "a/x@1", "a/x@2", "a/x@3", "a/x@4")
		if l.loads != 4 {
			t.Errorf("state was loaded %d times", l.loads)
		}
	})
}
