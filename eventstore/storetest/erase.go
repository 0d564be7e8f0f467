package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"varve/eventstore"
)

func eraseKeeps(t *testing.T, w *world) {
	secret := []byte("SECRET-that-must-go")
	with := func(n int) eventstore.Event {
		return eventstore.Event{Type: "person.added", Data: fmt.Appendf(nil, `{"n":%d,"s":%q}`, n, secret),
			Attachments: []eventstore.Attachment{{Name: "v", Bytes: append([]byte{byte(n)}, secret...)}}}
	}
	w.must(t, one(w.log, "a", w.at("a", 0), with(1), with(2)), one(w.log, "x", any(), with(3)))
	before := w.records(t)
	feed := collect(t, w.s.Feed(ctx(t), 0, 0, 0))
	positions := []uint64{w.base + 1, w.base + 3}
	if w.base > 0 {
		positions = append(positions, 2) // of the prefix: of the source itself
	}
	for range 2 { // erasing twice changes nothing
		if err := w.s.Erase(ctx(t), w.log, positions...); err != nil {
			t.Fatal(err)
		}
		after := w.records(t)
		for i := range before {
			want := before[i]
			for _, p := range positions {
				if want.Position == p {
					want.Data, want.Attachments, want.Salt, want.Erased = nil, nil, [16]byte{}, true
				}
			}
			if d := differ(want, after[i]); d != "" {
				t.Fatal(d)
			}
		}
	}
	got := collect(t, w.s.Feed(ctx(t), 0, 0, 0))
	erased := 0
	for i := range got {
		if got[i].Erased {
			erased++
			continue
		}
		if d := differ(feed[i], got[i]); d != "" {
			t.Fatal(d)
		}
	}
	if len(got) != len(feed) || erased != len(positions) {
		t.Fatalf("the feed has %d records, %d erased", len(got), erased)
	}
	if err := w.s.Erase(ctx(t), w.log, w.base+2); err != nil {
		t.Fatal(err)
	}
	if w.f.Bytes != nil && w.f.Bytes(t, w.s, secret) {
		t.Error("the erased bytes are still in the engine's files")
	}
	rep, err := eventstore.Verify(ctx(t), w.s, w.log)
	if err != nil || !rep.OK() || rep.Erased != len(positions)+1 {
		t.Fatalf("%+v %v", rep, err)
	}
	var invalid *eventstore.InvalidError
	if err := w.s.Erase(ctx(t), w.log, w.base+100); !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if err := w.s.Erase(ctx(t), "no log", 1); !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	w.must(t, one(w.log, "a", w.at("a", 2), event(4)))
}

// erasePacked: of an append whose attachments share a blob, some go and some stay.
func erasePacked(t *testing.T, w *world) {
	secret := bytes.Repeat([]byte("SECRET-vector"), 3000)
	var events []eventstore.Event
	for i := range 6 {
		b := bytes.Repeat([]byte{byte(i + 1)}, 30_000)
		if i%2 == 0 {
			b = append(secret[:len(secret):len(secret)], byte(i))
		}
		e := eventstore.Event{Type: "doc.written", Data: fmt.Appendf(nil, `{"n":%d}`, i)}
		if i != 3 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: b}, {Name: "w", Bytes: []byte{byte(i)}}}
		}
		events = append(events, e)
	}
	a := w.must(t, one(w.log, "docs", any(), events...))
	w.must(t, one(w.log, "docs", any(), events[1], events[5]))
	first := a.Records[0].Position
	check := func(gone ...int) {
		t.Helper()
		got := collect(t, w.s.Read(ctx(t), w.log, first-1, 6))
		for i, r := range got {
			want := a.Records[i]
			for _, g := range gone {
				if g == i {
					want.Data, want.Attachments, want.Salt, want.Erased = nil, nil, [16]byte{}, true
				}
			}
			if d := differ(want, r); d != "" {
				t.Fatalf("record %d: %s", i, d[:min(len(d), 1000)])
			}
		}
	}
	for _, step := range [][]uint64{{first}, {first + 2, first + 4}, {first + 3}, {first + 1, first + 5}} {
		if err := w.s.Erase(ctx(t), w.log, step...); err != nil {
			t.Fatal(err)
		}
		switch len(step) {
		case 2:
			if step[0] == first+2 {
				check(0, 2, 4)
				if w.f.Bytes != nil && w.f.Bytes(t, w.s, secret[:64]) {
					t.Error("erased attachments are still in the engine's files")
				}
			}
		case 1:
			if step[0] == first {
				check(0)
			}
		}
	}
	check(0, 1, 2, 3, 4, 5)
	if got := collect(t, w.s.Read(ctx(t), w.log, first+5, 2)); !bytes.Equal(got[0].Attachments[0].Bytes, events[1].Attachments[0].Bytes) {
		t.Fatal("attachments of another append changed")
	}
}

// eraseLoad: erasing disturbs neither readers nor writers, and they not it.
func eraseLoad(t *testing.T, w *world) {
	var events []eventstore.Event
	for i := range 40 {
		e := event(i)
		if i%4 == 0 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: bytes.Repeat([]byte{byte(i)}, 9000)}}
		}
		events = append(events, e)
	}
	w.must(t, one(w.log, "x", any(), events...))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if k < 2 {
					if _, err := w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one(w.log, fmt.Sprint("w", k), exactly(uint64(n)), event(n))}}); err != nil {
						t.Errorf("append: %v", err)
						return
					}
					continue
				}
				for r, err := range w.s.Read(ctx(t), w.log, w.base, 40) {
					if err != nil {
						t.Errorf("read: %v", err)
						return
					}
					if i := int(r.Position - w.base - 1); !r.Erased && i%4 == 0 && (len(r.Attachments) != 1 || r.Attachments[0].Bytes[8999] != byte(i)) {
						t.Errorf("attachments of record %d are wrong", r.Position)
						return
					}
				}
			}
		}()
	}
	for i := range 20 {
		if err := w.s.Erase(ctx(t), w.log, w.base+uint64(2*i)+1); err != nil {
			t.Errorf("erase: %v", err)
		}
	}
	close(stop)
	wg.Wait()
	if rep, err := eventstore.Verify(ctx(t), w.s, w.log); err != nil || rep.Erased != 20 {
		t.Fatal(rep, err)
	}
}
