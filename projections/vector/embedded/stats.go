package embedded

import "varve/eventstore"

// Stats is what health and metrics show of an index.
type Stats struct {
	Logs       []LogStats
	Feeds      map[int]uint64 // applied, by shard
	CacheBytes int64
	HeadBytes  int64
	Damage     error // why Open emptied the index; nil where it did not
	MergeError error // of the last merge in the background; segments stay as they were
}

// LogStats is one log's part.
type LogStats struct {
	Log      eventstore.LogID
	Applied  uint64
	Rows     int // document versions, of any time
	HeadRows int
	Segments int
	Bytes    int64  // of the segments' files
	Skipped  uint64 // records and features that could not be decoded, since the index was opened
}

// Stats gives the present state; it costs no more than a walk over the logs.
func (x *Index) Stats() Stats {
	s := Stats{Feeds: map[int]uint64{}}
	for _, id := range x.Logs() {
		l := x.log(id)
		if l == nil {
			continue
		}
		l.mu.RLock()
		one := LogStats{Log: id, Applied: l.applied, HeadRows: l.head.count(), Segments: len(l.segments), Skipped: l.head.skipped}
		one.Rows = one.HeadRows
		for _, g := range l.segments {
			one.Rows += g.n
			one.Bytes += int64(len(g.data))
		}
		s.HeadBytes += l.head.bytes
		l.mu.RUnlock()
		s.Logs = append(s.Logs, one)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for shard, feed := range x.feeds {
		s.Feeds[shard] = feed
	}
	s.Damage, s.MergeError = x.damage, x.mergeError
	x.cache.mu.Lock()
	s.CacheBytes = x.cache.used
	x.cache.mu.Unlock()
	return s
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
