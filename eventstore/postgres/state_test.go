package postgres

import (
	"context"
	"log/slog"
	"testing"
	"time"

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
