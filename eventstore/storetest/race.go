package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"varve/eventstore"
)

func twoWriters(t *testing.T, w *world) {
	const rounds = 40
	for i := range rounds {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for k := range errs {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, errs[k] = w.s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{
					one(w.log, "a", w.at("a", i), event(10*i+k)), one(w.log, fmt.Sprintf("w%d", k), any(), event(i)),
				}})
			}()
		}
		wg.Wait()
		won := -1
		for k, err := range errs {
			if err == nil && won >= 0 {
				t.Fatalf("round %d: both writers won", i)
			}
			if err == nil {
				won = k
			} else if !isConflict(err, w.have["a"]+uint64(i)+1) {
				t.Fatalf("round %d: %v", i, err)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: neither writer won: %v", i, errs)
		}
		got := collect(t, w.s.ReadStream(ctx(t), w.log, "a", w.have["a"]+uint64(i)))
		if len(got) != 1 || number(t, got[0]) != 10*i+won {
			t.Fatalf("round %d: writer %d won, the stream has %+v", i, won, got)
		}
	}
}

// tailing: eight writers, and readers that follow log and feed as they grow.
func tailing(t *testing.T, w *world) {
	const writers, each = 8, 60
	total := uint64(writers * each)
	start, _ := w.s.Head(ctx(t), 0)
	c, cancel := context.WithTimeout(ctx(t), 60*time.Second)
	defer cancel()
	var readers, writing sync.WaitGroup
	follow := func(name string, read func(after uint64) ([]eventstore.Record, error)) {
		readers.Add(1)
		go func() {
			defer readers.Done()
			seen, last := uint64(0), start
			versions := map[string]uint64{}
			for after := start; seen < total; {
				if err := w.s.Wait(c, 0, after); err != nil {
					t.Errorf("%s: wait: %v", name, err)
					return
				}
				got, err := read(last)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				for _, r := range got {
					if r.Feed != last+1 {
						t.Errorf("%s: feed position %d comes after %d", name, r.Feed, last)
						return
					}
					if r.Version != versions[r.Stream]+1 && versions[r.Stream] > 0 {
						t.Errorf("%s: %s goes from version %d to %d", name, r.Stream, versions[r.Stream], r.Version)
						return
					}
					versions[r.Stream] = r.Version
					last = r.Feed
					seen++
				}
				after = last
			}
		}()
	}
	follow("feed", func(after uint64) (out []eventstore.Record, err error) {
		for r, err := range w.s.Feed(c, 0, after, 17) {
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, nil
	})
	follow("log", func(after uint64) (out []eventstore.Record, err error) {
		for r, err := range w.s.Read(c, w.log, w.base+after-start, 0) {
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, nil
	})
	for k := range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			for i := range each {
				stream := fmt.Sprintf("tail%d", k%4)
				if _, err := w.s.Append(c, eventstore.Append{Batches: []eventstore.Batch{one(w.log, stream, any(), event(1000*k+i))}}); err != nil {
					t.Errorf("writer %d: %v", k, err)
					return
				}
			}
		}()
	}
	writing.Wait()
	readers.Wait()
	if t.Failed() {
		return
	}
	next := make([]int, writers)
	for _, r := range w.records(t)[w.base:] {
		n := number(t, r)
		if n%1000 != next[n/1000] {
			t.Fatalf("writer %d: event %d comes when %d is next", n/1000, n%1000, next[n/1000])
		}
		next[n/1000]++
	}
}

// gate stops the committer inside OnCommit, so that a test can fill the queue.
type gate struct {
	entered, release chan struct{}
	once             sync.Once
	mu               sync.Mutex
	groups           [][2]int
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}), release: make(chan struct{})}
}

func (g *gate) onCommit(_, appends, records int) {
	g.mu.Lock()
	g.groups = append(g.groups, [2]int{appends, records})
	g.mu.Unlock()
	g.once.Do(func() {
		close(g.entered)
		<-g.release
	})
}

func overload(t *testing.T, open Opener, _ Features) {
	g := newGate()
	const size, extra = 6, 5
	s := open(t, eventstore.Options{Queue: size, OnCommit: g.onCommit})
	defer s.Close()
	first := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "gate", any(), event(0))}})
		first <- err
	}()
	<-g.entered
	answers := make(chan error, size+extra)
	for i := range size + extra {
		go func() {
			_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", fmt.Sprint("s", i), any(), event(i))}})
			answers <- err
		}()
	}
	for range extra {
		var err error
		select {
		case err = <-answers:
		case <-time.After(10 * time.Second):
			t.Error("the queue took more appends than its size")
			close(g.release)
			return
		}
		var o *eventstore.OverloadedError
		if !errors.As(err, &o) || o.RetryAfter <= 0 {
			t.Errorf("an append beyond the queue: %v", err)
		}
	}
	close(g.release)
	for range size {
		if err := <-answers; err != nil {
			t.Errorf("an append in the queue: %v", err)
		}
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := len(collect(t, s.Read(ctx(t), "l", 0, 0))); n != size+1 {
		t.Errorf("%d records, %d appends were acknowledged", n, size+1)
	}
	Whole(t, s)
}

// groupFails: appends that fail do so alone, whatever else is in their group.
func groupFails(t *testing.T, open Opener, _ Features) {
	g := newGate()
	const size = 24
	s := open(t, eventstore.Options{Queue: size, OnCommit: g.onCommit})
	defer s.Close()
	setup := func(b ...eventstore.Batch) {
		if _, err := s.Append(ctx(t), eventstore.Append{Batches: b}); err != nil {
			t.Fatal(err)
		}
	}
	g.once.Do(func() {}) // not yet
	setup(one("l", "taken", exactly(0), event(1)))
	setup(eventstore.Batch{Log: "closed", Stream: "s", Events: []eventstore.Event{event(1)}, Close: true})
	g.once = sync.Once{}
	answers := make(chan error, size)
	var wrong [size]error
	first := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "gate", any(), event(0))}})
		first <- err
	}()
	<-g.entered
	var wg sync.WaitGroup
	for i := range size + 1 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var batch []eventstore.Batch
			switch i % 4 {
			case 0:
				batch = []eventstore.Batch{one("l", fmt.Sprint("new", i), exactly(0), event(i), event(i))}
			case 1: // conflict after a batch that would have been right
				batch = []eventstore.Batch{one("l", fmt.Sprint("new", i), exactly(0), event(i)), one("l", "taken", exactly(0), event(i))}
			case 2:
				batch = []eventstore.Batch{one("l", fmt.Sprint("new", i), exactly(0), event(i)), one("closed", "s", any(), event(i))}
			default:
				batch = []eventstore.Batch{{Log: eventstore.LogID(fmt.Sprint("fork", i)), Fork: &eventstore.Fork{From: "l", UpTo: 1 << 30}}}
			}
			_, err := s.Append(ctx(t), eventstore.Append{Batches: batch})
			if o := (*eventstore.OverloadedError)(nil); asError(err, &o) {
				answers <- err // one of them finds the queue full: then all others are in it
				return
			}
			conflict := (*eventstore.ConflictError)(nil)
			invalid := (*eventstore.InvalidError)(nil)
			ok := []bool{err == nil, asError(err, &conflict), errors.Is(err, eventstore.ErrClosed), asError(err, &invalid)}[i%4]
			if !ok {
				wrong[i%size] = fmt.Errorf("append %d: %w", i, err)
				if err == nil {
					wrong[i%size] = fmt.Errorf("append %d succeeded", i)
				}
			}
		}()
	}
	if err := <-answers; err == nil {
		t.Error("the queue took more than its size")
	}
	close(g.release)
	wg.Wait()
	if err := errors.Join(wrong[:]...); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.groups); n > 6 {
		t.Errorf("%d commits for %d appends that waited together: %v", n, size, g.groups)
	}
	Whole(t, s)
}

// cancelled: appends of several batches whose contexts end at any moment.
func cancelled(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{Grace: -1})
	defer s.Close()
	const writers, each = 8, 40
	type try struct {
		id  int
		err error
	}
	results := make(chan try, writers*each)
	var wg sync.WaitGroup
	for k := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				id := 1000*k + i
				c, cancel := context.WithCancel(ctx(t))
				spin := (i * 7919) % 400
				go func() {
					for range spin {
						yield()
					}
					cancel()
				}()
				_, err := s.Append(c, eventstore.Append{Batches: []eventstore.Batch{
					one("l", fmt.Sprint("s", k), any(), event(id), event(id)), one("m", "s", any(), event(id)),
				}})
				cancel()
				results <- try{id, err}
			}
		}()
	}
	wg.Wait()
	close(results)
	// A second append behind them on the same shard: all that was taken is settled.
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("end", "s", any(), event(0))}}); err != nil {
		t.Fatal(err)
	}
	count := map[int]int{}
	for _, log := range []eventstore.LogID{"l", "m"} {
		for _, r := range collect(t, s.Read(ctx(t), log, 0, 0)) {
			count[number(t, r)]++
		}
	}
	for r := range results {
		n := count[r.id]
		unknown := errors.Is(r.err, eventstore.ErrUnknownOutcome)
		switch {
		case n != 0 && n != 3:
			t.Fatalf("append %d left %d of its 3 events (%v)", r.id, n, r.err)
		case r.err == nil && n == 0:
			t.Fatalf("append %d was acknowledged and is not there", r.id)
		case r.err != nil && !unknown && n > 0:
			t.Fatalf("append %d answered %v and is there", r.id, r.err)
		case r.err != nil && !errors.Is(r.err, context.Canceled):
			t.Fatalf("append %d: %v", r.id, r.err)
		}
	}
	Whole(t, s)
}

// cancelledQueue: what still waits in the queue when its context ends is not written.
func cancelledQueue(t *testing.T, open Opener, _ Features) {
	g := newGate()
	s := open(t, eventstore.Options{OnCommit: g.onCommit})
	defer s.Close()
	first := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "gate", any(), event(0))}})
		first <- err
	}()
	<-g.entered
	c, cancel := context.WithTimeout(ctx(t), 5*time.Millisecond)
	defer cancel()
	_, err := s.Append(c, eventstore.Append{Batches: []eventstore.Batch{one("l", "x", any(), event(1))}})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, eventstore.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	dead, stop := context.WithCancel(ctx(t))
	stop()
	if _, err := s.Append(dead, eventstore.Append{Batches: []eventstore.Batch{one("l", "x", any(), event(1))}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(g.release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "x", exactly(0), event(2))}}); err != nil {
		t.Error(err)
	}
	Whole(t, s)
}
