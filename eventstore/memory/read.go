package memory

import (
	"context"
	"math"
	"slices"
	"sort"
	"strings"

	"varve/eventstore"
)

// pageBytes ends a page of big rows.
const pageBytes = 8 << 20

// Logs describes logs by name.
func (e *Engine) Logs(_ context.Context, names []eventstore.LogID) ([]eventstore.LogInfo, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]eventstore.LogInfo, len(names))
	for i, name := range names {
		if l := e.logs[name]; l != nil {
			out[i] = l.describe()
		}
	}
	return out, nil
}

func (l *log) describe() eventstore.LogInfo {
	i := l.info
	i.Pieces, i.Ranges = slices.Clone(i.Pieces), slices.Clone(i.Ranges)
	return i
}

// LogNames lists a shard's logs.
func (e *Engine) LogNames(_ context.Context, shard int) ([]eventstore.LogID, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Clone(e.shards[shard].logs), nil
}

// Streams finds streams as of their logs' ranges.
func (e *Engine) Streams(_ context.Context, wants []eventstore.StreamWant) ([]eventstore.StreamInfo, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]eventstore.StreamInfo, len(wants))
	for i, w := range wants {
		out[i] = e.stream(w)
	}
	return out, nil
}

func (e *Engine) stream(w eventstore.StreamWant) eventstore.StreamInfo {
	for i := len(w.Pieces) - 1; i >= 0; i-- {
		p := w.Pieces[i]
		l := e.byKey[p.Key]
		if l == nil {
			continue
		}
		st := l.streams[w.Name]
		if st == nil {
			continue
		}
		if i == len(w.Pieces)-1 {
			return eventstore.StreamInfo{Key: st.key, Version: st.last}
		}
		n := sort.Search(len(st.rows), func(k int) bool { return st.rows[k].Position > p.UpTo })
		if n > 0 {
			return eventstore.StreamInfo{Version: st.rows[n-1].Version}
		}
	}
	return eventstore.StreamInfo{}
}

// Scopes lists a shard's idempotency rows.
func (e *Engine) Scopes(_ context.Context, shard int, after string, limit int) ([]eventstore.Scope, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []eventstore.Scope
	for _, s := range e.scopes {
		if s.Shard == shard && s.Name > after {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b eventstore.Scope) int { return strings.Compare(a.Name, b.Name) })
	return out[:min(limit, len(out))], nil
}

// Record gives the record at a position.
func (e *Engine) Record(_ context.Context, key int64, position uint64) (eventstore.Row, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	l := e.byKey[key]
	if l == nil {
		return eventstore.Row{}, false, nil
	}
	n := sort.Search(len(l.rows), func(k int) bool { return l.rows[k].Position >= position })
	if n == len(l.rows) || l.rows[n].Position != position {
		return eventstore.Row{}, false, nil
	}
	return clone(l.rows[n]), true, nil
}

// Changes tells what was committed since a head.
func (e *Engine) Changes(_ context.Context, shard int, since eventstore.Head, limit int) (eventstore.Changes, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	sh := e.shards[shard]
	c := eventstore.Changes{Head: sh.head}
	if since.Feed+1 < sh.head.First || since.Feed > sh.head.Feed || sh.head.Feed-since.Feed > uint64(limit) {
		return c, false, nil
	}
	for _, name := range sh.logs {
		if l := e.logs[name]; l.token > since.Token {
			c.Logs = append(c.Logs, l.describe())
		}
	}
	for _, r := range sh.rows[since.Feed+1-sh.head.First:] {
		c.Rows = append(c.Rows, clone(r))
	}
	return c, true, nil
}

// pageOf collects a page of copies.
type pageOf struct {
	rows  []eventstore.Row
	limit int
	bytes int
}

// add copies rows while they are wanted; false when the page is full.
func (p *pageOf) add(rows []*eventstore.Row, upTo uint64) bool {
	p.rows = slices.Grow(p.rows, min(len(rows), p.limit-len(p.rows)))
	for _, r := range rows {
		if r.Position > upTo {
			return true
		}
		if len(p.rows) == p.limit || p.bytes > pageBytes {
			return false
		}
		p.rows = append(p.rows, clone(r))
		p.bytes += len(r.Data) + len(r.Packed)
	}
	return true
}

// ReadLog reads the records of a log's pieces.
func (e *Engine) ReadLog(_ context.Context, pieces []eventstore.Piece, after uint64, limit int) ([]eventstore.Row, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	p := pageOf{limit: limit}
	for _, piece := range pieces {
		l := e.byKey[piece.Key]
		if l == nil || piece.UpTo <= after {
			continue
		}
		n := sort.Search(len(l.rows), func(k int) bool { return l.rows[k].Position > after })
		if !p.add(l.rows[n:], piece.UpTo) {
			return p.rows, true, nil
		}
	}
	return p.rows, false, nil
}

// ReadStream reads the records of a stream in a log's pieces.
func (e *Engine) ReadStream(_ context.Context, pieces []eventstore.Piece, name string, after uint64, limit int) ([]eventstore.Row, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	p := pageOf{limit: limit}
	for _, piece := range pieces {
		l := e.byKey[piece.Key]
		if l == nil || l.streams[name] == nil {
			continue
		}
		rows := l.streams[name].rows
		n := sort.Search(len(rows), func(k int) bool { return rows[k].Version > after })
		if !p.add(rows[n:], piece.UpTo) {
			return p.rows, true, nil
		}
	}
	return p.rows, false, nil
}

// ReadFeed reads a shard's records.
func (e *Engine) ReadFeed(_ context.Context, shard int, after uint64, limit int) ([]eventstore.Row, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	sh := e.shards[shard]
	if after+1 < sh.head.First {
		return nil, false, &eventstore.TruncatedError{Shard: shard, First: sh.head.First}
	}
	if after >= sh.head.Feed {
		return nil, false, nil
	}
	p := pageOf{limit: limit}
	full := !p.add(sh.rows[after+1-sh.head.First:], math.MaxUint64)
	return p.rows, full, nil
}
