package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"varve/eventstore/failpoint"
)

// committer gives out a shard's positions: one goroutine per shard and process.
// It commits whatever queued while the last transaction committed.
type committer struct {
	s       *store
	shard   int
	queue   *queue
	head    Head
	logs    memory[LogID, *logState]
	streams memory[streamKey, *streamState]
	journal journal
	lookAll bool // for the group in hand: assume nothing
	// contested is how many commits still lock the head first; held is true
	// while they do.
	contested int
	held      bool
	took      time.Duration // of the last transaction
	races     int           // lost since the last commit
	purged    time.Time
	space     [512]byte
	done      chan struct{}
}

// maxAttempts is how often a group is tried before its callers hear that the
// shard is too busy elsewhere.
const maxAttempts = 64

func (c *committer) run() {
	defer close(c.done)
	var group []*request
	for {
		var done bool
		if group, done = c.queue.take(group[:0]); done {
			return
		}
		began := time.Now()
		n := len(group)
		for later := group; len(later) > 0; {
			later = c.commit(later)
		}
		clear(group)
		c.queue.paced(time.Since(began) / time.Duration(n))
	}
}

// commit answers all requests, except those that it gives back for the next group.
func (c *committer) commit(rs []*request) (later []*request) {
	if len(rs) == 1 && rs[0].exec != nil {
		rs[0].done <- outcome{err: rs[0].exec(c)}
		return nil
	}
	c.logs.turn()
	c.streams.turn()
	c.lookAll = false
	var err error
	defer c.release()
	for attempt, stale := 0, 0; attempt < maxAttempts; attempt++ {
		if rs, err = c.lockFirst(rs); err != nil {
			break
		}
		if err = c.prefetch(rs); err != nil {
			break
		}
		var g *group
		g, err = c.try(rs)
		switch {
		case err == nil:
			c.settle(g)
			return g.later
		case errors.Is(err, errAgain):
		case errors.Is(err, ErrMoved):
			c.contested = lockedCommits
			c.races++
			if err = c.catchUp(); err != nil {
				c.forget()
			}
		case errors.Is(err, ErrStale):
			if stale++; stale > 3 {
				err = fmt.Errorf("append: %w, though it was looked for", err)
				attempt = maxAttempts
				break
			}
			c.lookAll = true
		case errors.Is(err, ErrUnknownOutcome):
			c.unknown(g, err)
			return g.later
		case len(g.writes) > 1:
			c.release()
			// One of them is at fault: each alone. What memory said still holds.
			for _, r := range rs {
				for alone := []*request{r}; len(alone) > 0; {
					alone = c.commit(alone)
				}
			}
			return nil
		default:
			attempt = maxAttempts
		}
	}
	if errors.Is(err, ErrMoved) || errors.Is(err, errAgain) || err == nil {
		err = &OverloadedError{RetryAfter: 100 * time.Millisecond}
	}
	for _, r := range rs {
		r.done <- outcome{err: err}
	}
	return nil
}

// try plans and commits once. On an error memory is as before, apart from
// assumptions, which are dropped.
func (c *committer) try(rs []*request) (*group, error) {
	g := c.plan(rs)
	var err error
	switch {
	case g.broken != nil:
		err = fmt.Errorf("append: %w", g.broken)
	case g.again:
		err = errAgain
	case g.empty():
		var head Head
		if head, err = c.s.engine.Head(context.Background(), c.shard); err == nil && head.Token != c.head.Token {
			err = ErrMoved
		}
	default:
		c.purge(g)
		err = c.put(g)
	}
	if err == nil {
		if !g.empty() {
			c.head = g.commit.New
		}
		for _, u := range c.journal.streams {
			u.at.assumed = false
		}
	} else {
		c.journal.undo(mark{})
		if errors.Is(err, ErrStale) {
			for i := range g.commit.Logs {
				c.logs.drop(g.commit.Logs[i].Name)
			}
		}
	}
	c.journal.logs, c.journal.streams = c.journal.logs[:0], c.journal.streams[:0]
	for _, k := range g.assumed {
		if st, ok := c.streams.find(k); ok && (st.assumed || st.key == 0) {
			c.streams.drop(k)
		}
	}
	return g, err
}

func (c *committer) put(g *group) error {
	if err := failpoint.Hit("commit.before"); err != nil {
		return err
	}
	g.commit.Held, c.held = c.held, false
	if c.contested > 0 {
		c.contested--
	}
	began := time.Now()
	if err := c.s.engine.Commit(context.Background(), &g.commit); err != nil {
		return err
	}
	c.took = time.Since(began)
	if err := failpoint.Hit("commit.after"); err != nil {
		return err
	}
	return nil
}

// settle answers a group that is durable, and wakes who waits for it.
func (c *committer) settle(g *group) {
	if !g.empty() {
		c.s.shards[c.shard].advance(c.head.Feed)
		if c.s.opts.OnCommit != nil {
			c.s.opts.OnCommit(c.shard, len(g.writes), len(g.commit.Rows))
		}
		if c.s.opts.Observe != nil {
			c.s.opts.Observe(Committed{c.shard, len(g.writes), len(g.commit.Rows), c.took, c.races})
		}
		c.races = 0
	}
	for _, r := range g.writes {
		if err := failpoint.Hit("append.before-answer"); err != nil {
			r.done <- outcome{err: err}
			continue
		}
		r.done <- outcome{feed: r.feed}
	}
	for _, v := range g.verdict {
		v.r.done <- v.out
	}
}

// unknown is for a commit of which one cannot say whether it happened: it looks
// for the group's first record, and answers only what it knows.
func (c *committer) unknown(g *group, cause error) {
	c.forget()
	for _, r := range g.later {
		r.look = true
	}
	written := false
	if len(g.commit.Rows) > 0 {
		first := g.commit.Rows[0]
		rows, _, err := c.s.engine.ReadFeed(context.Background(), c.shard, first.Feed-1, 1)
		written = err == nil && len(rows) == 1 && rows[0].Feed == first.Feed && rows[0].ID == first.ID && rows[0].Hash == first.Hash
	}
	if written {
		c.head.Feed = g.commit.New.Feed
		c.settle(g)
		return
	}
	for _, r := range g.writes {
		r.done <- outcome{err: fmt.Errorf("append: %w: %w", ErrUnknownOutcome, cause)}
	}
	for _, v := range g.verdict {
		g.later = append(g.later, v.r)
	}
}

// scopesEvery is how often expired idempotency rows are deleted, some at a time.
const scopesEvery = time.Second

func (c *committer) purge(g *group) {
	if g.now.Sub(c.purged) >= scopesEvery {
		c.purged = g.now
		g.commit.ScopesUntil = g.now.Add(-idempotencyKept)
	}
}
