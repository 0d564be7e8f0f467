package embedded

import (
	"cmp"
	"slices"
	"time"

	"varve/eventstore"
)

// Stats is what health and metrics show of an index.
type Stats struct {
	Logs       []LogStats
	Feeds      map[int]uint64 // applied, by shard
	CacheBytes int64
	HeadBytes  int64 // of the logs that are held, and of those that are being loaded
	// Memory is what Options.Memory bounds: heads, what segments take on the heap, and
	// the cache. Mapped pages of segments are not in it.
	Memory     int64
	Damage     error // why Open emptied the index; nil where it did not
	MergeError error // of the last merge in the background; segments stay as they were
	// UnloadError is of the last log that left memory: it has to be read again further back.
	UnloadError error
	// PublishedError is of the last log that could not be taken as it was published: it
	// was read from the log.
	PublishedError error
}

// LogStats is one log's part. Of a log that is not loaded the numbers of rows and
// documents are those of when it was, 0 where it was not since Open.
type LogStats struct {
	Log       eventstore.LogID
	Loaded    bool // always, unless the index is OnDemand
	Loading   bool
	Applied   uint64
	Documents int // that are valid now
	Rows      int // document versions, of any time
	HeadRows  int
	Segments  int
	Memory    int64     // bytes on the heap: its head, and what its segments take there
	Bytes     int64     // of the segments' files
	LastUse   time.Time // when a view was made or closed last; zero where none was
	Skipped   uint64    // records and features that could not be decoded, since it was loaded
}

// Stats gives the present state: of all logs that are held or of which the folder has
// something. It costs no more than a walk over the logs.
func (x *Index) Stats() Stats {
	s := Stats{Feeds: map[int]uint64{}}
	for _, id := range x.Logs() {
		if l := x.log(id); l != nil {
			s.Logs = append(s.Logs, l.stats())
		}
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for id, a := range x.away {
		loading := a.load != nil && !a.load.idle
		if x.logs[id] == nil && (loading || a.disk > 0 || a.used > 0) {
			s.Logs = append(s.Logs, LogStats{Log: id, Loading: loading, Applied: a.seen, Rows: a.rows, Documents: a.documents, Bytes: a.disk, LastUse: lastUse(a.used)})
		}
	}
	slices.SortFunc(s.Logs, func(a, b LogStats) int { return cmp.Compare(a.Log, b.Log) })
	for shard, feed := range x.feeds {
		s.Feeds[shard] = feed
	}
	s.Damage, s.MergeError, s.UnloadError, s.PublishedError = x.damage, x.mergeError, x.unloadError, x.publishedError
	x.cache.mu.Lock()
	s.CacheBytes = x.cache.used
	x.cache.mu.Unlock()
	s.HeadBytes = x.headBytes.Load() + x.loadBytes.Load()
	s.Memory = x.held() + s.CacheBytes
	return s
}

func (l *logIndex) stats() LogStats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	one := LogStats{Log: l.id, Loaded: true, Applied: l.applied, HeadRows: l.head.count(), Segments: len(l.segments), Skipped: l.head.skipped,
		Memory: l.head.bytes, LastUse: lastUse(l.used.Load())}
	one.Rows, one.Documents = l.size()
	for _, g := range l.segments {
		one.Bytes += int64(len(g.data))
		one.Memory += g.heap()
	}
	return one
}

// size counts document versions of any time, and documents. l.mu is held, or nobody
// changes the log.
func (l *logIndex) size() (rows, documents int) {
	rows = l.head.count()
	documents = rows - l.head.ended
	for _, s := range l.segments {
		rows += s.n
		documents += s.n - int(s.ended.Load())
	}
	return rows, documents
}

func lastUse(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}

// Trim gives the memory back into which segments are mapped. Queries take it again,
// piece by piece, from the page cache: for when nothing has been asked for a while.
func (x *Index) Trim() {
	for _, id := range x.Logs() {
		l := x.log(id)
		if l == nil {
			continue
		}
		l.mu.RLock()
		for _, s := range l.segments {
			forget(s.data)
		}
		l.mu.RUnlock()
	}
}
