// Package embedded is the in-process search backend: per log, immutable
// memory-mapped segments and a small mutable head, all rows with the positions
// between which they hold. Search is exact. It is filled by following the feed,
// and everything in it can be dropped and rebuilt.
package embedded

import (
	"context"
	"fmt"
	"iter"
	"os"
	"sort"
	"sync"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// Options are the limits of an Index; zero values mean the defaults.
type Options struct {
	// HeadRows is how many document versions a log's head holds before it becomes
	// a segment. Default 4,096.
	HeadRows int
	// HeadBytes is how much the heads of all logs may hold together before the
	// largest becomes a segment. Default 16 MiB.
	HeadBytes int64
	// CacheBytes bounds the cache of selections. Default 32 MiB.
	CacheBytes int64
	// Workers is over how many goroutines a large scan is split. Default GOMAXPROCS.
	Workers int
	// Verify makes Open check the bytes of vectors and payloads too, not only the
	// structure of segments.
	Verify bool
	// NoMerge leaves segments as they are until Merge is called.
	NoMerge bool
	// Prefix reads a log's records with position > after and ≤ upTo, in order. It is
	// asked where the feed leaves records of a log out: the log continues another
	// one, whose records the feed does not repeat. Nil: the index does without them.
	Prefix func(ctx context.Context, log eventstore.LogID, after, upTo uint64) iter.Seq2[eventstore.Record, error]

	// For tests: in place of File.Sync, and of aloneProducts.
	sync  func(*os.File) error
	alone int
}

func (o Options) withDefaults() Options {
	if o.HeadRows <= 0 {
		o.HeadRows = 4096
	}
	if o.HeadBytes <= 0 {
		o.HeadBytes = 16 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	return o
}

// Index is a vector.Index. Apply and Flush may be called while views are in use;
// they wait for each other.
type Index struct {
	dir   string
	opts  Options
	cache *cache

	apply  sync.Mutex // held by Apply, Flush and Close
	merged []string   // files to be removed when the manifest names them no more; under apply
	// headBytes is what all heads hold together; under apply.
	headBytes int64

	mergeLock sync.Mutex // held while segments are merged; before apply
	life      context.Context
	end       context.CancelFunc

	mu     sync.RWMutex // guards what follows
	logs   map[eventstore.LogID]*logIndex
	feeds  map[int]uint64
	closed bool

	damage     error // why Open emptied the index
	mergeError error // of the last merge in the background
}

var _ vector.Index = (*Index)(nil)

// logIndex is the index of one log.
type logIndex struct {
	id    eventstore.LogID
	shard int

	mu       sync.RWMutex // held for writing while a page is folded
	applied  uint64
	deleted  map[string][]deletion // by collection, oldest first
	head     *head
	segments []*segment
}

// deletion is the end of a collection.
type deletion struct {
	Version  uint64 `json:"version"` // of the config stream
	Position uint64 `json:"position"`
}

// Applied is the shard's feed position up to which records were applied.
// Records after it are to be given to Apply.
func (x *Index) Applied(shard int) uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.feeds[shard]
}

// Position is the newest position of a log that was applied, 0 for an unknown log.
func (x *Index) Position(log eventstore.LogID) uint64 {
	l := x.log(log)
	if l == nil {
		return 0
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.applied
}

// Logs lists the logs of which records were applied, in order.
func (x *Index) Logs() []eventstore.LogID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	ids := make([]eventstore.LogID, 0, len(x.logs))
	for id := range x.logs {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

func (x *Index) log(id eventstore.LogID) *logIndex {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.logs[id]
}

func (x *Index) logOrNew(id eventstore.LogID, shard int) *logIndex {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.logs[id]
	if l == nil {
		l = &logIndex{id: id, shard: shard, deleted: map[string][]deletion{}, head: newHead()}
		x.logs[id] = l
	}
	return l
}

// View pins a log at a position. Position 0 of any log is empty.
func (x *Index) View(ctx context.Context, log eventstore.LogID, position uint64) (vector.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.closed {
		return nil, domain.Errorf(domain.CodeUnavailable, "the index is closed")
	}
	v := &view{index: x, log: log, position: position}
	l := x.logs[log]
	if l == nil {
		if position > 0 {
			return nil, behind(position, 0)
		}
		return v, nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if position > l.applied {
		return nil, behind(position, l.applied)
	}
	for _, s := range l.segments {
		s.hold()
		v.segments = append(v.segments, s)
		v.parts = append(v.parts, s)
	}
	if h := l.head.snapshot(); h.rows() > 0 {
		v.parts = append(v.parts, h)
	}
	return v, nil
}

func behind(position, applied uint64) error {
	e := domain.Errorf(domain.CodeUnavailable, "the index has applied position %d and not yet %d: try again", applied, position)
	e.RetryAfter = 1
	return e
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
