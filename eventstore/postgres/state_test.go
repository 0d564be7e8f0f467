package postgres

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"varve/eventstore/failpoint"
	"varve/eventstore/state"
	"varve/eventstore/state/statetest"
)

func openState(t *testing.T, schema string) *State {
	t.Helper()
	s, err := OpenState(context.Background(), database(t), StateOptions{Schema: schema, Alive: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestState(t *testing.T) {
	statetest.Run(t, true, func(t *testing.T) func() state.Store {
		schema := schema(t)
		return func() state.Store { return openState(t, schema) }
	})
}

// A process that does not say that it lives, as one that was killed or cut off,
// loses what it held, and knows it before another has it.
func TestStateOfTheDeadIsTakenOver(t *testing.T) {
	schema := schema(t)
	one, two := openState(t, schema), openState(t, schema)
	defer two.Close()
	held, release, err := one.Acquire(t.Context(), "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if taken, _, err := one.Take(t.Context(), "batch/1", []string{"a", "b"}, 1); err != nil || len(taken) != 1 {
		t.Fatal(taken, err)
	}
	one.stop() // its heart
	<-one.ended
	lost := context.AfterFunc(held, func() { t.Error("what has stopped beating cannot notice") })
	defer lost()
	start := time.Now()
	_, releaseTwo, err := two.Acquire(t.Context(), "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	defer releaseTwo()
	if waited := time.Since(start); waited < 300*time.Millisecond {
		t.Errorf("taken over after %s: the first could still have renewed it", waited)
	}
	if taken, left, err := two.Take(t.Context(), "batch/1", []string{"a", "b"}, 9); err != nil || len(taken) != 2 || left != nil {
		t.Errorf("took %v, left %v, %v", taken, left, err)
	}
	if lives, err := one.renew(t.Context()); err != nil || lives {
		t.Errorf("the dead renewed: %v, %v", lives, err)
	}
	one.pool.Close()
	one.marks.Close()
}

// Who cannot reach the server any more loses its leases, and has them again later.
func TestStateLosesLeasesWithoutServer(t *testing.T) {
	schema := schema(t)
	s := openState(t, schema)
	defer s.Close()
	held, release, err := s.Acquire(t.Context(), "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, "UPDATE "+schema+".members SET until = clock_timestamp() - interval '1 second'")
	<-held.Done()
	release()
	again, release, err := s.Acquire(t.Context(), "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	if again.Err() != nil {
		t.Error("lost at once")
	}
	release()
}

// A lease that was taken without hearing of it, or that could not be given back, is
// free again while the process lives.
func TestStateForgetsNoLease(t *testing.T) {
	schema := schema(t)
	one, two := openState(t, schema), openState(t, schema)
	defer one.Close()
	defer two.Close()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	fail := func(point string, hits int) (enough func()) {
		return failpoint.Enable(func(name string, hit int) error {
			if name == point && hit <= hits {
				return errors.New("the connection was lost")
			}
			return nil
		})
	}
	whole := fail("state.leases-taken", 1)
	_, release, err := one.Acquire(ctx, "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	whole()
	whole = fail("state.lease-drop", math.MaxInt)
	release()
	whole()
	_, release, err = two.Acquire(ctx, "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	whole = fail("state.leases-taken", 1)
	gone, leave := context.WithCancel(ctx)
	time.AfterFunc(100*time.Millisecond, leave)
	if _, _, err := one.Acquire(gone, "relay/1"); err == nil {
		t.Fatal("the answer was not lost")
	}
	whole()
	release()
	if _, release, err = two.Acquire(ctx, "relay/1"); err != nil {
		t.Fatal(err)
	}
	release()
}

// A process that let go of what it held is another member from then on, also where
// the server answers again before the old one is dead.
func TestStateThatLostIsAnotherMember(t *testing.T) {
	schema := schema(t)
	one, two := openState(t, schema), openState(t, schema)
	defer two.Close()
	held, release, err := one.Acquire(t.Context(), "relay/0")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	one.stop() // the test is its heart
	<-one.ended
	defer one.pool.Close()
	defer one.marks.Close()
	whole := failpoint.Enable(func(name string, _ int) error {
		if name == "state.renew" || name == "state.join" {
			return errors.New("the server is away")
		}
		return nil
	})
	defer whole()
	execute(t, "UPDATE "+schema+".members SET until = clock_timestamp() + interval '5 seconds'") // not dead yet
	believed := one.pulse(t.Context(), time.Now().Add(-one.alive*4/5))
	<-held.Done()
	whole()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	var beating sync.WaitGroup
	defer beating.Wait()
	defer stop()
	beating.Go(func() {
		for believed = one.pulse(ctx, believed); pause(ctx, one.alive/4) == nil; {
			believed = one.pulse(ctx, believed)
		}
	})
	_, releaseTwo, err := two.Acquire(ctx, "relay/0")
	if err != nil {
		t.Fatalf("the lease of a member that let go of it is not free: %v", err)
	}
	releaseTwo()
	if lives, err := one.renew(ctx); err != nil || !lives {
		t.Errorf("it has not joined again: %v, %v", lives, err)
	}
}
