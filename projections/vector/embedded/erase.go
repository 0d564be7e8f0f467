package embedded

import (
	"context"
	"os"

	"varve/eventstore"
)

// Erase removes what records of a log left in the index, as if they had been
// erased before they were applied: their versions of documents are found at no
// position any more, and the segments that held them are written anew without
// them. When it returns, no file of the index has their bytes; a view that is open
// keeps what it reads until it is closed. Erasing twice changes nothing.
func (x *Index) Erase(ctx context.Context, log eventstore.LogID, positions ...uint64) error {
	skip := make(map[uint64]bool, len(positions))
	for _, p := range positions {
		skip[p] = true
	}
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	l := x.log(log)
	if l == nil || len(skip) == 0 {
		return nil
	}
	if err := x.sealErased(l, skip); err != nil {
		return err
	}
	l.mu.RLock()
	var holding []*segment
	for _, s := range l.segments {
		if holdsAny(s, skip) {
			s.hold()
			holding = append(holding, s)
		}
	}
	l.mu.RUnlock()
	if len(holding) == 0 {
		return nil
	}
	return wrap("erase from the index", x.merge(ctx, l, holding, skip))
}

// sealErased makes the head a segment if it holds what is to be erased.
func (x *Index) sealErased(l *logIndex, skip map[uint64]bool) error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	if !holdsAny(l.head.snapshot(), skip) {
		return nil
	}
	return x.seal(l)
}

func holdsAny(p part, positions map[uint64]bool) bool {
	for row := range uint32(p.rows()) {
		if from, _ := p.span(row); positions[from] {
			return true
		}
	}
	return false
}

// Drop forgets a log and removes its files: its namespace was purged. Views that
// are open stay usable.
func (x *Index) Drop(log eventstore.LogID) error {
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	x.mu.Lock()
	l := x.logs[log]
	delete(x.logs, log)
	x.mu.Unlock()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	for _, s := range l.segments {
		s.release()
	}
	l.segments = nil
	l.mu.Unlock()
	x.headBytes -= l.head.bytes
	if err := x.save(); err != nil {
		return err
	}
	return wrap("drop log "+string(log), os.RemoveAll(x.folder(log)))
}

// Clear forgets everything: Applied is 0 for every shard, and the feed fills the
// index anew. Views that are open stay usable.
func (x *Index) Clear() error {
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	x.mu.Lock()
	logs := x.logs
	x.logs, x.feeds = map[eventstore.LogID]*logIndex{}, map[int]uint64{}
	x.mu.Unlock()
	for _, l := range logs {
		l.mu.Lock()
		for _, s := range l.segments {
			s.release()
		}
		l.segments = nil
		l.mu.Unlock()
	}
	x.merged, x.headBytes = nil, 0
	return wrap("clear the index", x.clear())
}
