package eventstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// pageRows is how many rows a read takes from the engine at once.
const pageRows = 1000

// maxKnown bounds what is remembered of logs' immutable parts.
const maxKnown = 100_000

// logInfo is what never changes of a log: key, shard, pieces, ranges; ok is
// false while it does not exist. Position, hash and the rest may be old.
func (s *store) logInfo(ctx context.Context, name LogID) (LogInfo, bool, error) {
	if v, ok := s.known.Load(name); ok {
		return v.(LogInfo), true, nil
	}
	infos, err := s.engine.Logs(ctx, []LogID{name})
	if err != nil || infos[0].Key == 0 {
		return LogInfo{}, false, err
	}
	if s.knownN.Add(1) > maxKnown {
		s.known.Clear()
		s.knownN.Store(1)
	}
	s.known.Store(name, infos[0])
	return infos[0], true, nil
}

func (s *store) Read(ctx context.Context, log LogID, after uint64, limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		info, ok, err := s.logInfo(ctx, log)
		if err != nil {
			yield(Record{}, fmt.Errorf("read log: %w", s.readError(err)))
			return
		}
		if !ok {
			return
		}
		p := pager{s: s, ctx: ctx, yield: yield, log: log, left: limit, what: "read log"}
		p.pages(func(limit int) ([]Row, bool, error) {
			rows, more, err := s.engine.ReadLog(ctx, info.Pieces, after, limit)
			if n := len(rows); n > 0 {
				after = rows[n-1].Position
			}
			return rows, more, err
		})
	}
}

func (s *store) ReadStream(ctx context.Context, log LogID, stream string, after uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		info, ok, err := s.logInfo(ctx, log)
		if err != nil {
			yield(Record{}, fmt.Errorf("read stream: %w", s.readError(err)))
			return
		}
		if !ok {
			return
		}
		p := pager{s: s, ctx: ctx, yield: yield, log: log, what: "read stream"}
		p.pages(func(limit int) ([]Row, bool, error) {
			rows, more, err := s.engine.ReadStream(ctx, info.Pieces, stream, after, limit)
			if n := len(rows); n > 0 {
				after = rows[n-1].Version
			}
			return rows, more, err
		})
	}
}

func (s *store) Feed(ctx context.Context, shard int, after uint64, limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if shard < 0 || shard >= len(s.shards) {
			yield(Record{}, &InvalidError{"shard", fmt.Sprintf("is %d; the store has shards 0 to %d", shard, len(s.shards)-1)})
			return
		}
		p := pager{s: s, ctx: ctx, yield: yield, left: limit, what: "read feed"}
		p.pages(func(limit int) ([]Row, bool, error) {
			rows, more, err := s.engine.ReadFeed(ctx, shard, after, limit)
			if n := len(rows); n > 0 {
				after = rows[n-1].Feed
			}
			return rows, more, err
		})
	}
}

// pager yields rows page by page, without holding anything between pages.
type pager struct {
	s     *store
	ctx   context.Context
	yield func(Record, error) bool
	log   LogID // given to the records; "": their own
	left  int   // 0: no limit
	what  string
	un    unpacker
}

// firstRows is the size of the first page of a read without limit: most streams
// are short.
const firstRows = 100

type page struct {
	rows []Row
	more bool
	err  error
}

// pages yields everything. While one page is consumed the next one is read, from
// the second on.
func (p *pager) pages(next func(limit int) ([]Row, bool, error)) {
	p.un.s = p.s
	fetch := func(size int) (g page) {
		if g.err = p.ctx.Err(); g.err != nil {
			return g
		}
		if g.rows, g.more, g.err = next(size); g.err != nil {
			g.err = fmt.Errorf("%s: %w", p.what, p.s.readError(g.err))
		}
		return g
	}
	size := firstRows
	if p.left > 0 {
		size = min(p.left, pageRows)
	}
	g := fetch(size)
	for {
		if g.err != nil {
			p.yield(Record{}, g.err)
			return
		}
		if p.left > 0 {
			if p.left -= len(g.rows); p.left == 0 {
				g.more = false
			}
		}
		var ahead chan page
		if g.more && len(g.rows) > 0 {
			size := pageRows
			if p.left > 0 {
				size = min(p.left, pageRows)
			}
			ahead = make(chan page, 1)
			go func() { ahead <- fetch(size) }()
		}
		if !p.give(g.rows) {
			if ahead != nil {
				<-ahead // nothing goes on behind the caller's back
			}
			return
		}
		if ahead == nil {
			return
		}
		g = <-ahead
	}
}

// give yields the rows of a page.
func (p *pager) give(rows []Row) bool {
	for i := range rows {
		if err := p.fill(&rows[i]); err != nil {
			cut := (*TruncatedError)(nil)
			if !errors.As(err, &cut) && !errors.Is(err, ErrBlobsUnavailable) && p.ctx.Err() == nil {
				err = &DamagedError{rows[i].Position, rows[i].Feed, err}
			}
			p.yield(Record{}, fmt.Errorf("%s: %w", p.what, err))
			return false
		}
		if p.log != "" {
			rows[i].Log = p.log
		}
		if !p.yield(rows[i].Record, nil) {
			return false
		}
	}
	return true
}

// fill gives a row its attachments. Where their blob is gone, an erasure of other
// records may have put them into a new one since the row was read: it is read
// again as long as it changes.
func (p *pager) fill(row *Row) error {
	for {
		err := p.un.fill(p.ctx, row)
		if err == nil || p.ctx.Err() != nil {
			return err
		}
		again, _, readErr := p.s.engine.ReadFeed(p.ctx, row.Shard, row.Feed-1, 1)
		if cut := (*TruncatedError)(nil); errors.As(readErr, &cut) {
			return readErr // the record went with its blob
		}
		if readErr != nil || len(again) == 0 || bytes.Equal(again[0].Packed, row.Packed) {
			return err
		}
		*row = again[0]
	}
}

// readError tells a closed store from other errors.
func (s *store) readError(err error) error {
	if err != nil && s.closed.Load() {
		return ErrStoreClosed
	}
	return err
}

func (s *store) Shards() int { return len(s.shards) }

func (s *store) Head(ctx context.Context, shard int) (uint64, error) {
	if shard < 0 || shard >= len(s.shards) {
		return 0, &InvalidError{"shard", fmt.Sprintf("is %d; the store has shards 0 to %d", shard, len(s.shards)-1)}
	}
	head, err := s.engine.Head(ctx, shard)
	if err != nil {
		return 0, fmt.Errorf("read head: %w", s.readError(err))
	}
	return head.Feed, nil
}

func (s *store) LogHead(ctx context.Context, log LogID) (LogHead, error) {
	infos, err := s.engine.Logs(ctx, []LogID{log})
	if err != nil {
		return LogHead{}, fmt.Errorf("read log head: %w", s.readError(err))
	}
	if infos[0].Key == 0 {
		return LogHead{}, nil
	}
	return infos[0].LogHead, nil
}

func (s *store) Wait(ctx context.Context, shard int, after uint64) error {
	if shard < 0 || shard >= len(s.shards) {
		return &InvalidError{"shard", fmt.Sprintf("is %d; the store has shards 0 to %d", shard, len(s.shards)-1)}
	}
	sh := s.shards[shard]
	for {
		feed, moved := sh.watch()
		if feed > after {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.quit:
			return ErrStoreClosed
		}
	}
}

// watch gives the newest known feed position, and a channel that is closed when
// it moves.
func (sh *shard) watch() (uint64, <-chan struct{}) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.moved == nil {
		sh.moved = make(chan struct{})
	}
	return sh.feed, sh.moved
}

func (sh *shard) advance(feed uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if feed <= sh.feed {
		return
	}
	sh.feed = feed
	if sh.moved != nil {
		close(sh.moved)
		sh.moved = nil
	}
}
