package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"varve/eventstore"
)

func reopen(t *testing.T, w *world) {
	w.must(t, one(w.log, "a", w.at("a", 0), event(1)))
	a, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "x", any(), event(2))},
		Idempotency: &eventstore.Idempotency{Scope: "k", Digest: digest(1)}})
	if err != nil {
		t.Fatal(err)
	}
	before := w.records(t)
	head, _ := w.s.LogHead(ctx(t), w.log)
	w.s = w.f.Reopen(t, w.s, w.opts)
	if d := differ(before, w.records(t)); d != "" {
		t.Fatal(d)
	}
	after, _ := w.s.LogHead(ctx(t), w.log)
	if d := differ(head, after); d != "" {
		t.Fatal(d)
	}
	_, err = w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "a", w.at("a", 0), event(3))}})
	if !isConflict(err, w.have["a"]+1) {
		t.Fatal(err)
	}
	again, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "x", any(), event(2))},
		Idempotency: &eventstore.Idempotency{Scope: "k", Digest: digest(1)}})
	if err != nil || !again.Replayed || differ(a.Records, again.Records) != "" {
		t.Fatal(again, err)
	}
	_, err = w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "x", eventstore.New(), event(2))}})
	if !isConflict(err, 1) {
		t.Fatal(err)
	}
	b := w.must(t, one(w.log, "a", w.at("a", 1), event(3)), one(w.log, "y", exactly(0), event(3)))
	if b.Records[0].Position != head.Position+1 || b.Records[0].Feed != a.Feed+1 {
		t.Fatalf("%+v", b.Records[0])
	}
}

func verifyReport(t *testing.T, w *world) {
	w.must(t, one(w.log, "x", any(), event(1), event(2)))
	rep, err := eventstore.Verify(ctx(t), w.s, w.log)
	if err != nil || !rep.OK() || rep.Records != int(w.base)+2 || rep.First != 1 || rep.Last != w.base+2 {
		t.Fatalf("%+v %v", rep, err)
	}
	// The chain recomputed by hand.
	var prev eventstore.Hash
	for _, r := range w.records(t) {
		if got := eventstore.ChainHash(prev, &r); got != r.Hash {
			t.Fatalf("position %d: %s, stored %s", r.Position, got, r.Hash)
		}
		prev = r.Hash
	}
	if prev != rep.Hash {
		t.Fatal("the report's hash is not the newest")
	}
	if _, err := eventstore.Verify(ctx(t), w.s, "no log"); err == nil {
		t.Fatal("a log that does not exist was verified")
	}
}

func checkpoints(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	put(t, s, one("l", "s", any(), event(1), event(2), event(3)))
	_, private, err := ed25519.GenerateKey(NewChance(1))
	if err != nil {
		t.Fatal(err)
	}
	mac := bytes.Repeat([]byte{9}, 32)
	for _, key := range []eventstore.CheckpointKey{{ID: "e", Private: private}, {ID: "h", HMAC: mac}} {
		c, err := eventstore.MakeCheckpoint(ctx(t), s, "l", key)
		if err != nil || c.Position != 3 {
			t.Fatal(c, err)
		}
		if err := eventstore.VerifyCheckpoint(ctx(t), s, c, key); err != nil {
			t.Fatal(err)
		}
		bad := c
		bad.Position--
		if err := eventstore.VerifyCheckpoint(ctx(t), s, bad, key); !errors.Is(err, eventstore.ErrBadSignature) {
			t.Fatal(err)
		}
		for _, other := range []eventstore.CheckpointKey{{}, {ID: key.ID, HMAC: bytes.Repeat([]byte{8}, 32)}} {
			if err := eventstore.VerifyCheckpoint(ctx(t), s, c, other); !errors.Is(err, eventstore.ErrBadSignature) {
				t.Fatal(err)
			}
		}
		// The same log with its newest record cut off, and one written anew.
		cut, anew := open(t, eventstore.Options{}), open(t, eventstore.Options{})
		defer cut.Close()
		defer anew.Close()
		if err := cut.Import(ctx(t), collect(t, s.Read(ctx(t), "l", 0, 2))); err != nil {
			t.Fatal(err)
		}
		if rep, err := eventstore.Verify(ctx(t), cut, "l"); err != nil || !rep.OK() {
			t.Fatal("a bare chain cannot see a cut tail, but it did", rep, err)
		}
		if err := eventstore.VerifyCheckpoint(ctx(t), cut, c, key); !errors.Is(err, eventstore.ErrTailCut) {
			t.Fatal(err)
		}
		put(t, anew, one("l", "s", any(), event(1), event(2), event(3)))
		if err := eventstore.VerifyCheckpoint(ctx(t), anew, c, key); !errors.Is(err, eventstore.ErrRewritten) {
			t.Fatal(err)
		}
	}
	if _, err := eventstore.SignCheckpoint(eventstore.Checkpoint{}, eventstore.CheckpointKey{HMAC: []byte("short")}); err == nil {
		t.Fatal("a short key was taken")
	}
}

func times(t *testing.T, open Opener, f Features) {
	clock := NewClock()
	opts := eventstore.Options{Source: eventstore.Source{Now: clock.Now}}
	s := open(t, opts)
	defer func() { s.Close() }()
	at := func() time.Time { return clock.Now().UTC() }
	var want []time.Time
	add := func(log eventstore.LogID, expect time.Time) {
		t.Helper()
		r := put(t, s, one(log, "s", any(), event(1))).Records[0]
		if !r.Time.Equal(expect) || r.Time.Location() != time.UTC {
			t.Fatalf("time %v, want %v", r.Time, expect)
		}
		if log == "l" {
			want = append(want, expect)
		}
	}
	t0 := at()
	if t0.Nanosecond()%1000_000 == 0 {
		t.Fatal("the clock has no microseconds")
	}
	add("l", t0)
	clock.Add(time.Microsecond)
	add("l", at())
	newest := at()
	clock.Add(-time.Hour)
	add("l", newest)     // never back
	add("other", at())   // another log has its own time
	clock.Add(time.Hour) // just there again
	add("l", newest)
	put(t, s, fork("b", "l", 2))
	clock.Add(-time.Minute)
	add("b", t0.Add(time.Microsecond)) // a branch goes on from the record that it forks
	if f.Reopen != nil {
		s = f.Reopen(t, s, opts)
		add("l", newest)
	}
	for i, r := range collect(t, s.Read(ctx(t), "l", 0, 0)) {
		if !r.Time.Equal(want[i]) {
			t.Fatalf("record %d has time %v, was given %v", i, r.Time, want[i])
		}
	}
	Whole(t, s)
}

func truncate(t *testing.T, open Opener, f Features) {
	s := open(t, eventstore.Options{})
	defer func() { s.Close() }()
	big := eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{{Name: "v", Bytes: bytes.Repeat([]byte{5}, 80_000)}}}
	put(t, s, one("a", "s", any(), event(1), event(2), big), one("b", "s", any(), event(3)))
	put(t, s, one("a", "t", any(), event(4)), one("gone", "s", any(), event(5)), one("a", "s", any(), event(6)))
	head, _ := s.Head(ctx(t), 0)
	logHead, _ := s.LogHead(ctx(t), "gone")
	if err := s.Truncate(ctx(t), 0, head+1); err == nil {
		t.Fatal("truncated beyond the head")
	}
	for range 2 {
		if err := s.Truncate(ctx(t), 0, 6); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for _, after := range []uint64{0, 5} {
			var cut *eventstore.TruncatedError
			for _, err := range s.Feed(ctx(t), 0, after, 0) {
				if !errors.As(err, &cut) || cut.First != 7 || cut.Shard != 0 {
					t.Fatalf("feed after %d: %v", after, err)
				}
			}
			if cut == nil {
				t.Fatalf("feed after %d gave nothing", after)
			}
		}
		if got := collect(t, s.Feed(ctx(t), 0, 6, 1)); len(got) != 1 || got[0].Feed != 7 {
			t.Fatalf("%+v", got)
		}
	}
	check()
	put(t, s, one("a", "s", exactly(4), event(7)), one("b", "s", exactly(1), event(8)))
	if f.Reopen != nil {
		s = f.Reopen(t, s, eventstore.Options{})
	}
	check()
	// Logs and streams of which nothing is left go on counting.
	if h, err := s.LogHead(ctx(t), "gone"); err != nil || h.Position != 1 || h.Hash != logHead.Hash || !h.Time.Equal(logHead.Time) {
		t.Fatalf("%+v %v", h, err)
	}
	a := put(t, s, one("gone", "s", exactly(1), event(9)), one("a", "t", exactly(1), event(10)))
	if a.Records[0].Position != 2 || a.Records[0].Hash != eventstore.ChainHash(logHead.Hash, &a.Records[0]) || a.Feed != head+4 {
		t.Fatalf("%+v", a.Records[0])
	}
	Whole(t, s)
	// Cut to the end, then on.
	if err := s.Truncate(ctx(t), 0, a.Feed); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, s.Feed(ctx(t), 0, a.Feed, 0)); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	put(t, s, one("a", "s", exactly(5), event(11)))
	if got := collect(t, s.Feed(ctx(t), 0, a.Feed, 0)); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
}

// copyEqual: a copied store has the same records, branches and hashes, and goes on.
func copyEqual(t *testing.T, open Opener, f Features) {
	w := newWorld(t, open, f, 7)
	big := eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{{Name: "v", Bytes: bytes.Repeat([]byte{5}, 80_000)}}}
	for i := range 50 {
		w.must(t, one(w.log, fmt.Sprint("s", i%7), any(), event(i), event(i)), one("source", "a", any(), event(i), big))
	}
	w.must(t, fork("empty", w.log, 40))
	w.must(t, eventstore.Batch{Log: "done", Stream: "s", Events: []eventstore.Event{event(1)}, Close: true})
	if err := w.s.Erase(ctx(t), w.log, 3, 20); err != nil {
		t.Fatal(err)
	}
	id := eventstore.Idempotency{Scope: "once", Digest: digest(3)}
	first, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("source", "a", any(), event(1), event(2))}, Idempotency: &id})
	if err != nil {
		t.Fatal(err)
	}
	to := open(t, eventstore.Options{Source: eventstore.Source{Now: w.clock.Now}})
	defer to.Close()
	calls := 0
	for range 2 { // the second time there is nothing left to do
		if err := eventstore.Copy(ctx(t), w.s, to, func(int, uint64, uint64) { calls++ }); err != nil {
			t.Fatal(err)
		}
	}
	if calls == 0 {
		t.Error("no progress was told")
	}
	if err := eventstore.Compare(ctx(t), w.s, to, nil); err != nil {
		t.Fatal(err)
	}
	if again, ok, err := to.Replay(ctx(t), 0, id); err != nil || !ok || differ(first.Records, again.Records) != "" {
		t.Fatal(again, ok, err)
	}
	if d := differ(collect(t, w.s.Feed(ctx(t), 0, 0, 0)), collect(t, to.Feed(ctx(t), 0, 0, 0))); d != "" {
		t.Fatal(d[:min(len(d), 2000)])
	}
	for _, log := range []eventstore.LogID{w.log, "source", "middle", "empty", "done"} {
		a, err1 := w.s.LogHead(ctx(t), log)
		b, err2 := to.LogHead(ctx(t), log)
		if d := differ(a, b); d != "" || err1 != nil || err2 != nil {
			t.Fatal(log, d, err1, err2)
		}
	}
	Whole(t, to)
	put(t, to, one("empty", "fresh", exactly(0), event(1)), one(w.log, "s0", exactly(16), event(1)))
	Whole(t, to)
	// Now it is ahead of the source: another copy is refused, and tells where they differ.
	var differs *eventstore.DifferenceError
	if err := eventstore.Copy(ctx(t), w.s, to, nil); !errors.As(err, &differs) {
		t.Fatal(err)
	}
	if err := eventstore.Compare(ctx(t), w.s, to, nil); !errors.As(err, &differs) {
		t.Fatal(err)
	}
}

// copyResumes: a copy that was interrupted anywhere goes on where it ended, and
// takes what was appended meanwhile; a target that holds something else is left alone.
func copyResumes(t *testing.T, open Opener, f Features) {
	w := newWorld(t, open, f, 11)
	for i := range 250 {
		e := event(i)
		w.must(t, one(w.log, fmt.Sprint("s", i%7), any(), e, e, e, e, e), one("source", "a", any(), e, e, e, e), one(eventstore.LogID(fmt.Sprint("log-", i/50)), "a", any(), e))
	}
	to := open(t, eventstore.Options{Source: eventstore.Source{Now: w.clock.Now}})
	defer to.Close()
	for rounds := 0; ; rounds++ {
		interrupted, stop := context.WithCancel(ctx(t))
		err := eventstore.Copy(interrupted, w.s, to, func(int, uint64, uint64) { stop() }) // after a page
		stop()
		if err == nil && rounds < 2 {
			t.Fatalf("it was done after %d interruptions", rounds)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || rounds > 50 {
			t.Fatal(rounds, err)
		}
		if rounds == 1 {
			w.must(t, one(w.log, "s0", any(), event(1)), one("late", "a", any(), event(1)))
		}
	}
	if err := eventstore.Compare(ctx(t), w.s, to, nil); err != nil {
		t.Fatal(err)
	}
	for name, batch := range map[string]eventstore.Batch{"another log": one("another", "a", any(), event(1)), "another record": one("source", "a", any(), event(99))} {
		other := open(t, eventstore.Options{})
		put(t, other, batch)
		var differs *eventstore.DifferenceError
		if err := eventstore.Copy(ctx(t), w.s, other, nil); !errors.As(err, &differs) {
			t.Errorf("%s: %v", name, err)
		}
		if head, err := other.Head(ctx(t), 0); err != nil || head != 1 {
			t.Errorf("%s: %d %v", name, head, err)
		}
		_ = other.Close()
	}
}

func importRefuses(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	put(t, s, one("l", "s", any(), event(1), event(2)), one("m", "s", any(), event(3)))
	records := collect(t, s.Feed(ctx(t), 0, 0, 0))
	for name, spoil := range map[string]func([]eventstore.Record){
		"hash":     func(r []eventstore.Record) { r[1].Hash[0]++ },
		"data":     func(r []eventstore.Record) { r[1].Data = []byte(`{"n":7}`) },
		"salt":     func(r []eventstore.Record) { r[1].Salt[0]++ },
		"meta":     func(r []eventstore.Record) { r[1].Meta.Actor = "usr_2" },
		"type":     func(r []eventstore.Record) { r[1].Type = "x.y" },
		"time":     func(r []eventstore.Record) { r[1].Time = r[1].Time.Add(time.Microsecond) },
		"position": func(r []eventstore.Record) { r[1].Position++ },
		"version":  func(r []eventstore.Record) { r[1].Version++ },
		"feed":     func(r []eventstore.Record) { r[1].Feed++ },
		"order":    func(r []eventstore.Record) { r[0], r[1] = r[1], r[0] },
	} {
		to := open(t, eventstore.Options{})
		bad := append([]eventstore.Record(nil), records...)
		spoil(bad)
		if err := to.Import(ctx(t), bad); err == nil {
			t.Errorf("%s: a wrong record was imported", name)
		}
		if head, err := to.Head(ctx(t), 0); err != nil || head != 0 {
			t.Errorf("%s: the head is %d %v", name, head, err)
		}
		if err := to.Import(ctx(t), records); err != nil {
			t.Errorf("%s: the right records after it: %v", name, err)
		}
		Whole(t, to)
		to.Close()
	}
}
