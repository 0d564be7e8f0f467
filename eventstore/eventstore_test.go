package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/memory"
	"varve/eventstore/storetest"
)

func add(s eventstore.Owner, stream string, expect eventstore.Expect) (eventstore.Appended, error) {
	return s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: stream, Expect: expect,
		Events: []eventstore.Event{{Type: "a.b", Data: []byte(`{}`)}}}}})
}

// faulty is an engine whose commits fail as the test says.
type faulty struct {
	*memory.Engine
	fail func(c *eventstore.Commit) (before, after error)
}

func (f *faulty) Commit(ctx context.Context, c *eventstore.Commit) error {
	before, after := f.fail(c)
	if before != nil {
		if c.Held {
			f.Release(ctx, c.Shard)
		}
		return before
	}
	if err := f.Engine.Commit(ctx, c); err != nil {
		return err
	}
	return after
}

func openFaulty(t *testing.T, opts eventstore.Options, fail func(c *eventstore.Commit) (error, error)) eventstore.Owner {
	t.Helper()
	s, err := eventstore.NewOwner(&faulty{memory.New(1), fail}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestOneUnwritableAppendFailsAlone: the engine refuses a group because of one
// of its appends; the others go through.
func TestOneUnwritableAppendFailsAlone(t *testing.T) {
	refuse := errors.New("too big for this engine")
	groups := 0
	s := openFaulty(t, eventstore.Options{}, func(c *eventstore.Commit) (error, error) {
		groups++
		for _, r := range c.Rows {
			if r.Stream == "bad" {
				return refuse, nil
			}
		}
		return nil, nil
	})
	type answer struct {
		stream string
		err    error
	}
	answers := make(chan answer)
	for i := range 40 {
		stream := fmt.Sprint("s", i)
		if i == 20 {
			stream = "bad"
		}
		go func() {
			_, err := add(s, stream, eventstore.New())
			answers <- answer{stream, err}
		}()
	}
	for range 40 {
		a := <-answers
		if (a.stream == "bad") != errors.Is(a.err, refuse) || a.stream != "bad" && a.err != nil {
			t.Errorf("%s: %v", a.stream, a.err)
		}
	}
	storetest.Whole(t, s)
	if h, _ := s.Head(context.Background(), 0); h != 39 {
		t.Errorf("head %d", h)
	}
	if _, err := add(s, "bad", eventstore.Exactly(1)); err == nil {
		t.Error("a refused append is remembered as written")
	}
}

// TestUnknownOutcome: the commit's answer is lost, before or after it happened.
func TestUnknownOutcome(t *testing.T) {
	lost := fmt.Errorf("connection lost: %w", eventstore.ErrUnknownOutcome)
	var before, after error
	s := openFaulty(t, eventstore.Options{}, func(*eventstore.Commit) (error, error) { return before, after })
	if _, err := add(s, "s", eventstore.New()); err != nil {
		t.Fatal(err)
	}
	after = lost // it happened: the committer looks, and finds its records
	if a, err := add(s, "s", eventstore.Exactly(1)); err != nil || a.Records[0].Position != 2 {
		t.Fatal(a, err)
	}
	after, before = nil, lost // it did not, but who knows
	if _, err := add(s, "s", eventstore.Exactly(2)); !errors.Is(err, eventstore.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	before = nil
	if a, err := add(s, "s", eventstore.Exactly(2)); err != nil || a.Records[0].Position != 3 {
		t.Fatal(a, err)
	}
	storetest.Whole(t, s)
}

// TestHeadAlwaysMoves: if the shard never stays still, callers hear of it.
func TestHeadAlwaysMoves(t *testing.T) {
	moving := true
	s := openFaulty(t, eventstore.Options{}, func(*eventstore.Commit) (error, error) {
		if moving {
			return eventstore.ErrMoved, nil
		}
		return nil, nil
	})
	var o *eventstore.OverloadedError
	if _, err := add(s, "s", eventstore.New()); !errors.As(err, &o) {
		t.Fatal(err)
	}
	moving = false
	if _, err := add(s, "s", eventstore.New()); err != nil {
		t.Fatal(err)
	}
	stale := true
	s = openFaulty(t, eventstore.Options{}, func(*eventstore.Commit) (error, error) {
		if stale {
			return eventstore.ErrStale, nil
		}
		return nil, nil
	})
	if _, err := add(s, "s", eventstore.New()); !errors.Is(err, eventstore.ErrStale) {
		t.Fatal(err)
	}
	stale = false
	if _, err := add(s, "s", eventstore.New()); err != nil {
		t.Fatal(err)
	}
	storetest.Whole(t, s)
}

// TestFailpointsCount: the points of an append are there, each hit once.
func TestFailpointsCount(t *testing.T) {
	s, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	off := failpoint.Enable(nil)
	defer off()
	if _, err := add(s, "s", eventstore.New()); err != nil {
		t.Fatal(err)
	}
	hits := failpoint.Hits()
	for _, name := range []string{"append.before-queue", "commit.before", "commit.after", "append.before-answer"} {
		if hits[name] != 1 {
			t.Errorf("%s was hit %d times", name, hits[name])
		}
	}
	boom := errors.New("boom")
	off()
	defer failpoint.Enable(func(name string, _ int) error {
		if name == "commit.before" {
			return boom
		}
		return nil
	})()
	if _, err := add(s, "s", eventstore.Exactly(1)); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if h, _ := s.Head(context.Background(), 0); h != 1 {
		t.Fatalf("head %d", h)
	}
}

func TestIDs(t *testing.T) {
	clock := storetest.NewClock()
	var last eventstore.ID
	for i := range 1000 {
		id := eventstore.NewID(clock.Now(), [8]byte{255, 255, byte(i)})
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("%s is no UUIDv7", id)
		}
		if back, err := eventstore.ParseID(id.String()); err != nil || back != id {
			t.Fatal(back, err)
		}
		if i > 0 && id.String() <= last.String() {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
		clock.Add(1000)
	}
	for _, bad := range []string{"", "x", last.String()[1:] + "0", "zzzzzzzz-zzzz-7zzz-8zzz-zzzzzzzzzzzz"} {
		if _, err := eventstore.ParseID(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
