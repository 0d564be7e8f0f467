package embedded

import (
	"container/list"
	"sync"
)

// cache remembers selections, by part, so that what is immutable is computed
// once. Least recently used entries go first.
type cache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	order *list.List // of *cached, most recent first
	byKey map[cacheKey]*list.Element
}

// cacheKey says of which part, as of which position (0: any), and what.
type cacheKey struct {
	part     uint64
	position uint64
	what     string
}

type cached struct {
	key   cacheKey
	value any
	size  int64
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, order: list.New(), byKey: map[cacheKey]*list.Element{}}
}

func (c *cache) lookup(key cacheKey) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).value, true
}

func (c *cache) store(key cacheKey, value any, size int64) {
	size += int64(len(key.what)) + 160
	if size > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.used += size - e.Value.(*cached).size
		e.Value = &cached{key, value, size}
		c.order.MoveToFront(e)
	} else {
		c.byKey[key] = c.order.PushFront(&cached{key, value, size})
		c.used += size
	}
	for c.used > c.limit {
		e := c.order.Back()
		old := e.Value.(*cached)
		c.order.Remove(e)
		delete(c.byKey, old.key)
		c.used -= old.size
	}
}

// drop forgets what was kept of a part.
func (c *cache) drop(part uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.byKey {
		if key.part == part {
			c.used -= e.Value.(*cached).size
			c.order.Remove(e)
			delete(c.byKey, key)
		}
	}
}
