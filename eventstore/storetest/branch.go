package storetest

import (
	"errors"
	"fmt"
	"testing"

	"varve/eventstore"
)

func put(t *testing.T, s eventstore.Owner, batches ...eventstore.Batch) eventstore.Appended {
	t.Helper()
	a, err := s.Append(ctx(t), eventstore.Append{Batches: batches})
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return a
}

func fork(log, from eventstore.LogID, upTo uint64) eventstore.Batch {
	return eventstore.Batch{Log: log, Fork: &eventstore.Fork{From: from, UpTo: upTo}}
}

// branchIsolation: neither side ever sees what the other writes after the fork.
func branchIsolation(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	for i := range 30 {
		put(t, s, one("src", fmt.Sprint("s", i%3), any(), event(i)))
	}
	for _, at := range []uint64{0, 1, 17, 30} {
		b := eventstore.LogID(fmt.Sprint("branch", at))
		put(t, s, fork(b, "src", at))
		h, err := s.LogHead(ctx(t), b)
		if err != nil || !h.Exists || h.Position != at || h.Feed != 0 {
			t.Fatalf("%+v %v", h, err)
		}
		if at > 0 {
			src := collect(t, s.Read(ctx(t), "src", at-1, 1))
			if h.Hash != src[0].Hash || !h.Time.Equal(src[0].Time) {
				t.Fatalf("the branch at %d does not continue the chain", at)
			}
		}
	}
	for i := range 12 {
		put(t, s, one("src", fmt.Sprint("s", i%3), any(), event(100+i)))
		for _, at := range []uint64{0, 1, 17, 30} {
			put(t, s, one(eventstore.LogID(fmt.Sprint("branch", at)), fmt.Sprint("s", i%4), any(), event(200+i)))
		}
	}
	src := collect(t, s.Read(ctx(t), "src", 0, 0))
	for _, at := range []int{0, 1, 17, 30} {
		b := eventstore.LogID(fmt.Sprint("branch", at))
		got := collect(t, s.Read(ctx(t), b, 0, 0))
		if len(got) != at+12 {
			t.Fatalf("branch at %d: %d records", at, len(got))
		}
		for i, r := range got {
			if r.Log != b || r.Position != uint64(i+1) {
				t.Fatalf("branch at %d: record %d is %s %d", at, i, r.Log, r.Position)
			}
			if i < at {
				r.Log = "src"
				if d := differ(src[i], r); d != "" {
					t.Fatal(d)
				}
			} else if n := number(t, r); n != 200+i-at {
				t.Fatalf("branch at %d: record %d is event %d", at, i, n)
			}
		}
		for st := range 4 {
			var want []eventstore.Record
			for _, r := range got {
				if r.Stream == fmt.Sprint("s", st) {
					want = append(want, r)
				}
			}
			stream := collect(t, s.ReadStream(ctx(t), b, fmt.Sprint("s", st), 0))
			if d := differ(want, stream); d != "" {
				t.Fatalf("branch at %d, stream s%d: %s", at, st, d)
			}
			if len(want) > 3 {
				part := collect(t, s.ReadStream(ctx(t), b, fmt.Sprint("s", st), 3))
				if d := differ(want[3:], part); d != "" {
					t.Fatal(d)
				}
			}
		}
	}
	Whole(t, s)
}

func ancestors32(t *testing.T, open Opener, f Features) {
	s := open(t, eventstore.Options{})
	defer func() { s.Close() }()
	const depth = 32
	name := func(i int) eventstore.LogID { return eventstore.LogID(fmt.Sprint("gen", i)) }
	pos := uint64(0)
	for i := range depth + 1 {
		if i > 0 {
			put(t, s, fork(name(i), name(i-1), pos))
		}
		put(t, s, one(name(i), "s", exactly(uint64(i)), event(i)), one(name(i), fmt.Sprint("own", i), exactly(0), event(i)))
		pos += 2
		put(t, s, one(name(i), "s", exactly(uint64(i)+1), event(1000+i))) // unseen by the next one
	}
	check := func() {
		t.Helper()
		h, err := s.LogHead(ctx(t), name(depth))
		if err != nil || len(h.Ranges) != depth+1 || h.Position != 2*(depth+1)+1 {
			t.Fatalf("%+v %v", h, err)
		}
		got := collect(t, s.ReadStream(ctx(t), name(depth), "s", 0))
		if len(got) != depth+2 {
			t.Fatalf("%d records in the stream", len(got))
		}
		for i, r := range got[:depth+1] {
			if r.Version != uint64(i+1) || number(t, r) != i {
				t.Fatalf("record %d: %+v", i, r)
			}
		}
		if n := len(collect(t, s.Read(ctx(t), name(depth), 0, 0))); n != 2*(depth+1)+1 {
			t.Fatalf("%d records", n)
		}
		if got := collect(t, s.ReadStream(ctx(t), name(depth), "own3", 0)); len(got) != 1 {
			t.Fatalf("%+v", got)
		}
	}
	check()
	if f.Reopen != nil {
		s = f.Reopen(t, s, eventstore.Options{})
		check()
	}
	// A deep branch of a branch below an ancestor's range keeps few ranges.
	put(t, s, fork("early", name(depth), 5))
	h, _ := s.LogHead(ctx(t), "early")
	if len(h.Ranges) != 4 || h.Ranges[2].UpTo != 5 {
		t.Fatalf("%+v", h.Ranges)
	}
	put(t, s, one("early", "s", exactly(3), event(1)), one("early", "own2", exactly(0), event(1)), one("early", "own1", exactly(1), event(1)))
	Whole(t, s)
}

// forkAndAppend: a clone is one append with records of its organization's log.
func forkAndAppend(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	put(t, s, one("ns", "config", any(), event(1), event(2), event(3)))
	b := one("clone", "config", exactly(2), event(20))
	b.Fork = &eventstore.Fork{From: "ns", UpTo: 2}
	a := put(t, s, one("org", "namespace", any(), event(10)), b, one("clone", "doc", exactly(0), event(21)))
	if len(a.Records) != 3 || a.Records[1].Position != 3 || a.Records[2].Position != 4 || a.Records[1].Version != 3 {
		t.Fatalf("%+v", a.Records)
	}
	// The source is written in the same append, after the position forked from.
	put(t, s, one("ns", "config", exactly(3), event(4)), fork("clone2", "ns", 3))
	if got := collect(t, s.Read(ctx(t), "clone2", 0, 0)); len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	// What was looked at before the log had a prefix does not count after it.
	put(t, s, one("late", "config", exactly(0)), fork("late", "ns", 2), one("late", "config", exactly(2), event(4)))
	// A fork of a branch that was made in the same moment waits for it.
	put(t, s, fork("clone3", "clone2", 3))
	put(t, s, one("clone3", "config", exactly(3), event(5)))
	Whole(t, s)
}

func forkRefusals(t *testing.T, open Opener, f Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	put(t, s, one("src", "s", any(), event(1), event(2)))
	put(t, s, one("exists", "s", any(), event(1)))
	for name, b := range map[string]eventstore.Batch{
		"beyond the head": fork("x", "src", 3),
		"of nothing":      fork("x", "nothing", 0),
		"of itself":       fork("x", "x", 0),
	} {
		var invalid *eventstore.InvalidError
		if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{b}}); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{fork("exists", "src", 1)}}); !errors.Is(err, eventstore.ErrLogExists) {
		t.Errorf("fork of a log that exists: %v", err)
	}
	var self *eventstore.InvalidError
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("src", "s", any(), event(3)), fork("x", "src", 3)}}); !errors.As(err, &self) {
		t.Errorf("fork of what the same append writes: %v", err)
	}
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("fresh", "s", any(), event(3)), fork("x", "fresh", 1)}}); !errors.As(err, &self) {
		t.Errorf("fork of a log that the same append makes: %v", err)
	}
	if h, _ := s.LogHead(ctx(t), "x"); h.Exists {
		t.Error("a refused fork made a log")
	}
	if f.Shards > 1 {
		var invalid *eventstore.InvalidError
		if _, err := s.Append(ctx(t), eventstore.Append{Shard: 1, Batches: []eventstore.Batch{fork("y", "src", 1)}}); !errors.As(err, &invalid) {
			t.Errorf("fork across shards: %v", err)
		}
	}
	Whole(t, s)
}
