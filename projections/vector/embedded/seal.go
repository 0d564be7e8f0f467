package embedded

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"

	"varve/eventstore"
)

// How far the oldest record of a head may lie behind the feed, at most, when the
// index is saved: what a restart has to read again.
const maxTail = 16384

// Flush makes what was applied durable: heads become segments, and Open will find
// the feed where it is now.
func (x *Index) Flush() error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	for _, l := range x.all() {
		if err := x.seal(l); err != nil {
			return err
		}
	}
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
	for x.headBytes > x.opts.HeadBytes { // then some head holds rows
		largest := slices.MaxFunc(x.all(), func(a, b *logIndex) int { return cmp.Compare(a.head.bytes, b.head.bytes) })
		if err := x.seal(largest); err != nil {
			return err
		}
		sealed = true
	}
	if !sealed {
		return nil
	}
	for _, l := range x.all() {
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

// seal makes the head of a log a segment. x.apply is held.
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
	x.headBytes -= l.head.bytes
	l.head = newHead()
	l.head.skipped = skipped
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	x.cache.drop(h.serial())
	return nil
}

// write makes one segment of parts and maps it; see buildSegment.
func (x *Index) write(ctx context.Context, log eventstore.LogID, parts []part, skip map[uint64]bool) (*segment, [][]uint32, error) {
	folder := x.folder(log)
	if _, err := os.Stat(folder); err != nil {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, nil, err
		}
		if err := x.syncFolder(x.dir); err != nil {
			return nil, nil, err
		}
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
