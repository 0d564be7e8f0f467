package embedded

import (
	"cmp"
	"os"
	"slices"

	"varve/eventstore"
)

// Heads smaller than a budget ÷ headShare do not become segments early: many small
// segments would take more than they free.
const headShare = 64

// held is what the index holds on the heap of what Options.Memory bounds; the cache
// has its own bound.
func (x *Index) held() int64 {
	return x.headBytes.Load() + x.loadBytes.Load() + x.segmentBytes.Load()
}

// over says whether more is held than may be.
func (x *Index) over() bool {
	return x.opts.Memory > 0 && x.held() > x.opts.Memory-x.opts.CacheBytes
}

// shrink keeps the index within its memory as far as it can, and says whether
// segments were made of heads. x.apply is held.
func (x *Index) shrink() (sealed bool, err error) {
	if !x.over() {
		x.crowded.Store(false)
		return false, nil
	}
	if x.opts.OnDemand {
		x.dropIdle()
	}
	for x.over() {
		l := x.largestHead()
		if l == nil || l.head.bytes < x.opts.Memory/headShare {
			break
		}
		if err := x.seal(l); err != nil {
			return sealed, err
		}
		sealed = true
	}
	return sealed, nil
}

// dropIdle lets logs leave memory that are not in use, the least recently used first.
func (x *Index) dropIdle() {
	logs := x.all()
	slices.SortFunc(logs, func(a, b *logIndex) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	crowded := false
	for i, l := range logs {
		if i == len(logs)-1 || !x.over() {
			break
		}
		if l.users.Load() > 0 {
			crowded = true
			continue
		}
		if err := x.leaveMemory(l); err != nil {
			x.mu.Lock()
			x.unloadError = err
			x.mu.Unlock()
		}
	}
	x.crowded.Store(crowded && x.over())
}

// leaveMemory drops a log. What its segments do not hold is read again from the log;
// so an error, of a full disk, loses nothing.
func (x *Index) leaveMemory(l *logIndex) (err error) {
	if l.head.count() >= worthSealing {
		err = x.seal(l)
	}
	if err == nil && (l.unsaved || l.durable() >= l.saved+worthSealing) {
		if err = x.saveLog(l); err == nil {
			err = x.sweepMerged()
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if l.users.Load() == 0 {
		x.unload(l)
	}
	return err
}

// unload takes a log out of memory; what was not saved is forgotten. x.apply and x.mu
// are held.
func (x *Index) unload(l *logIndex) {
	a := x.away[l.id]
	if a == nil {
		a = x.remember(l.id)
	}
	a.seen, a.used = l.applied, l.used.Load()
	a.rows, a.documents = l.size()
	a.disk = 0
	for _, s := range l.segments {
		a.disk += int64(len(s.data))
	}
	delete(x.logs, l.id)
	l.close()
}

// shrinkSoon lets logs leave memory in the background, where there is too much in it.
func (x *Index) shrinkSoon() {
	if !x.over() || !x.shrinking.CompareAndSwap(false, true) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		x.shrinking.Store(false)
		return
	}
	x.work.Go(func() {
		x.apply.Lock()
		defer x.apply.Unlock()
		x.shrinking.Store(false)
		if x.isClosed() {
			return
		}
		sealed, err := x.shrink()
		if err == nil && sealed {
			if err = x.save(); err == nil {
				err = x.sweepMerged()
			}
		}
		if err != nil {
			x.mu.Lock()
			x.unloadError = err
			x.mu.Unlock()
		}
	})
}

// removeFolder removes what the folder has of a log.
func (x *Index) removeFolder(log eventstore.LogID) error {
	return wrap("remove the segments of log "+string(log), os.RemoveAll(x.folder(log)))
}
