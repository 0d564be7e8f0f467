package eventstore

import (
	"context"
	"errors"
	"fmt"
)

// copyAtOnce is how many records Copy hands over at once.
const copyAtOnce = 1000

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
	page := make([]Record, 0, copyAtOnce)
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		if err := c.to.Import(ctx, page); err != nil {
			return err
		}
		after = page[len(page)-1].Feed
		page = page[:0]
		if progress != nil {
			progress(shard, after, total)
		}
		return nil
	}
	start := after
	if after == 0 {
		for _, err := range c.from.Feed(ctx, shard, 0, 1) {
			var cut *TruncatedError
			switch {
			case errors.As(err, &cut):
				start = cut.First - 1
			case err != nil:
				return err
			}
		}
	}
	for r, err := range c.from.Feed(ctx, shard, start, 0) {
		if err != nil {
			return err
		}
		if !c.made[r.Log] {
			if err := c.branch(ctx, r.Log, flush); err != nil {
				return err
			}
		}
		if page = append(page, r); len(page) == copyAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
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
