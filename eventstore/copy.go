package eventstore

import (
	"context"
	"fmt"
)

// copyAtOnce and copyBytes are how many records Copy hands over at once.
const (
	copyAtOnce = groupEvents
	copyBytes  = groupBytes
)

// Copy writes everything of one store into another, empty one: records as they
// are, branches, closed logs, cut feeds, idempotency keys. Interrupted, it goes on
// where the target ends; a target that ends with another record than the source
// has there is a *DifferenceError, and nothing is written. Both must have the same
// number of shards; nothing may be appended to either meanwhile. progress, where
// not nil, is told after every page how many records of a shard are done, of how many.
func Copy(ctx context.Context, from, to Owner, progress func(shard int, done, total uint64)) error {
	src, ok1 := from.(Importer)
	dst, ok2 := to.(Importer)
	if !ok1 || !ok2 {
		return fmt.Errorf("copy store: the store cannot list its logs")
	}
	if from.Shards() != to.Shards() {
		return fmt.Errorf("copy store: %d shards into %d: the numbers must be equal", from.Shards(), to.Shards())
	}
	for shard := range from.Shards() {
		if err := prefix(ctx, from, to, src, dst, shard); err != nil {
			return fmt.Errorf("copy store: %w", err)
		}
	}
	for shard := range from.Shards() {
		c := copier{from: from, to: to, src: src, dst: dst, made: map[LogID]bool{}}
		if err := c.shard(ctx, shard, progress); err != nil {
			return fmt.Errorf("copy store: shard %d: %w", shard, err)
		}
	}
	return nil
}

type copier struct {
	from, to Owner
	src, dst Importer
	made     map[LogID]bool
}

func (c *copier) shard(ctx context.Context, shard int, progress func(int, uint64, uint64)) error {
	total, err := c.from.Head(ctx, shard)
	if err != nil {
		return err
	}
	after, err := c.to.Head(ctx, shard)
	if err != nil {
		return err
	}
	made, err := c.dst.Logs(ctx, shard)
	if err != nil {
		return err
	}
	for _, name := range made {
		c.made[name] = true
	}
	start := after
	if after == 0 {
		if start, err = begins(ctx, c.from, shard); err != nil {
			return err
		}
	}
	reading, stop := context.WithCancel(ctx)
	chunks := make(chan chunk, 1) // while one is imported the next is read
	defer func() {
		stop()
		for range chunks { // nothing goes on behind the caller's back
		}
	}()
	go c.read(reading, shard, start, chunks)
	for ch := range chunks {
		if ch.err != nil {
			return ch.err
		}
		rest := ch.records
		flush := func(n int) error {
			if n == 0 {
				return nil
			}
			if err := c.to.Import(ctx, rest[:n]); err != nil {
				return err
			}
			if progress != nil {
				progress(shard, rest[n-1].Feed, total)
			}
			rest = rest[n:]
			return nil
		}
		for i := range ch.records {
			if name := ch.records[i].Log; !c.made[name] {
				if err := c.branch(ctx, name, func() error { return flush(i - (len(ch.records) - len(rest))) }); err != nil {
					return err
				}
			}
		}
		if err := flush(len(rest)); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := c.src.Logs(ctx, shard)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.end(ctx, name); err != nil {
			return err
		}
	}
	return c.scopes(ctx, shard)
}

// chunk is a piece of the feed, or why there is none.
type chunk struct {
	records []Record
	err     error
}

// read sends what comes after a feed position, and closes the channel at the end.
func (c *copier) read(ctx context.Context, shard int, after uint64, chunks chan<- chunk) {
	defer close(chunks)
	var ch chunk
	size := 0
	send := func() bool {
		select {
		case chunks <- ch:
			ch, size = chunk{}, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for r, err := range c.from.Feed(ctx, shard, after, 0) {
		if err != nil {
			if len(ch.records) == 0 || send() {
				ch = chunk{err: err}
				send()
			}
			return
		}
		ch.records = append(ch.records, r)
		size += len(r.Data)
		for i := range r.Attachments {
			size += len(r.Attachments[i].Bytes)
		}
		if (len(ch.records) == copyAtOnce || size >= copyBytes) && !send() {
			return
		}
	}
	if len(ch.records) > 0 {
		send()
	}
}

func (c *copier) scopes(ctx context.Context, shard int) error {
	for name := ""; ; {
		scopes, err := c.src.Scopes(ctx, shard, name, copyAtOnce)
		if err != nil || len(scopes) == 0 {
			return err
		}
		if err := c.dst.ImportScopes(ctx, shard, scopes); err != nil {
			return err
		}
		name = scopes[len(scopes)-1].Name
	}
}

// branch makes a log that continues others before its first record, and after
// theirs; the first record of any other log makes it.
func (c *copier) branch(ctx context.Context, name LogID, flush func() error) error {
	c.made[name] = true
	head, err := c.from.LogHead(ctx, name)
	if err != nil || len(head.Ranges) == 1 {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	head.Closed = false // there are more records
	return c.dst.ImportLog(ctx, name, head)
}

// end makes logs without records, and closes what is closed.
func (c *copier) end(ctx context.Context, name LogID) error {
	head, err := c.from.LogHead(ctx, name)
	if err != nil {
		return err
	}
	return c.dst.ImportLog(ctx, name, head)
}
