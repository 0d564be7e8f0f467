package embedded

import (
	"context"
	"os"
	"path/filepath"

	"varve/eventstore"
)

// How far the oldest record of a head may lie behind the feed, at most, when the
// index is saved: what a restart has to read again.
const maxTail = 16384

// Flush makes what was applied durable: heads become segments, and Open will find
// the feed where it is now. Small heads of an index that is OnDemand do not: the log
// is read again from there.
func (x *Index) Flush() error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	for _, l := range x.all() {
		if x.opts.OnDemand && l.head.count() < worthSealing {
			continue // the log has it
		}
		if err := x.seal(l); err != nil {
			return err
		}
	}
	x.noted = maxTail
	if err := x.save(); err != nil {
		return err
	}
	x.mergeSoon()
	return x.sweepMerged()
}

func (x *Index) isClosed() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.closed
}

func (x *Index) all() []*logIndex {
	x.mu.RLock()
	defer x.mu.RUnlock()
	logs := make([]*logIndex, 0, len(x.logs))
	for _, l := range x.logs {
		logs = append(logs, l)
	}
	return logs
}

// sealFull makes heads segments that have grown beyond what Options allows, and
// saves the index where there was one. touched are the logs that may have grown.
// x.apply is held.
func (x *Index) sealFull(touched []*logIndex) error {
	sealed := false
	for _, l := range touched {
		if l.head.count() >= x.opts.HeadRows {
			if err := x.seal(l); err != nil {
				return err
			}
			sealed = true
		}
	}
	for x.headBytes.Load() > x.opts.HeadBytes {
		largest := x.largestHead()
		if largest == nil { // those of logs that are about to be held
			break
		}
		if err := x.seal(largest); err != nil {
			return err
		}
		sealed = true
	}
	shrunk, err := x.shrink()
	if err != nil {
		return err
	}
	if !sealed && !shrunk && (!x.opts.OnDemand || x.noted < maxTail) {
		return nil
	}
	for _, l := range x.all() {
		if x.opts.OnDemand {
			break
		}
		if first := l.head.first(); first != nil && first.feed+maxTail < x.Applied(l.shard) {
			if err := x.seal(l); err != nil {
				return err
			}
		}
	}
	if err := x.save(); err != nil {
		return err
	}
	x.mergeSoon()
	return x.sweepMerged()
}

// largestHead is the log whose head holds most, nil where none holds rows.
func (x *Index) largestHead() *logIndex {
	var largest *logIndex
	for _, l := range x.all() {
		if l.head.count() > 0 && (largest == nil || l.head.bytes > largest.head.bytes) {
			largest = l
		}
	}
	return largest
}

// seal makes the head of a log a segment. x.apply is held, unless nobody else knows
// the log yet.
func (x *Index) seal(l *logIndex) error {
	h := l.head.snapshot()
	if h.rows() == 0 {
		return nil
	}
	s, to, err := x.write(context.Background(), l.id, []part{h}, nil)
	if err != nil {
		return wrap("seal the head of log "+string(l.id), err)
	}
	l.mu.Lock()
	for row := range h.all {
		if _, end := h.span(uint32(row)); end != forever {
			s.endRow(to[0][row], end)
		}
	}
	skipped := l.head.skipped
	l.bytes.Add(-l.head.bytes)
	l.head = newHead()
	l.head.skipped = skipped
	l.segments = append(l.segments, s)
	l.unsaved = true
	l.mu.Unlock()
	x.cache.drop(h.serial())
	return nil
}

// makeFolder makes a log's folder, where there is none, to stay.
func (x *Index) makeFolder(log eventstore.LogID) (string, error) {
	folder := x.folder(log)
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	return folder, x.syncFolder(x.dir)
}

// write makes one segment of parts and maps it; see buildSegment.
func (x *Index) write(ctx context.Context, log eventstore.LogID, parts []part, skip map[uint64]bool) (*segment, [][]uint32, error) {
	folder, err := x.makeFolder(log)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return nil, nil, err
	}
	digest, to, err := buildSegment(ctx, f, parts, skip)
	if err := x.finishFile(f, filepath.Join(folder, digest+segmentSuffix), err); err != nil {
		return nil, nil, err
	}
	s, err := x.openSegment(log, digest)
	if err == nil {
		forget(s.data) // read to check it; what queries need comes again
	}
	return s, to, err
}
