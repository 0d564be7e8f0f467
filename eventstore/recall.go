package eventstore

import (
	"context"
	"fmt"
)

// forget drops all that is remembered; the next attempt finds the head anew.
func (c *committer) forget() {
	c.logs.clear()
	c.streams.clear()
	c.head.Token = noToken
}

// noToken is a token that no head has.
const noToken = ^uint64(0) >> 1

// catchUp brings memory to the newest head after another process moved it.
func (c *committer) catchUp() error {
	ctx := context.Background()
	if c.head.Token != noToken {
		ch, complete, err := c.s.engine.Changes(ctx, c.shard, c.head, groupEvents)
		if err != nil {
			return err
		}
		if complete {
			c.apply(ch)
			c.s.shards[c.shard].advance(c.head.Feed)
			return nil
		}
	}
	c.forget()
	head, err := c.s.engine.Head(ctx, c.shard)
	if err != nil {
		return err
	}
	c.head = head
	c.s.shards[c.shard].advance(head.Feed)
	return nil
}

// apply replays what others committed onto what is remembered.
func (c *committer) apply(ch Changes) {
	for _, i := range ch.Logs {
		if _, ok := c.logs.find(i.Name); ok {
			c.keepLog(i.Name, i)
		}
	}
	for i := range ch.Rows {
		r := &ch.Rows[i]
		if l, ok := c.logs.find(r.Log); ok {
			l.position, l.feed, l.hash, l.time = r.Position, r.Feed, r.Hash, r.Time
		}
		if st, ok := c.streams.find(streamKey{r.Log, r.Stream}); ok {
			st.key, st.version = r.StreamKey, r.Version
		}
	}
	c.head = ch.Head
}

// lockedCommits is how many commits in a row lock the head first after a lost
// race, until none of them had to wait for another process's.
const lockedCommits = 16

// lockFirst takes the head's lock where the shard is contested, and what queued
// while it waited for it.
func (c *committer) lockFirst(rs []*request) ([]*request, error) {
	locker, ok := c.s.engine.(Locker)
	if !ok || c.contested == 0 || c.held {
		return rs, nil
	}
	ch, complete, err := locker.Lock(context.Background(), c.shard, c.head, groupEvents)
	if err != nil {
		return rs, fmt.Errorf("append: lock the head of shard %d: %w", c.shard, err)
	}
	c.held = true
	if ch.Head.Token != c.head.Token { // contested still
		c.contested = lockedCommits
	}
	if c.head.Token == noToken || !complete {
		c.forget()
		c.head = ch.Head
	} else {
		c.apply(ch)
	}
	c.s.shards[c.shard].advance(c.head.Feed)
	return c.queue.cut(rs), nil
}

// release gives the lock back where nothing was committed under it.
func (c *committer) release() {
	if !c.held {
		return
	}
	c.held = false
	if err := c.s.engine.(Locker).Release(context.Background(), c.shard); err != nil {
		c.forget()
	}
}

// prefetch loads in one go what the group needs and memory does not have.
func (c *committer) prefetch(rs []*request) error {
	if c.head.Token == noToken {
		if err := c.catchUp(); err != nil {
			return fmt.Errorf("append: read the head of shard %d: %w", c.shard, err)
		}
	}
	var names []LogID
	for _, r := range rs {
		for i := range r.a.Batches {
			b := &r.a.Batches[i]
			names = c.wantLog(names, b.Log)
			if b.Fork != nil {
				names = c.wantLog(names, b.Fork.From)
			}
		}
	}
	ctx := context.Background()
	if len(names) > 0 {
		infos, err := c.s.engine.Logs(ctx, names)
		if err != nil {
			return fmt.Errorf("append: load logs: %w", err)
		}
		for i := range infos {
			c.keepLog(names[i], infos[i])
		}
	}
	var keys []streamKey
	var wants []StreamWant
	for _, r := range rs {
		for i := range r.a.Batches {
			b := &r.a.Batches[i]
			if b.Stream == "" {
				continue
			}
			k := streamKey{b.Log, b.Stream}
			if _, ok := c.streams.find(k); ok {
				continue
			}
			if l, ok := c.logs.find(b.Log); ok && l.key != 0 && !c.mayAssume(l, b) {
				keys = append(keys, k)
				wants = append(wants, StreamWant{l.pieces, b.Stream})
			}
		}
	}
	if len(wants) == 0 {
		return nil
	}
	found, err := c.s.engine.Streams(ctx, wants)
	if err != nil {
		return fmt.Errorf("append: load streams: %w", err)
	}
	for i, k := range keys {
		c.streams.put(k, &streamState{key: found[i].Key, version: found[i].Version})
	}
	return nil
}

func (c *committer) wantLog(names []LogID, name LogID) []LogID {
	if _, ok := c.logs.find(name); ok {
		return names
	}
	for _, n := range names {
		if n == name {
			return names
		}
	}
	return append(names, name)
}
