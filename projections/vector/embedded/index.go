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
	"sync/atomic"
	"time"

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
	// OnDemand makes the index hold only the logs of which views are asked: the first
	// View of a log loads it, from its segments in the folder and then through Prefix;
	// of other logs Apply notes no more than how far they went. It needs Prefix and Head.
	OnDemand bool
	// Head gives a log's newest position, 0 where it has none. It is asked when a log
	// is loaded.
	Head func(ctx context.Context, log eventstore.LogID) (uint64, error)
	// Published gives segments that another process published, from which loading goes on
	// with what the log has more. What cannot be had, or is damaged, is read from the log.
	Published Source
	// Memory is how many bytes the index may hold on the heap (see Stats); 0: no limit. A
	// quarter of it, at most, is the cache's.
	// Over it, the least recently used logs leave it where the index is OnDemand, never
	// one with a view in use nor the one used last; then heads become segments early.
	// Mapped pages of segments are not counted: they are the kernel's, which takes them
	// back when it wants. Answers get slower over it, never wrong.
	Memory int64

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
	if o.Memory > 0 {
		o.CacheBytes = min(o.CacheBytes, o.Memory/4)
	}
	return o
}

// Index is a vector.Index. Apply and Flush may be called while views are in use;
// they wait for each other.
type Index struct {
	dir   string
	opts  Options
	cache *cache

	apply sync.Mutex // held by Apply, Flush and Close, and where logs are unloaded
	noted uint64     // records that moved places since the places were saved; under apply
	// headBytes is what the heads of all logs hold together, loadBytes those of logs
	// that are being loaded, segmentBytes what mapped segments take on the heap.
	headBytes, loadBytes, segmentBytes atomic.Int64

	mergeLock sync.Mutex // held while segments are merged; before apply
	life      context.Context
	end       context.CancelFunc

	work sync.WaitGroup // loads, and unloading in the background; begun under mu unless closed

	mu     sync.RWMutex // guards what follows
	logs   map[eventstore.LogID]*logIndex
	away   map[eventstore.LogID]*away // on demand: what is known of other logs
	feeds  map[int]uint64
	closed bool

	loading   atomic.Int64 // loads under way
	shrinking atomic.Bool  // unloading in the background is under way
	crowded   atomic.Bool  // more is held than may be, by logs that were in use

	damage         error // why Open emptied the index
	mergeError     error // of the last merge in the background
	unloadError    error // of the last log that left memory
	publishedError error // of the last log that could not be taken as it was published
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

	bytes  *atomic.Int64 // where its head is counted
	merged []string      // files to be removed when no manifest names them; under apply
	// On demand: up to which position its own manifest holds, and whether segments
	// came or went since it was written; under apply.
	saved   uint64
	unsaved bool

	erasures atomic.Int64 // how often records were erased from it

	users atomic.Int64 // views in use, and those who wait for one
	used  atomic.Int64 // when a view was made or closed last: Unix time in nanoseconds
}

func (x *Index) newLog(id eventstore.LogID, shard int) *logIndex {
	return &logIndex{id: id, shard: shard, deleted: map[string][]deletion{}, head: newHead(), bytes: &x.headBytes}
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
		x.mu.RLock()
		defer x.mu.RUnlock()
		if a := x.away[log]; a != nil {
			return a.seen
		}
		return 0
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.applied
}

// Logs lists the logs that the index holds, in order.
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
		l = x.newLog(id, shard)
		x.logs[id] = l
	}
	return l
}

// View pins a log at a position. Position 0 of any log is empty. Where the index is
// OnDemand and does not hold the log, it waits until the log is loaded, or ctx ends;
// the load goes on without it.
func (x *Index) View(ctx context.Context, log eventstore.LogID, position uint64) (vector.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, err := x.present(log, position)
	if v == nil && err == nil {
		v, err = x.loaded(ctx, log, position)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// present gives a view of what the index holds; nil where the log is to be loaded first.
func (x *Index) present(log eventstore.LogID, position uint64) (*view, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.closed {
		return nil, errNoView
	}
	l := x.logs[log]
	if l == nil {
		if x.opts.OnDemand {
			return nil, nil
		}
		return x.nothing(log, position)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if position > l.applied {
		return nil, behind(position, l.applied)
	}
	l.use(1)
	v := &view{index: x, log: log, position: position, of: l}
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

// nothing is the view of a log that has no records.
func (x *Index) nothing(log eventstore.LogID, position uint64) (*view, error) {
	if position > 0 {
		return nil, behind(position, 0)
	}
	return &view{index: x, log: log}, nil
}

// use counts who uses the log.
func (l *logIndex) use(n int64) (users int64) {
	l.used.Store(time.Now().UnixNano())
	return l.users.Add(n)
}

var errNoView = domain.Errorf(domain.CodeUnavailable, "the index is closed")

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
