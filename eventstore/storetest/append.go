package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"varve/eventstore"
)

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

func appendDense(t *testing.T, w *world) {
	for i := range 5 {
		a := w.must(t, one(w.log, "a", w.at("a", 2*i), event(2*i), event(2*i+1)))
		if len(a.Records) != 2 {
			t.Fatalf("%d records given", len(a.Records))
		}
		for k, r := range a.Records {
			if r.Position != w.base+uint64(2*i+k+1) || r.Version != w.have["a"]+uint64(2*i+k+1) || r.Log != w.log || r.Stream != "a" {
				t.Fatalf("record %d: %+v", 2*i+k, r)
			}
			if r.ID.IsZero() || r.Schema != 1 || r.Type != "thing.changed" || r.Meta.Actor != "usr_1" {
				t.Fatalf("record %d: %+v", 2*i+k, r)
			}
		}
		if a.Feed != a.Records[1].Feed {
			t.Fatalf("feed after the append is %d, of its last record %d", a.Feed, a.Records[1].Feed)
		}
	}
	got := w.records(t)
	if len(got) != int(w.base)+10 {
		t.Fatalf("%d records", len(got))
	}
	for i, r := range got {
		if r.Position != uint64(i+1) || r.Log != w.log {
			t.Fatalf("record %d: position %d, log %s", i, r.Position, r.Log)
		}
	}
	stream := collect(t, w.s.ReadStream(ctx(t), w.log, "a", 0))
	for i, r := range stream {
		if r.Version != uint64(i+1) || r.Stream != "a" {
			t.Fatalf("stream record %d: %+v", i, r)
		}
	}
	if len(stream) != int(w.have["a"])+10 {
		t.Fatalf("%d records in the stream", len(stream))
	}
}

func dataKept(t *testing.T, w *world) {
	raw := []string{
		`{}`, ` { "a" : 1 } `, `null`, `"x\u0000y"`, `{"n":12345678901234567890123.450}`, `[1e400,-0,"ü\ud83d\ude00"]`,
		"{\n\t\"k\": \"" + strings.Repeat("long ", 5000) + "\"}", `{"dup":1,"dup":2}`, `0`,
	}
	meta := eventstore.Metadata{Actor: "usr_ü", Key: "key_1", Correlation: "c", Causation: "d", TraceParent: "00-1-2-01", Origin: "http", Reason: "why\nnot"}
	id := eventstore.NewID(time.Unix(1, 0), [8]byte{1, 2, 3})
	var events []eventstore.Event
	for i, r := range raw {
		events = append(events, eventstore.Event{Type: fmt.Sprintf("t%d.done", i), Schema: i, Data: []byte(r)})
	}
	events[3].ID = id
	given := w.must(t, eventstore.Batch{Log: w.log, Stream: "raw", Expect: eventstore.New(), Events: events, Meta: meta})
	for i := range events {
		for k := range events[i].Data { // the caller may use its bytes again
			events[i].Data[k] = 'x'
		}
	}
	got := collect(t, w.s.ReadStream(ctx(t), w.log, "raw", 0))
	if d := differ(given.Records, got); d != "" {
		t.Fatal(d)
	}
	for i, r := range got {
		if string(r.Data) != raw[i] || r.Meta != meta || r.Schema != max(i, 1) {
			t.Fatalf("record %d: %q %+v", i, r.Data, r.Meta)
		}
	}
	if got[3].ID != id {
		t.Fatalf("id %s, given %s", got[3].ID, id)
	}
	feed := collect(t, w.s.Feed(ctx(t), 0, given.Records[0].Feed-1, len(raw)))
	if d := differ(got, feed); d != "" {
		t.Fatal(d)
	}
}

func batchesAtomic(t *testing.T, w *world) {
	w.must(t, one(w.log, "x", any(), event(1)))
	before := len(w.records(t))
	_, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{
		one(w.log, "y", exactly(0), event(2)),
		one(w.log, "x", exactly(7), event(3)),
		one(w.log, "z", exactly(0), event(4)),
	}})
	var c *eventstore.ConflictError
	if !errors.As(err, &c) || c.Stream != "x" || c.Expected != 7 || c.Actual != 1 {
		t.Fatalf("got %v", err)
	}
	if n := len(w.records(t)); n != before {
		t.Fatalf("%d records of a refused append were written", n-before)
	}
	a := w.must(t, one(w.log, "y", exactly(0), event(2)), one(w.log, "x", exactly(1), event(3)), one(w.log, "y", exactly(1), event(4)))
	for i, want := range []string{"y 1", "x 2", "y 2"} {
		if got := fmt.Sprint(a.Records[i].Stream, " ", a.Records[i].Version); got != want {
			t.Fatalf("record %d is %s, not %s", i, got, want)
		}
	}
}

func severalLogs(t *testing.T, w *world) {
	w.must(t, one(w.log, "x", exactly(0), event(1)), one("other", "x", exactly(0), event(2)), one(w.log, "x", exactly(1), event(3)))
	_, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{
		one(w.log, "x", exactly(2), event(4)), one("other", "x", exactly(5), event(5)), one("third", "x", exactly(0), event(6)),
	}})
	var c *eventstore.ConflictError
	if !errors.As(err, &c) || c.Log != "other" || c.Actual != 1 {
		t.Fatalf("got %v", err)
	}
	if h, err := w.s.LogHead(ctx(t), "third"); err != nil || h.Exists {
		t.Fatalf("a refused append made a log: %+v %v", h, err)
	}
	if h, err := w.s.LogHead(ctx(t), w.log); err != nil || h.Position != w.base+2 || h.Feed == 0 {
		t.Fatalf("%+v %v", h, err)
	}
	for _, r := range collect(t, w.s.Read(ctx(t), "other", 0, 0)) {
		if r.Log != "other" || r.Position != 1 {
			t.Fatalf("%+v", r)
		}
	}
}

func checkOnly(t *testing.T, w *world) {
	w.must(t, one(w.log, "x", exactly(0), event(1)))
	head, _ := w.s.Head(ctx(t), 0)
	a := w.must(t, one(w.log, "x", exactly(1)), one(w.log, "never", exactly(0)), one("nolog", "never", exactly(0)))
	if len(a.Records) != 0 || a.Feed != head {
		t.Fatalf("%+v, head %d", a, head)
	}
	if _, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "x", exactly(0))}}); !isConflict(err, 1) {
		t.Fatalf("got %v", err)
	}
	if _, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{
		one(w.log, "x", exactly(2)), one(w.log, "y", exactly(0), event(2)),
	}}); !isConflict(err, 1) {
		t.Fatalf("got %v", err)
	}
	w.must(t, one(w.log, "x", exactly(1)), one(w.log, "y", exactly(0), event(2)))
	if h, err := w.s.LogHead(ctx(t), "nolog"); err != nil || h.Exists {
		t.Fatalf("a check made a log: %+v %v", h, err)
	}
}

func isConflict(err error, actual uint64) bool {
	var c *eventstore.ConflictError
	return errors.As(err, &c) && c.Actual == actual
}

func conflicts(t *testing.T, w *world) {
	w.must(t, one(w.log, "a", w.at("a", 0), event(1)))
	now := w.have["a"] + 1
	for _, bad := range []uint64{0, now - 1, now + 1, 1 << 40} {
		if bad == now {
			continue
		}
		_, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "a", exactly(bad), event(2))}})
		var c *eventstore.ConflictError
		if !errors.As(err, &c) || c.Log != w.log || c.Stream != "a" || c.Expected != bad || c.Actual != now {
			t.Fatalf("expected %d: %v", bad, err)
		}
		if !strings.Contains(err.Error(), "a is at version") {
			t.Fatalf("the message does not name the stream: %v", err)
		}
	}
	if w.base > 0 { // streams that only the prefix has
		_, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "c", eventstore.New(), event(2))}})
		if !isConflict(err, 1) {
			t.Fatalf("got %v", err)
		}
		w.must(t, one(w.log, "hidden", eventstore.New(), event(2)))
	}
}

func caseNames(t *testing.T, w *world) {
	names := []string{"Stream", "stream", "STREAM", "stream ", "strëam", "stre\u0308am"}
	for i, n := range names {
		w.must(t, one(w.log, n, eventstore.New(), event(i)))
		w.must(t, one(eventstore.LogID("log/"+n), n, eventstore.New(), event(i)))
	}
	for i, n := range names {
		for _, log := range []eventstore.LogID{w.log, eventstore.LogID("log/" + n)} {
			got := collect(t, w.s.ReadStream(ctx(t), log, n, 0))
			if len(got) != 1 || number(t, got[0]) != i || got[0].Stream != n {
				t.Fatalf("stream %q of %q: %+v", n, log, got)
			}
		}
	}
	if h, err := w.s.LogHead(ctx(t), "LOG-UNDER-TEST"); err != nil || h.Exists {
		t.Fatalf("%+v %v", h, err)
	}
}

func invalidAppends(t *testing.T, w *world) {
	good := event(1)
	with := func(f func(*eventstore.Event)) eventstore.Event {
		e := good
		f(&e)
		return e
	}
	for name, batch := range map[string]eventstore.Batch{
		"no log":      one("", "x", any(), good),
		"no stream":   one(w.log, "", any(), good),
		"NUL":         one(w.log, "x\x00", any(), good),
		"not UTF-8":   one(w.log, "x\xff", any(), good),
		"long name":   one(w.log, strings.Repeat("x", 5000), any(), good),
		"no type":     one(w.log, "x", any(), with(func(e *eventstore.Event) { e.Type = "" })),
		"no data":     one(w.log, "x", any(), with(func(e *eventstore.Event) { e.Data = nil })),
		"not JSON":    one(w.log, "x", any(), good, with(func(e *eventstore.Event) { e.Data = []byte(`{`) })),
		"JSON UTF-8":  one(w.log, "x", any(), with(func(e *eventstore.Event) { e.Data = []byte("\"\xff\"") })),
		"twice named": one(w.log, "x", any(), with(func(e *eventstore.Event) { e.Attachments = []eventstore.Attachment{{Name: "v"}, {Name: "v"}} })),
	} {
		before := len(w.records(t))
		_, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, "ok", any(), good), batch}})
		var invalid *eventstore.InvalidError
		if !errors.As(err, &invalid) || !strings.HasPrefix(invalid.Path, "batches[1].") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(w.records(t)); n != before {
			t.Errorf("%s: something was written", name)
		}
	}
	if _, err := w.s.Append(ctx(t), eventstore.Append{}); err == nil {
		t.Error("an append without batches was taken")
	}
	if _, err := w.s.Append(ctx(t), eventstore.Append{Shard: 99, Batches: []eventstore.Batch{one("x", "y", any(), good)}}); err == nil {
		t.Error("shard 99 was taken")
	}
}

func readPages(t *testing.T, w *world) {
	for i := range 13 {
		var batch []eventstore.Event
		for k := range 200 {
			batch = append(batch, event(200*i+k))
		}
		w.must(t, one(w.log, fmt.Sprintf("s%d", i%2), any(), batch...))
	}
	all := w.records(t)
	n := len(all)
	if n != int(w.base)+2600 {
		t.Fatalf("%d records", n)
	}
	for _, c := range []struct{ after, limit, want int }{
		{0, 1, 1}, {0, 1000, 1000}, {0, 1001, 1001}, {5, 3, 3}, {n - 1, 5, 1}, {n, 5, 0}, {n + 10, 0, 0}, {n - 1500, 0, 1500}, {2, 2000, 2000},
	} {
		got := collect(t, w.s.Read(ctx(t), w.log, uint64(c.after), c.limit))
		if len(got) != c.want {
			t.Fatalf("after %d, limit %d: %d records", c.after, c.limit, len(got))
		}
		for i, r := range got {
			if r.Position != uint64(c.after+i+1) {
				t.Fatalf("after %d: record %d has position %d", c.after, i, r.Position)
			}
		}
	}
	if got := collect(t, w.s.ReadStream(ctx(t), w.log, "s0", 1234)); len(got) != 166 || got[0].Version != 1235 {
		t.Fatalf("%d records from version 1235 on", len(got))
	}
	head, _ := w.s.Head(ctx(t), 0)
	if got := collect(t, w.s.Feed(ctx(t), 0, head-1500, 1200)); len(got) != 1200 || got[0].Feed != head-1499 {
		t.Fatalf("%d records of the feed", len(got))
	}
	for _, err := range w.s.Read(ctx(t), w.log, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		break // leaving a loop early must not harm
	}
	if got := collect(t, w.s.Read(ctx(t), "no such log", 0, 0)); len(got) != 0 {
		t.Fatal("a log that does not exist has records")
	}
	if got := collect(t, w.s.ReadStream(ctx(t), w.log, "no such stream", 0)); len(got) != 0 {
		t.Fatal("a stream that does not exist has records")
	}
}

func closedLog(t *testing.T, w *world) {
	w.must(t, one(w.log, "x", any(), event(1)))
	batch := one(w.log, "x", exactly(1), event(2))
	batch.Close = true
	w.must(t, batch, one(w.log, "y", exactly(0), event(3)))
	for _, b := range []eventstore.Batch{
		one(w.log, "x", any(), event(4)), one(w.log, "new", exactly(0), event(4)), one(w.log, "x", exactly(2)),
		{Log: w.log, Close: true},
	} {
		if _, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("bystander", "s", any(), event(9)), b}}); !errors.Is(err, eventstore.ErrClosed) {
			t.Fatalf("got %v", err)
		}
	}
	if h, err := w.s.LogHead(ctx(t), "bystander"); err != nil || h.Exists {
		t.Fatalf("%+v %v", h, err)
	}
	h, err := w.s.LogHead(ctx(t), w.log)
	if err != nil || !h.Closed || h.Position != w.base+3 {
		t.Fatalf("%+v %v", h, err)
	}
	if n := len(w.records(t)); n != int(w.base)+3 {
		t.Fatalf("%d records", n)
	}
	// Its prefix can still be continued.
	w.must(t, eventstore.Batch{Log: "after", Fork: &eventstore.Fork{From: w.log, UpTo: w.base + 1}})
	w.must(t, one("after", "x", exactly(1), event(5)))
}

func attachments(t *testing.T, w *world) {
	small := eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{
		{Name: "dense", Bytes: []byte{0, 1, 2, 255}}, {Name: "Dense", Bytes: []byte{}}, {Name: "ü", Bytes: bytes.Repeat([]byte{7}, 1000)},
	}}
	big := func(n byte) eventstore.Event {
		return eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{
			{Name: "v1", Bytes: bytes.Repeat([]byte{n}, 40_000)}, {Name: "v2", Bytes: bytes.Repeat([]byte{n + 1}, 40_000)},
		}}
	}
	for _, events := range [][]eventstore.Event{{small, event(1)}, {big(1), event(2), small, big(5)}, {big(9)}} {
		a := w.must(t, one(w.log, "att", any(), events...))
		got := collect(t, w.s.Read(ctx(t), w.log, a.Records[0].Position-1, 0))
		if d := differ(a.Records, got); d != "" {
			t.Fatal(d[:min(len(d), 2000)])
		}
		for i, r := range got {
			if len(r.Attachments) != len(events[i].Attachments) {
				t.Fatalf("record %d has %d attachments", i, len(r.Attachments))
			}
			for k, att := range r.Attachments {
				if want := events[i].Attachments[k]; att.Name != want.Name || !bytes.Equal(att.Bytes, want.Bytes) {
					t.Fatalf("attachment %s of record %d differs", att.Name, i)
				}
			}
			if r.Digest != eventstore.DataDigest(r.Salt, r.Data, r.Attachments) {
				t.Fatalf("digest of record %d", i)
			}
		}
	}
}
