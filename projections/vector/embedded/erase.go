package embedded

import (
	"context"
	"errors"
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
	if len(skip) == 0 {
		return nil
	}
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	if x.opts.OnDemand {
		release, err := x.hold(ctx, log, false)
		if err != nil {
			return wrap("erase from the index", err)
		}
		defer release()
	}
	err := errUnloaded
	if l := x.log(log); l != nil {
		err = x.eraseHeld(ctx, l, skip)
	}
	if errors.Is(err, errUnloaded) {
		err = nil
		if x.opts.OnDemand { // what the folder has is made anew from the log
			err = x.forgetAway(log)
		}
	}
	return wrap("erase from the index", err)
}

// errUnloaded says that the index does not hold a log any more.
var errUnloaded = errors.New("the log is not held any more")

func (x *Index) eraseHeld(ctx context.Context, l *logIndex, skip map[uint64]bool) error {
	if err := x.sealErased(l, skip); err != nil {
		return err
	}
	l.erasures.Add(1)
	l.mu.RLock()
	var holding []*segment
	for _, s := range l.segments {
		if holdsAny(s, skip) {
			s.hold()
			holding = append(holding, s)
		}
	}
	l.mu.RUnlock()
	if len(holding) > 0 {
		if err := x.merge(ctx, l, holding, skip); err != nil {
			return err
		}
	}
	if !x.opts.OnDemand {
		return nil
	}
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.log(l.id) != l {
		return errUnloaded
	}
	if l.unsaved {
		if err := x.saveLog(l); err != nil {
			return err
		}
	}
	return x.tidy(l) // files that could not be removed before
}

// forgetAway removes what the folder has of a log that the index does not hold. No
// load of it is under way, and none can begin.
func (x *Index) forgetAway(log eventstore.LogID) error {
	x.mu.Lock()
	a := x.away[log]
	a.disk, a.rows, a.documents = 0, 0, 0
	x.mu.Unlock()
	return x.removeFolder(log)
}

// sealErased makes the head a segment if it holds what is to be erased.
func (x *Index) sealErased(l *logIndex, skip map[uint64]bool) error {
	x.apply.Lock()
	defer x.apply.Unlock()
	switch {
	case x.isClosed():
		return errClosed
	case x.log(l.id) != l:
		return errUnloaded
	case !holdsAny(l.head.snapshot(), skip):
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
// are open stay usable. An index on demand loads the log again where a view of it is
// asked for and Head still knows it.
func (x *Index) Drop(log eventstore.LogID) error {
	if x.isClosed() {
		return errClosed
	}
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	if x.opts.OnDemand {
		release, err := x.hold(x.life, log, true)
		if err != nil {
			return wrap("drop log "+string(log), err)
		}
		defer release()
	}
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	x.mu.Lock()
	l, a := x.logs[log], x.away[log]
	delete(x.logs, log)
	if a != nil {
		*a = away{load: a.load}
	}
	x.mu.Unlock()
	if l == nil && a == nil {
		return nil
	}
	if l != nil {
		l.close()
	}
	if err := x.save(); err != nil {
		return err
	}
	return wrap("drop log "+string(log), os.RemoveAll(x.folder(log)))
}

// Clear forgets everything: Applied is 0 for every shard, and the feed fills the
// index anew. Views that are open stay usable; who waits for a log to be loaded is told
// to try again.
func (x *Index) Clear() error {
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	for {
		loads, err := x.clearUnlessLoading()
		if len(loads) == 0 {
			return wrap("clear the index", err)
		}
		for _, w := range loads {
			w.stop()
		}
		for _, w := range loads {
			<-w.done
		}
	}
}

func (x *Index) clearUnlessLoading() (loads []*load, err error) {
	x.apply.Lock()
	defer x.apply.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, errClosed
	}
	for _, a := range x.away {
		if a.load != nil {
			loads = append(loads, a.load)
		}
	}
	if len(loads) > 0 {
		return loads, nil
	}
	x.empty()
	return nil, x.clear()
}
