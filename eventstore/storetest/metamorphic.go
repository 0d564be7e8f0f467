package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"varve/eventstore"
)

// Metamorphic does the same random operations, from the same seeded clock and
// chance, on a store of each engine: answers, feeds, heads and hashes must be equal.
func Metamorphic(t *testing.T, seeds int, opens ...Opener) {
	for seed := range seeds {
		var answers [][]string
		var stores []eventstore.Owner
		for _, open := range opens {
			clock := NewClock()
			s := open(t, eventstore.Options{Source: eventstore.Source{Now: clock.Now, Rand: NewChance(uint64(seed))}})
			t.Cleanup(func() { s.Close() })
			answers = append(answers, play(s, clock, uint64(seed), 120))
			stores = append(stores, s)
		}
		for i, s := range stores[1:] {
			if d := differ(answers[0], answers[i+1]); d != "" {
				t.Fatalf("seed %d: answers differ: %s", seed, d)
			}
			if d := differ(collect(t, stores[0].Feed(ctx(t), 0, 0, 0)), collect(t, s.Feed(ctx(t), 0, 0, 0))); d != "" {
				t.Fatalf("seed %d: feeds differ: %s", seed, d[:min(len(d), 3000)])
			}
			for _, log := range playLogs {
				a, err1 := stores[0].LogHead(ctx(t), log)
				b, err2 := s.LogHead(ctx(t), log)
				if d := differ(a, b); d != "" || err1 != nil || err2 != nil {
					t.Fatalf("seed %d: heads of %s differ: %s %v %v", seed, log, d, err1, err2)
				}
			}
			Whole(t, s)
		}
	}
}

var playLogs = []eventstore.LogID{"n1", "n2", "n3", "n4", "N1"}

func play(s eventstore.Owner, clock *Clock, seed uint64, steps int) (answers []string) {
	c := context.Background()
	r := rand.New(rand.NewPCG(seed, 2))
	say := func(err error) string {
		var conflict *eventstore.ConflictError
		var invalid *eventstore.InvalidError
		switch {
		case err == nil:
			return "ok"
		case errors.As(err, &conflict), errors.As(err, &invalid), errors.Is(err, eventstore.ErrClosed), errors.Is(err, eventstore.ErrLogExists), errors.Is(err, eventstore.ErrIdempotency):
			return err.Error()
		}
		return "unexpected: " + err.Error()
	}
	for i := range steps {
		clock.Add(time.Duration(r.IntN(2000)-100) * time.Microsecond)
		log := playLogs[r.IntN(len(playLogs))]
		switch n := r.IntN(20); {
		case n == 0:
			from := playLogs[r.IntN(len(playLogs))]
			if from == log {
				continue
			}
			_, err := s.Append(c, eventstore.Append{Batches: []eventstore.Batch{fork(log, from, uint64(r.IntN(20)))}})
			answers = append(answers, say(err))
		case n == 1:
			answers = append(answers, say(s.Erase(c, log, uint64(r.IntN(10)+1))))
		case n == 2 && r.IntN(8) == 0:
			_, err := s.Append(c, eventstore.Append{Batches: []eventstore.Batch{{Log: log, Close: true}}})
			answers = append(answers, say(err))
		default:
			a := eventstore.Append{}
			for range r.IntN(3) + 1 {
				b := one(log, fmt.Sprint("s", r.IntN(4)), any())
				if r.IntN(2) == 0 {
					b.Expect = exactly(uint64(r.IntN(6)))
				}
				for range r.IntN(4) {
					e := event(i)
					if r.IntN(6) == 0 {
						e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: make([]byte, r.IntN(50_000))}}
					}
					b.Events = append(b.Events, e)
				}
				a.Batches = append(a.Batches, b)
				log = playLogs[r.IntN(len(playLogs))]
			}
			if r.IntN(5) == 0 {
				a.Idempotency = &eventstore.Idempotency{Scope: fmt.Sprint("k", r.IntN(10)), Digest: digest(byte(r.IntN(2)))}
			}
			got, err := s.Append(c, a)
			answers = append(answers, fmt.Sprint(say(err), got.Feed, got.Replayed, len(got.Records)))
		}
	}
	return answers
}
