package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// group is what the committer does in one commit.
type group struct {
	commit  Commit
	now     time.Time
	writes  []*request // answered with success when the commit is durable
	verdict []verdict  // answered when memory has proved true
	later   []*request // taken up again in the next group
	scopes  map[string]struct{}
	assumed []streamKey // forgotten after the group unless they got a key
	again   bool        // an answer would rest on an assumption: look, and plan again
	broken  error       // the engine could not be read: nobody can be answered well
}

type verdict struct {
	r   *request
	out outcome
}

const (
	errLater    = storeError("later")    // wait for the next group
	errAgain    = storeError("again")    // look instead of assuming
	errAnswered = storeError("answered") // the verdict is in the group already
)

// empty says that there is nothing to write.
func (g *group) empty() bool {
	c := &g.commit
	return len(c.Rows) == 0 && len(c.Logs) == 0 && len(c.Closed) == 0 && len(c.Scopes) == 0
}

// plan gives positions to as many requests as it can. What fails, fails alone
// and leaves no trace in memory.
func (c *committer) plan(rs []*request) *group {
	g := &group{now: c.s.chance.now().UTC().Truncate(time.Microsecond)}
	g.commit.Shard = c.shard
	g.commit.Old, g.commit.New = c.head, c.head
	for _, r := range rs {
		m, before := c.journal.mark(), g.commit
		err := c.planOne(g, r)
		if g.broken != nil {
			return g
		}
		if err == nil {
			g.writes = append(g.writes, r)
			continue
		}
		if errors.Is(err, errAnswered) {
			continue
		}
		c.journal.undo(m)
		g.commit = before
		switch {
		case errors.Is(err, errAgain):
			g.again = true
			return g
		case errors.Is(err, errLater) && len(g.writes) == 0:
			// It waits for nobody but itself.
			g.verdict = append(g.verdict, verdict{r, outcome{err: &InvalidError{"fork.up_to", "is a position that this same append writes; a branch continues what is durable"}}})
		case errors.Is(err, errLater):
			r.look = true
			g.later = append(g.later, r)
		case r.a.Idempotency != nil && !r.looked:
			r.look, g.again = true, true // perhaps it fails because it succeeded before
			return g
		default:
			g.verdict = append(g.verdict, verdict{r, outcome{err: err}})
		}
	}
	g.commit.New.Token++
	return g
}

// planOne checks one request against memory and fills in its rows.
func (c *committer) planOne(g *group, r *request) error {
	id := r.a.Idempotency
	if id != nil {
		if _, twice := g.scopes[id.Scope]; twice {
			return errLater
		}
		if out, found, err := c.replay(g, r); err != nil {
			return err
		} else if found {
			g.verdict = append(g.verdict, verdict{r, out})
			return errAnswered
		}
	}
	rows := r.rows
	for i := range r.a.Batches {
		n, err := c.planBatch(g, r, i, rows)
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	for i := range r.a.Batches {
		if b := &r.a.Batches[i]; b.Close {
			l, err := c.log(g, b.Log)
			if err != nil {
				return err
			}
			if !l.closed {
				c.close(g, l)
			}
		}
	}
	g.commit.Blobs = append(g.commit.Blobs, r.blobs...)
	r.feed = g.commit.New.Feed
	if id != nil {
		if g.scopes == nil {
			g.scopes = map[string]struct{}{}
		}
		g.scopes[id.Scope] = struct{}{}
		first := r.feed - uint64(len(r.rows)) + 1
		g.commit.Scopes = append(g.commit.Scopes, Scope{id.Scope, c.shard, id.Digest, first, len(r.rows), g.now})
		if r.expired {
			g.commit.DropScopes = append(g.commit.DropScopes, id.Scope)
		}
	}
	return nil
}

// replay looks up the idempotency scope where that was asked for.
func (c *committer) replay(g *group, r *request) (outcome, bool, error) {
	if !r.look && !c.lookAll {
		return outcome{}, false, nil
	}
	out, found, err := c.s.findScope(context.Background(), r)
	if err != nil {
		g.broken = err
		return outcome{}, false, err
	}
	r.looked = true
	return out, found, nil
}

// planBatch checks one batch and gives its rows positions, versions, time and chain.
func (c *committer) planBatch(g *group, r *request, i int, rows []NewRow) (int, error) {
	b := &r.a.Batches[i]
	l, err := c.log(g, b.Log)
	if err != nil {
		return 0, err
	}
	switch {
	case l.key != 0 && l.shard != c.shard:
		return 0, &InvalidError{fmt.Sprintf("batches[%d].log", i), fmt.Sprintf("lies on shard %d, not on %d", l.shard, c.shard)}
	case l.closed:
		return 0, ErrClosed
	case b.Fork != nil && l.key != 0:
		return 0, ErrLogExists
	case b.Fork != nil:
		if err := c.fork(g, l, i, b.Fork); err != nil {
			return 0, err
		}
	}
	if b.Stream != "" {
		st, err := c.stream(g, l, b)
		if err != nil {
			return 0, err
		}
		if !b.Expect.IsAny() && st.version != b.Expect.Version() {
			if st.assumed {
				c.lookAll = true
				return 0, errAgain
			}
			return 0, &ConflictError{Log: b.Log, Stream: b.Stream, Expected: b.Expect.Version(), Actual: st.version}
		}
		if len(b.Events) > 0 {
			c.create(g, l)
			c.write(g, l, st, b, rows[:len(b.Events)])
		}
	}
	if b.Close {
		c.create(g, l)
	}
	return len(b.Events), nil
}

// create gives a log that does not exist yet its row.
func (c *committer) create(g *group, l *logState) {
	if l.key != 0 {
		return
	}
	c.journal.log(l)
	g.commit.New.Logs++
	l.key, l.shard = c.key(g.commit.New.Logs), c.shard
	l.pieces = append(l.pieces, Piece{l.key, own})
	l.ranges = append(l.ranges, Range{l.name, own})
	g.commit.Logs = append(g.commit.Logs, l.info())
}

// close makes a log refuse what comes later.
func (c *committer) close(g *group, l *logState) {
	c.journal.log(l)
	g.commit.New.Logs++
	l.closed = true
	g.commit.Closed = append(g.commit.Closed, l.key)
}

// fork makes a log the continuation of another one. What is continued must be
// durable: a position that this very group gives out has to wait.
func (c *committer) fork(g *group, l *logState, i int, f *Fork) error {
	from, err := c.log(g, f.From)
	if err != nil {
		return err
	}
	durable := *from
	for _, u := range c.journal.logs {
		if u.at == from {
			durable = u.was
			break
		}
	}
	path := fmt.Sprintf("batches[%d].fork", i)
	switch {
	case durable.key == 0 && from.key != 0, f.UpTo > durable.position && f.UpTo <= from.position:
		return errLater
	case from.key == 0:
		return &InvalidError{path + ".from", fmt.Sprintf("%q does not exist", f.From)}
	case from.shard != c.shard:
		return &InvalidError{path + ".from", fmt.Sprintf("lies on shard %d; a branch stays on the shard of its source", from.shard)}
	case f.UpTo > durable.position:
		return &InvalidError{path + ".up_to", fmt.Sprintf("is %d; the log's newest position is %d", f.UpTo, durable.position)}
	}
	for _, k := range g.assumed {
		if k.log == l.name {
			c.streams.drop(k) // looked at before the log had a prefix
		}
	}
	c.journal.log(l)
	l.pieces, l.ranges = cutPieces(durable.pieces, durable.ranges, f.UpTo)
	l.position = f.UpTo
	switch {
	case f.UpTo == durable.position:
		l.hash, l.time = durable.hash, durable.time
	case f.UpTo > 0:
		row, ok, err := c.s.engine.Record(context.Background(), l.pieces[len(l.pieces)-1].Key, f.UpTo)
		if err != nil {
			g.broken = err
			return err
		}
		if !ok {
			return &InvalidError{path + ".up_to", fmt.Sprintf("is %d; that record was removed by retention", f.UpTo)}
		}
		l.hash, l.time = row.Hash, row.Time
	}
	c.create(g, l)
	return nil
}

// write fills in a batch's rows.
func (c *committer) write(g *group, l *logState, st *streamState, b *Batch, rows []NewRow) {
	c.journal.log(l)
	c.journal.stream(st)
	head := &g.commit.New
	if st.key == 0 {
		head.Streams++
		st.key = c.key(head.Streams)
		g.commit.Streams = append(g.commit.Streams, NewStream{st.key, l.key, b.Stream, st.version})
	}
	at := g.now
	if l.time.After(at) {
		at = l.time
	}
	for i := range rows {
		row := &rows[i]
		head.Feed++
		l.position++
		st.version++
		row.Position, row.Version, row.Feed, row.Time = l.position, st.version, head.Feed, at
		row.LogKey, row.StreamKey = l.key, st.key
		row.Hash = chainHash(c.space[:0], l.hash, row.Record, row.MetaBytes)
		l.hash = row.Hash
		g.commit.Rows = append(g.commit.Rows, row)
	}
	l.time, l.feed = at, head.Feed
}

// key makes an integer key that is unique in the store of a counter that is
// unique in the shard.
func (c *committer) key(n int64) int64 { return int64(c.shard)<<40 | n }

// log gives what is remembered of a log, and loads it where nothing is.
func (c *committer) log(g *group, name LogID) (*logState, error) {
	if l, ok := c.logs.find(name); ok {
		return l, nil
	}
	infos, err := c.s.engine.Logs(context.Background(), []LogID{name})
	if err != nil {
		g.broken = err
		return nil, err
	}
	return c.keepLog(name, infos[0]), nil
}

func (c *committer) keepLog(name LogID, i LogInfo) *logState {
	l := stateOf(i)
	l.name = name
	c.logs.put(name, &l)
	return &l
}

// stream gives what is remembered of a stream. One that claims to be new, with
// events to prove it by, is taken for new unread.
func (c *committer) stream(g *group, l *logState, b *Batch) (*streamState, error) {
	k := streamKey{b.Log, b.Stream}
	if st, ok := c.streams.find(k); ok {
		return st, nil
	}
	st := &streamState{}
	switch {
	case l.key == 0: // no log, no stream; forgotten after the group, as the log may become a branch
		g.assumed = append(g.assumed, k)
	case c.mayAssume(l, b):
		st.assumed = true
		g.assumed = append(g.assumed, k)
	default:
		found, err := c.s.engine.Streams(context.Background(), []StreamWant{{l.pieces, b.Stream}})
		if err != nil {
			g.broken = err
			return nil, err
		}
		st.key, st.version = found[0].Key, found[0].Version
	}
	c.streams.put(k, st)
	return st, nil
}

func (c *committer) mayAssume(l *logState, b *Batch) bool {
	return !c.lookAll && len(b.Events) > 0 && len(l.pieces) == 1 && !b.Expect.IsAny() && b.Expect.Version() == 0
}
