package storetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/eventstore"
)

// modelLog is what a log must hold: a branch has a copy of its prefix.
type modelLog struct {
	records []eventstore.Record
	closed  bool
}

func (m *modelLog) version(stream string) uint64 {
	n := uint64(0)
	for i := range m.records {
		if m.records[i].Stream == stream {
			n++
		}
	}
	return n
}

// model: random appends, branches, erasures, crashes and reopenings against a
// model of plain slices.
func model(t *testing.T, open Opener, f Features) {
	checks := "40"
	if f.Light || testing.Short() {
		checks = "15"
	}
	was := flag.Lookup("rapid.checks").Value.String()
	if was == "100" { // not set by hand
		set := func(n string) {
			if err := flag.Set("rapid.checks", n); err != nil {
				t.Fatal(err)
			}
		}
		set(checks)
		defer set(was)
	}
	rapid.Check(t, func(rt *rapid.T) {
		clock := NewClock()
		opts := eventstore.Options{Source: eventstore.Source{Now: clock.Now}, Remember: rapid.SampledFrom([]int{0, 4}).Draw(rt, "remember")}
		m := &machine{rt: rt, clock: clock, logs: map[eventstore.LogID]*modelLog{}, s: open(t, opts)}
		opened := []eventstore.Owner{m.s}
		defer func() {
			for _, s := range opened {
				s.Close()
			}
		}()
		actions := map[string]func(*rapid.T){
			"append": m.append, "append ": m.append, "append  ": m.append,
			"fork": m.fork, "erase": m.erase, "close": m.close, "clock": m.tick, "": m.check,
		}
		if f.Reopen != nil {
			actions["reopen"] = func(rt *rapid.T) {
				m.rt = rt
				m.s = f.Reopen(t, m.s, opts)
				opened = append(opened, m.s)
			}
		}
		if f.Second != nil {
			// A crash: the old store is left as it is, never used again.
			actions["crash"] = func(rt *rapid.T) {
				m.rt = rt
				m.s = f.Second(t, m.s, opts)
				opened = append(opened, m.s)
			}
		}
		rt.Repeat(actions)
		Whole(t, m.s)
	})
}

type machine struct {
	rt    *rapid.T
	s     eventstore.Owner
	clock *Clock
	logs  map[eventstore.LogID]*modelLog
	feed  []eventstore.ID
	n     int
}

var modelLogs = []eventstore.LogID{"A", "a", "b", "c"}

func (m *machine) tick(rt *rapid.T) {
	m.clock.Add(time.Duration(rapid.IntRange(-5, 100).Draw(rt, "µs")) * time.Microsecond)
}

func (m *machine) append(rt *rapid.T) {
	var a eventstore.Append
	next := map[eventstore.LogID]*modelLog{}
	var failed, closed bool
	for range rapid.IntRange(1, 3).Draw(rt, "batches") {
		log := rapid.SampledFrom(modelLogs).Draw(rt, "log")
		stream := rapid.SampledFrom([]string{"s", "S", "t"}).Draw(rt, "stream")
		if next[log] == nil {
			next[log] = &modelLog{}
			if l := m.logs[log]; l != nil {
				*next[log] = modelLog{slices.Clone(l.records), l.closed}
			}
		}
		l := next[log]
		version := l.version(stream)
		b := eventstore.Batch{Log: log, Stream: stream, Meta: eventstore.Metadata{Actor: rapid.SampledFrom([]string{"", "u"}).Draw(rt, "actor")}}
		switch rapid.IntRange(0, 5).Draw(rt, "expect") {
		case 0:
		case 1:
			b.Expect = exactly(version + uint64(rapid.IntRange(1, 2).Draw(rt, "wrong")))
			failed = true
		default:
			b.Expect = exactly(version)
		}
		closed = closed || l.closed
		for range rapid.IntRange(0, 3).Draw(rt, "events") {
			m.n++
			e := eventstore.Event{Type: fmt.Sprint("t.", m.n%3), Data: fmt.Appendf(nil, `{"n":%d}`, m.n)}
			if size := rapid.SampledFrom([]int{-1, -1, 0, 10, 40_000}).Draw(rt, "attachment"); size >= 0 {
				e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, size)}}
			}
			b.Events = append(b.Events, e)
			l.records = append(l.records, eventstore.Record{Log: log, Stream: stream, Type: e.Type, Data: e.Data, Attachments: e.Attachments,
				Version: l.version(stream) + 1, Position: uint64(len(l.records) + 1), Meta: b.Meta})
		}
		a.Batches = append(a.Batches, b)
	}
	got, err := m.s.Append(context.Background(), a)
	var conflict *eventstore.ConflictError
	switch {
	case closed || failed:
		if err == nil || !(closed && errors.Is(err, eventstore.ErrClosed)) && !(failed && errors.As(err, &conflict)) {
			rt.Fatalf("an append that must fail: %v", err)
		}
		return
	case err != nil:
		rt.Fatalf("append: %v", err)
	}
	for log, l := range next {
		if m.logs[log] == nil && len(l.records) == 0 {
			continue
		}
		m.logs[log] = l
	}
	for _, r := range got.Records {
		m.feed = append(m.feed, r.ID)
		l := m.logs[r.Log]
		want := l.records[r.Position-1]
		if want.Stream != r.Stream || want.Version != r.Version || string(want.Data) != string(r.Data) {
			rt.Fatalf("given %+v, want %+v", r, want)
		}
		l.records[r.Position-1] = r
	}
	if got.Feed != uint64(len(m.feed)) {
		rt.Fatalf("feed %d, want %d", got.Feed, len(m.feed))
	}
}

func (m *machine) existing(rt *rapid.T) (eventstore.LogID, *modelLog) {
	for _, log := range rapid.Permutation(modelLogs).Draw(rt, "log") {
		if l := m.logs[log]; l != nil {
			return log, l
		}
	}
	rt.Skip("no log yet")
	return "", nil
}

func (m *machine) fork(rt *rapid.T) {
	from, src := m.existing(rt)
	to := rapid.SampledFrom(modelLogs).Draw(rt, "to")
	at := rapid.IntRange(0, len(src.records)).Draw(rt, "at")
	if to == from {
		rt.Skip("itself")
	}
	_, err := m.s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{fork(to, from, uint64(at))}})
	if l := m.logs[to]; l != nil {
		if !errors.Is(err, eventstore.ErrLogExists) && !(l.closed && errors.Is(err, eventstore.ErrClosed)) {
			rt.Fatalf("fork to a log that exists: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("fork: %v", err)
	}
	l := &modelLog{}
	for _, r := range src.records[:at] {
		r.Log = to
		l.records = append(l.records, r)
	}
	m.logs[to] = l
}

func (m *machine) erase(rt *rapid.T) {
	log, l := m.existing(rt)
	if len(l.records) == 0 {
		rt.Skip("empty")
	}
	var positions []uint64
	for range rapid.IntRange(1, 3).Draw(rt, "count") {
		positions = append(positions, uint64(rapid.IntRange(1, len(l.records)).Draw(rt, "position")))
	}
	if err := m.s.Erase(context.Background(), log, positions...); err != nil {
		rt.Fatalf("erase: %v", err)
	}
	for _, p := range positions {
		id := l.records[p-1].ID
		for _, other := range m.logs { // branches share the record
			for i := range other.records {
				if r := &other.records[i]; r.ID == id {
					r.Erased, r.Data, r.Attachments, r.Salt = true, nil, nil, [16]byte{}
				}
			}
		}
	}
}

func (m *machine) close(rt *rapid.T) {
	if rapid.IntRange(0, 5).Draw(rt, "really") > 0 {
		rt.Skip("rarely")
	}
	log, l := m.existing(rt)
	_, err := m.s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: log, Close: true}}})
	if l.closed != errors.Is(err, eventstore.ErrClosed) || !l.closed && err != nil {
		rt.Fatalf("close: %v", err)
	}
	l.closed = true
}

func (m *machine) check(rt *rapid.T) {
	for log, l := range m.logs {
		h, err := m.s.LogHead(context.Background(), log)
		if err != nil || !h.Exists || h.Position != uint64(len(l.records)) || h.Closed != l.closed {
			rt.Fatalf("head of %s: %+v %v, want %d records, closed %v", log, h, err, len(l.records), l.closed)
		}
		i := 0
		for r, err := range m.s.Read(context.Background(), log, 0, 0) {
			if err != nil {
				rt.Fatalf("read %s: %v", log, err)
			}
			if i == len(l.records) {
				rt.Fatalf("%s has more than %d records", log, i)
			}
			same(rt, l.records[i], r)
			i++
		}
		if i != len(l.records) {
			rt.Fatalf("%s has %d records, want %d", log, i, len(l.records))
		}
		for _, stream := range []string{"s", "S", "t"} {
			v := uint64(0)
			for r, err := range m.s.ReadStream(context.Background(), log, stream, 0) {
				if v++; err != nil || r.Version != v || r.Stream != stream {
					rt.Fatalf("stream %s of %s: %+v %v", stream, log, r, err)
				}
				same(rt, l.records[r.Position-1], r)
			}
			if v != l.version(stream) {
				rt.Fatalf("stream %s of %s has %d records, want %d", stream, log, v, l.version(stream))
			}
		}
	}
	i := 0
	for r, err := range m.s.Feed(context.Background(), 0, 0, 0) {
		if err != nil || i >= len(m.feed) || r.ID != m.feed[i] {
			rt.Fatalf("feed %d: %+v %v", i+1, r, err)
		}
		i++
	}
	if i != len(m.feed) {
		rt.Fatalf("the feed has %d records, want %d", i, len(m.feed))
	}
}

func same(rt *rapid.T, want, got eventstore.Record) {
	if want.ID != got.ID || want.Hash != got.Hash || want.Digest != got.Digest || want.Salt != got.Salt || string(want.Data) != string(got.Data) ||
		want.Version != got.Version || want.Position != got.Position || want.Feed != got.Feed || !want.Time.Equal(got.Time) || want.Erased != got.Erased ||
		want.Log != got.Log || want.Meta != got.Meta || len(want.Attachments) != len(got.Attachments) {
		rt.Fatalf("got  %+v\nwant %+v", got, want)
	}
}
