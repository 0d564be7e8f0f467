package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"varve/eventstore"
)

// page applies a page whole, or, where an event in it cannot be applied, in ever
// smaller pieces until that event is alone: then it is tried again, and parked.
func (s *session) page(ctx context.Context, records []eventstore.Record) error {
	m := Move{Shard: s.f.Shard, From: s.at, To: At(&records[len(records)-1])}
	for i := range records {
		r := &records[i]
		key, parked := s.parkedBy(r)
		if !parked {
			if s.handled(r) {
				m.Records = append(m.Records, *r)
			}
			continue
		}
		p := s.parked[key]
		noted := slices.ContainsFunc(m.Park, func(q Parked) bool { return q.Key() == key })
		if p.Position == 0 && !noted && s.handled(r) { // held, and this is the first that it lacks
			m.Park = append(m.Park, p.from(r))
		}
	}
	err := s.take(ctx, m)
	if err == nil || IsUnavailable(err) || errors.Is(err, ErrMoved) {
		return err
	}
	if len(records) > 1 {
		half := len(records) / 2
		if err := s.page(ctx, records[:half]); err != nil {
			return err
		}
		return s.page(ctx, records[half:])
	}
	return s.alone(ctx, m, err)
}

// alone tries a single event again and parks what it belongs to if that does not help.
func (s *session) alone(ctx context.Context, m Move, err error) error {
	r := &m.Records[0]
	for try := 2; try <= s.f.Tries; try++ {
		if !s.f.sleep(ctx, try-1) {
			return ctx.Err()
		}
		if err = s.take(ctx, m); err == nil || IsUnavailable(err) || errors.Is(err, ErrMoved) {
			return err
		}
	}
	p := Parked{Shard: s.f.Shard, Log: r.Log, Stream: r.Stream, Version: r.Version, Position: r.Position,
		Feed: r.Feed, Record: r.ID, Type: r.Type, Error: err.Error(), Tries: s.f.Tries, Since: s.f.Now().UTC()}
	if r.Stream == WholeLogStream {
		p.Stream, p.Version = "", 0
	}
	s.f.Logger.Error("event parked with what follows in its stream", "consumer", s.f.Name, "shard", p.Shard, "log", p.Log,
		"stream", r.Stream, "position", p.Position, "type", p.Type, "error", err)
	m.Records, m.Park = nil, append(m.Park, p)
	return s.take(ctx, m)
}

// take gives a move to the consumer and keeps track of it. What is nobody's
// fault is tried again until the context ends.
func (s *session) take(ctx context.Context, m Move) error {
	for try := 1; ; try++ {
		err := s.give(context.WithoutCancel(ctx), m)
		if err == nil {
			s.f.failing.Store(nil)
			s.at = m.To
			for _, k := range m.Unpark {
				delete(s.parked, k)
			}
			for _, p := range m.Park {
				s.parked[p.Key()] = p
			}
			return nil
		}
		if !IsUnavailable(err) {
			return err
		}
		s.f.fail(err)
		s.f.Logger.Warn("consumer cannot take a page: trying again", "consumer", s.f.Name, "shard", s.f.Shard, "error", err)
		if !s.f.sleep(ctx, try) {
			return err
		}
	}
}

// give hands a move over, watched where somebody wants to.
func (s *session) give(ctx context.Context, m Move) error {
	if s.f.Observe == nil || len(m.Records) == 0 {
		return s.f.Consumer.Take(ctx, m)
	}
	ctx, end := s.f.Observe(ctx, s.f.Name, s.f.Shard, m.Records)
	err := s.f.Consumer.Take(ctx, m)
	if end != nil {
		end(err)
	}
	return err
}

func (s *session) handled(r *eventstore.Record) bool { return s.f.types == nil || s.f.types[r.Type] }

// parkedBy tells which parked entry keeps a record back.
func (s *session) parkedBy(r *eventstore.Record) (Key, bool) {
	if len(s.parked) == 0 {
		return Key{}, false
	}
	if k := (Key{r.Log, ""}); s.has(k) {
		return k, true
	}
	k := Key{r.Log, r.Stream}
	return k, s.has(k)
}

func (s *session) has(k Key) bool {
	_, ok := s.parked[k]
	return ok
}

// command runs something between pages.
func (f *Follower) command(ctx context.Context, do func(context.Context, *session) error) error {
	f.init()
	c := command{do: do, reply: make(chan error, 1)}
	select {
	case f.commands <- c:
	case <-f.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-c.reply
}

// Parked lists what is parked, by log and stream.
func (f *Follower) Parked() []Parked {
	m := f.parked.Load()
	if m == nil || len(*m) == 0 {
		return nil
	}
	out := make([]Parked, 0, len(*m))
	for _, p := range *m {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Parked) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Stream, b.Stream))
	})
	return out
}

// ParkedIn lists what is parked of one log, nil where nothing is.
func (f *Follower) ParkedIn(log eventstore.LogID) []Parked {
	m := f.parked.Load()
	if m == nil || len(*m) == 0 {
		return nil
	}
	in := slices.DeleteFunc(f.Parked(), func(p Parked) bool { return p.Log != log })
	if len(in) == 0 {
		return nil
	}
	return in
}

// Retry applies a parked stream's events again, from the one that failed up to
// the follower's place. Where one fails again it stays parked from there on:
// *StillParkedError. ErrNotParked where nothing is parked under the key, or, with a
// position other than 0, not from there on.
func (f *Follower) Retry(ctx context.Context, k Key, position uint64) error {
	return f.command(ctx, func(ctx context.Context, s *session) error { return s.resume(ctx, k, position, false) })
}

// Skip leaves out the event that failed for good, records that, and goes on with
// what follows it as Retry does. With its position, asking twice leaves out one event.
func (f *Follower) Skip(ctx context.Context, k Key, position uint64) error {
	return f.command(ctx, func(ctx context.Context, s *session) error {
		if s.parked[k].Held {
			return fmt.Errorf("skip %s %s: the log is held back on purpose; release it", k.Log, k.Stream)
		}
		return s.resume(ctx, k, position, true)
	})
}

// Hold keeps back all further events of a log until Release. A log that is
// parked already stays as it is.
func (f *Follower) Hold(ctx context.Context, log eventstore.LogID) error {
	return f.command(ctx, func(ctx context.Context, s *session) error {
		k := Key{log, ""}
		if s.has(k) {
			return nil
		}
		p := Parked{Shard: f.Shard, Log: log, Held: true, Since: f.Now().UTC()}
		return s.take(ctx, Move{Shard: f.Shard, From: s.at, To: s.at, Park: []Parked{p}})
	})
}

// Release applies what Hold kept back. A log that is not held changes nothing.
func (f *Follower) Release(ctx context.Context, log eventstore.LogID) error {
	return f.command(ctx, func(ctx context.Context, s *session) error {
		k := Key{log, ""}
		if p, ok := s.parked[k]; !ok || !p.Held {
			return nil
		}
		return s.resume(ctx, k, 0, false)
	})
}

// resume applies what a parked entry lacks, in pages; each page moves the entry on.
func (s *session) resume(ctx context.Context, k Key, position uint64, skip bool) error {
	p, ok := s.parked[k]
	if !ok || position > 0 && position != p.Position {
		return fmt.Errorf("stream %q of log %s for %s: %w", k.Stream, k.Log, s.f.Name, ErrNotParked)
	}
	here := Move{Shard: s.f.Shard, From: s.at, To: s.at}
	if skip {
		here.Skipped = []Parked{p}
	}
	var records []eventstore.Record
	flush := func(next *eventstore.Record) error {
		m := here
		m.From, m.To, m.Records = s.at, s.at, records
		if next == nil {
			m.Unpark = []Key{k}
		} else {
			m.Park = []Parked{p.from(next)}
		}
		err := s.take(ctx, m)
		if err != nil && len(records) > 0 && !IsUnavailable(err) && !errors.Is(err, ErrMoved) {
			err = s.resumeOneByOne(ctx, m, p, err)
		}
		if err == nil {
			records, here.Skipped = nil, nil
		}
		return err
	}
	first := true
	for r, err := range s.lacking(ctx, p) {
		if err != nil {
			return fmt.Errorf("read parked stream %q of log %s: %w", k.Stream, k.Log, err)
		}
		if r.Feed > s.at.Feed {
			break
		}
		if first && skip {
			first = false
			continue
		}
		first = false
		if _, other := s.parked[Key{r.Log, r.Stream}]; other && k.Stream == "" || !s.handled(&r) {
			continue
		}
		if len(records) == s.f.PageSize {
			if err := flush(&r); err != nil {
				return err
			}
		}
		records = append(records, r)
	}
	return flush(nil)
}

// lacking reads what is missing, from the store.
func (s *session) lacking(ctx context.Context, p Parked) iter.Seq2[eventstore.Record, error] {
	switch {
	case p.Position == 0: // held, and nothing came
		return func(func(eventstore.Record, error) bool) {}
	case p.Stream == "":
		return s.f.Store.Read(ctx, p.Log, p.Position-1, 0)
	}
	return s.f.Store.ReadStream(ctx, p.Log, p.Stream, p.Version-1)
}

// resumeOneByOne applies a page that failed record by record, up to the one that
// is to blame, which the entry then names.
func (s *session) resumeOneByOne(ctx context.Context, m Move, p Parked, cause error) error {
	for i := range m.Records {
		one := m
		one.From, one.To, one.Records, one.Unpark = s.at, s.at, m.Records[i:i+1], nil
		one.Park = nil
		if i+1 < len(m.Records) {
			one.Park = []Parked{p.from(&m.Records[i+1])}
		} else {
			one.Park, one.Unpark = m.Park, m.Unpark
		}
		err := s.take(ctx, one)
		if err == nil {
			m.Skipped = nil
			continue
		}
		if IsUnavailable(err) || errors.Is(err, ErrMoved) {
			return err
		}
		stuck := p.from(&m.Records[i])
		cause := err
		stuck.Held, stuck.Error, stuck.Tries = false, cause.Error(), p.Tries+1
		move := Move{Shard: m.Shard, From: s.at, To: s.at, Park: []Parked{stuck}, Skipped: m.Skipped}
		if err := s.take(ctx, move); err != nil {
			return err
		}
		return &StillParkedError{Parked: stuck, Err: cause}
	}
	s.f.Logger.Info("a page of a parked stream could only be applied event by event", "consumer", s.f.Name, "error", cause)
	return nil
}

// from is the entry when it lacks a record and what follows.
func (p Parked) from(r *eventstore.Record) Parked {
	p.Position, p.Feed, p.Record, p.Type = r.Position, r.Feed, r.ID, r.Type
	if p.Stream != "" {
		p.Version = r.Version
	}
	return p
}
