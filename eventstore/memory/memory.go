// Package memory is an event store that forgets everything with the process:
// for tests, and for whoever wants a throw-away store. It passes the same
// contract suite as the durable engines.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"varve/eventstore"
)

// Options of a memory store.
type Options struct {
	eventstore.Options
	Shards int // 0: 1
}

// Open makes an empty store.
func Open(opts Options) (eventstore.Owner, error) {
	return eventstore.NewOwner(New(opts.Shards), opts.Options)
}

// Engine holds the rows. Several stores may be opened over one engine, as
// several processes would over one database; closing them leaves the rows.
type Engine struct {
	mu      sync.RWMutex
	shards  []*shard
	logs    map[eventstore.LogID]*log
	byKey   map[int64]*log
	scopes  map[string]eventstore.Scope
	blobs   map[string][]byte
	watches []func(shard int, feed uint64)
}

type shard struct {
	lock sync.Mutex // held from Lock to Commit or Release, and by every other Commit
	head eventstore.Head
	rows []*eventstore.Row // rows[i].Feed == head.First+i
	logs []eventstore.LogID
}

type log struct {
	info    eventstore.LogInfo // as made; Position, Hash and Time are the newest
	token   uint64             // of the commit that made or closed it
	rows    []*eventstore.Row
	streams map[string]*stream
}

type stream struct {
	key  int64
	base uint64
	last uint64
	rows []*eventstore.Row
}

// New makes an engine with that many shards (0: 1).
func New(shards int) *Engine {
	e := &Engine{
		logs: map[eventstore.LogID]*log{}, byKey: map[int64]*log{},
		scopes: map[string]eventstore.Scope{}, blobs: map[string][]byte{},
	}
	for range max(shards, 1) {
		e.shards = append(e.shards, &shard{head: eventstore.Head{First: 1}})
	}
	return e
}

// Shards is the number of shards.
func (e *Engine) Shards() int { return len(e.shards) }

// Close does nothing: the rows stay for the next store over this engine.
func (e *Engine) Close() error { return nil }

// Watch calls fn after every commit.
func (e *Engine) Watch(fn func(shard int, feed uint64)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watches = append(e.watches, fn)
}

// Head gives the head of a shard.
func (e *Engine) Head(_ context.Context, shard int) (eventstore.Head, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.shards[shard].head, nil
}

// Lock locks the head of a shard.
func (e *Engine) Lock(ctx context.Context, shard int, since eventstore.Head, limit int) (eventstore.Changes, bool, error) {
	e.shards[shard].lock.Lock()
	return e.Changes(ctx, shard, since, limit)
}

// Release gives the lock back.
func (e *Engine) Release(_ context.Context, shard int) error {
	e.shards[shard].lock.Unlock()
	return nil
}

// Commit writes all or nothing.
func (e *Engine) Commit(_ context.Context, c *eventstore.Commit) error {
	if !c.Held {
		e.shards[c.Shard].lock.Lock()
	}
	defer e.shards[c.Shard].lock.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	sh := e.shards[c.Shard]
	if sh.head.Token != c.Old.Token {
		return eventstore.ErrMoved
	}
	if err := e.check(c); err != nil {
		return err
	}
	for _, i := range c.Logs {
		i.Pieces, i.Ranges = slices.Clone(i.Pieces), slices.Clone(i.Ranges)
		l := &log{info: i, token: c.New.Token, streams: map[string]*stream{}}
		e.logs[i.Name], e.byKey[i.Key] = l, l
		sh.logs = append(sh.logs, i.Name)
	}
	for _, s := range c.Streams {
		e.byKey[s.LogKey].streams[s.Name] = &stream{key: s.Key, base: s.Base, last: s.Base}
	}
	for _, r := range c.Rows {
		row := clone(&eventstore.Row{Record: *r.Record, LogKey: r.LogKey, StreamKey: r.StreamKey, Packed: r.Packed})
		row.Attachments = nil
		l := e.byKey[r.LogKey]
		st := l.streams[r.Stream]
		sh.rows = append(sh.rows, &row)
		l.rows = append(l.rows, &row)
		st.rows = append(st.rows, &row)
		st.last = r.Version
		l.info.Position, l.info.Feed, l.info.Hash, l.info.Time = r.Position, r.Feed, r.Hash, r.Time
	}
	for _, key := range c.Closed {
		l := e.byKey[key]
		l.info.Closed, l.token = true, c.New.Token
	}
	for _, b := range c.Blobs {
		e.blobs[b.Ref] = b.Bytes
	}
	for _, name := range c.DropScopes {
		delete(e.scopes, name)
	}
	for _, s := range c.Scopes {
		e.scopes[s.Name] = s
	}
	if !c.ScopesUntil.IsZero() {
		maps.DeleteFunc(e.scopes, func(_ string, s eventstore.Scope) bool { return s.Time.Before(c.ScopesUntil) })
	}
	first := sh.head.First
	if c.New.First != c.Old.First { // an import that begins later
		first = c.New.First
	}
	sh.head = c.New
	sh.head.First = first
	for _, fn := range e.watches {
		fn(c.Shard, c.New.Feed)
	}
	return nil
}

// check finds names that exist already.
func (e *Engine) check(c *eventstore.Commit) error {
	for _, i := range c.Logs {
		if e.logs[i.Name] != nil {
			return eventstore.ErrStale
		}
	}
	for _, s := range c.Streams {
		if l := e.byKey[s.LogKey]; l != nil && l.streams[s.Name] != nil {
			return eventstore.ErrStale
		}
	}
	for _, s := range c.Scopes {
		if _, ok := e.scopes[s.Name]; ok && !slices.Contains(c.DropScopes, s.Name) {
			return eventstore.ErrStale
		}
	}
	return nil
}

// Erase empties rows and replaces or deletes what lies beside them.
func (e *Engine) Erase(_ context.Context, x *eventstore.Erasure) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	row := func(k eventstore.RowKey) *eventstore.Row {
		sh := e.shards[k.Shard]
		if k.Feed < sh.head.First || k.Feed > sh.head.Feed {
			return &eventstore.Row{}
		}
		return sh.rows[k.Feed-sh.head.First]
	}
	for _, k := range x.Rows {
		r := row(k)
		r.Data, r.Packed, r.Salt, r.Erased = nil, nil, [16]byte{}, true
	}
	for k, packed := range x.Repack {
		row(k).Packed = packed
	}
	for _, b := range x.Put {
		e.blobs[b.Ref] = b.Bytes
	}
	for _, ref := range x.Deleted {
		delete(e.blobs, ref)
	}
	return nil
}

// Truncate drops rows; logs and streams go on counting.
func (e *Engine) Truncate(_ context.Context, shard int, upTo uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	sh := e.shards[shard]
	if upTo < sh.head.First {
		return nil
	}
	below := func(rows []*eventstore.Row) []*eventstore.Row {
		n := 0
		for n < len(rows) && rows[n].Feed <= upTo {
			n++
		}
		return slices.Clone(rows[n:])
	}
	for _, r := range sh.rows {
		if ref, _, last, ok := eventstore.EngineBlob(r); ok && last <= upTo {
			delete(e.blobs, ref)
		}
	}
	sh.rows = below(sh.rows)
	for _, name := range sh.logs {
		l := e.logs[name]
		l.rows = below(l.rows)
		for _, st := range l.streams {
			st.rows = below(st.rows)
		}
	}
	sh.head.First = upTo + 1
	return nil
}

// Blob gives packed attachments.
func (e *Engine) Blob(_ context.Context, ref string) ([]byte, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	b, ok := e.blobs[ref]
	if !ok {
		return nil, fmt.Errorf("blob %s is missing", ref)
	}
	return b, nil
}

// Scope finds an idempotency row.
func (e *Engine) Scope(_ context.Context, name string) (eventstore.Scope, bool, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	s, ok := e.scopes[name]
	return s, ok, nil
}

func clone(r *eventstore.Row) eventstore.Row {
	row := *r
	row.Data = slices.Clone(r.Data)
	row.Packed = slices.Clone(r.Packed)
	return row
}
