package projtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"varve/eventstore/failpoint"
	"varve/eventstore/sqlite"
	"varve/projections"
)

// The child follows the store that it is told of until it has caught up, and
// kills itself at the n-th step of its pages.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VARVE_TEST_FOLLOW"); dir != "" {
		os.Exit(child(dir, os.Getenv("VARVE_TEST_KILL_AT")))
	}
	if schema := os.Getenv("VARVE_TEST_OWNER"); schema != "" {
		os.Exit(owner(schema, os.Getenv("VARVE_TEST_STOP_AT")))
	}
	os.Exit(m.Run())
}

func child(dir, at string) int {
	n, err := strconv.Atoi(at)
	if err != nil {
		return 2
	}
	store, err := sqlite.Open(filepath.Join(dir, "log.db"), sqlite.Options{})
	if err != nil {
		return 3
	}
	steps := make(chan struct{}, 1<<20)
	failpoint.Enable(func(name string, hit int) error {
		switch name {
		case "projection.moved", "projection.applied", "projection.committed", "projection.filled":
			steps <- struct{}{}
			if len(steps) == n {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		return nil
	})
	ctx := context.Background()
	place := Place{Dir: filepath.Join(dir, "models"), Database: os.Getenv("VARVE_TEST_MODELS"), Schema: os.Getenv("VARVE_TEST_SCHEMA")}
	r := projections.NewRunner(store, place.Dir, place.Options(projections.Options{Logger: quiet, PageSize: 50}))
	r.Add(Models()...)
	if err := r.Start(ctx); err != nil {
		return 4
	}
	head, err := store.Head(ctx, 0)
	if err == nil {
		err = r.WaitApplied(ctx, 0, head)
	}
	if err = errors.Join(err, r.Stop(), store.Close()); err != nil {
		return 5
	}
	return 0
}

// A process that is killed at every kind of step, again and again, over a store
// that grows: the files end as if nothing had happened.
func TestKilledLosesAndDoublesNothing(t *testing.T) {
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		killedAgainAndAgain(t, dir, Place{Dir: filepath.Join(dir, "models")})
	})
	t.Run("postgres", func(t *testing.T) { killedAgainAndAgain(t, t.TempDir(), inDatabase(t)) })
}

func killedAgainAndAgain(t *testing.T, dir string, place Place) {
	killed := 0
	var world *World
	for round := 0; ; round++ {
		store, err := sqlite.Open(filepath.Join(dir, "log.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if world == nil {
			world = NewWorld(t, store, 0, 3, 2)
		}
		world.Store = store
		if round < 10 {
			world.Go(t, 60)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		at := 1 + round%7
		if round >= 10 {
			at = 1 << 19
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "VARVE_TEST_FOLLOW="+dir, "VARVE_TEST_KILL_AT="+strconv.Itoa(at), "VARVE_TEST_MODELS="+place.Database, "VARVE_TEST_SCHEMA="+place.Schema)
		err = cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			killed++
			continue
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if round >= 10 {
			break
		}
	}
	if killed < 8 {
		t.Errorf("only %d rounds were killed", killed)
	}
	store, err := sqlite.Open(filepath.Join(dir, "log.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	same(t, "after SIGKILL", Follow(t, store, Files(t), projections.Options{Logger: quiet}), place.Dump(t))
}
