package embedded

import (
	"context"
	"fmt"
	"sync/atomic"

	"varve/domain"
	"varve/eventstore"
)

// load is a log on its way into memory. All who want a view of it wait for one load.
// Its fields but the channel are guarded by Index.mu.
type load struct {
	done    chan struct{}
	stop    context.CancelFunc
	idle    bool // it stands for somebody who keeps loads away
	waiters int

	// What was applied meanwhile, unless it was too much: then the log is read again.
	pending []eventstore.Record
	size    int64
	bytes   *atomic.Int64 // where size is counted
	much    bool

	log    *logIndex // when done: the log, of which each waiter has a use
	absent bool      // when done: there is no such log
	err    error     // when done: why not
}

// How many records, and bytes, are kept for a load that is under way.
const (
	maxPending      = 4096
	maxPendingBytes = 8 << 20
)

// wait takes records that were applied while the load is under way.
func (w *load) wait(run []eventstore.Record) {
	if w.idle || w.much {
		return
	}
	size := int64(0)
	for i := range run {
		size += 256 + int64(len(run[i].Data))
		for _, a := range run[i].Attachments {
			size += int64(len(a.Bytes))
		}
	}
	if len(w.pending)+len(run) > maxPending || w.size+size > maxPendingBytes {
		w.take()
		w.much = true
		return
	}
	w.pending = append(w.pending, run...)
	w.size += size
	w.bytes.Add(size)
}

// take gives what was kept, and whether there was more.
func (w *load) take() (batch []eventstore.Record, much bool) {
	batch, much = w.pending, w.much
	w.bytes.Add(-w.size)
	w.pending, w.size, w.much = nil, 0, false
	return batch, much
}

// loaded gives a view of a log that the index does not hold: it waits for its load.
func (x *Index) loaded(ctx context.Context, log eventstore.LogID, position uint64) (*view, error) {
	for {
		w, err := x.join(log, position)
		if err != nil {
			return nil, err
		}
		if w == nil { // it is there now
			if v, err := x.present(log, position); v != nil || err != nil {
				return v, err
			}
			continue
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			x.leave(w)
			return nil, ctx.Err()
		}
		switch {
		case w.err != nil:
			return nil, w.err
		case w.absent:
			return x.nothing(log, position)
		}
		v, err := x.present(log, position)
		x.leave(w)
		if v != nil || err != nil {
			return v, err
		}
	}
}

// join waits for the load of a log, which it begins where none is under way; it gives
// nil where the log is there.
func (x *Index) join(log eventstore.LogID, position uint64) (*load, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, errNoView
	}
	if x.logs[log] != nil {
		return nil, nil
	}
	a := x.away[log]
	if a == nil {
		a = x.remember(log)
	}
	if a.load == nil {
		if a.seen > 0 && position > a.seen {
			return nil, behind(position, a.seen)
		}
		ctx, stop := context.WithCancel(x.life)
		w := &load{done: make(chan struct{}), stop: stop, bytes: &x.loadBytes}
		a.load = w
		x.loading.Add(1)
		x.work.Go(func() { x.run(ctx, log, w) })
	}
	a.load.waiters++
	return a.load, nil
}

// leave ends the wait for a load, or the use of what it loaded.
func (x *Index) leave(w *load) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w.log == nil {
		w.waiters--
		return
	}
	w.log.use(-1)
}

// run loads a log.
func (x *Index) run(ctx context.Context, log eventstore.LogID, w *load) {
	defer w.stop()
	l, err := x.read(ctx, log, w)
	x.loading.Add(-1)
	if err == nil {
		close(w.done)
		if l != nil {
			x.mergeSoon()
			x.shrinkSoon()
		}
		return
	}
	if l != nil { // what was made of it serves the next one who asks
		if l.unsaved && x.saveLog(l) == nil {
			err = fmt.Errorf("%w; up to position %d it is there", err, l.saved)
		}
		l.close()
	}
	e := domain.Errorf(domain.CodeUnavailable, "the index of this namespace could not be loaded: try again")
	e.RetryAfter, e.Err = 1, wrap("load log "+string(log), err)
	disk := diskOf(x.folder(log))
	x.mu.Lock()
	defer x.mu.Unlock()
	if a := x.away[log]; a != nil && a.load == w {
		a.load, a.disk, a.fresh = nil, disk, false
	}
	w.take()
	w.err = e
	close(w.done)
}

// read makes a log what it would be if it had been followed, and lets the index hold
// it; nil where there is no such log. With an error it gives what was made so far.
func (x *Index) read(ctx context.Context, log eventstore.LogID, w *load) (*logIndex, error) {
	entry := x.published(ctx, log) // before the head, so that it is not ahead of it
	head, err := x.opts.Head(ctx, log)
	if err != nil {
		return nil, wrap("ask for the log's head", err)
	}
	if head == 0 && x.isAbsent(log, w) {
		return nil, nil
	}
	x.mu.RLock()
	fresh, upTo := x.away[log].fresh, max(head, x.away[log].seen)
	x.mu.RUnlock()
	l, err := x.restore(log, fresh)
	if err != nil {
		return nil, wrap("open its segments", err)
	}
	if l.applied > upTo { // the folder belongs to another store, or to one that was set back
		if l, err = x.anew(l); err != nil {
			return nil, err
		}
	}
	if l, err = x.adopt(ctx, l, entry, upTo); err != nil {
		return l, err
	}
	l.bytes = &x.loadBytes
	return l, x.catchUp(ctx, l, w, upTo)
}

// isAbsent says whether nothing came of a log since its head was asked for and there
// was none; then the load ends with that.
func (x *Index) isAbsent(log eventstore.LogID, w *load) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if a := x.away[log]; a.seen > 0 || w.much || len(w.pending) > 0 {
		return false
	}
	delete(x.away, log)
	w.absent = true
	return true
}

// anew forgets what the folder has of a log.
func (x *Index) anew(l *logIndex) (*logIndex, error) {
	l.close()
	return x.newLog(l.id, l.shard), x.removeFolder(l.id)
}

// Rounds after which Apply waits for a load instead of handing it more records.
const patience = 8

// catchUp reads a log up to a position, then takes what was applied meanwhile until
// nothing is left, and lets the index hold the log.
func (x *Index) catchUp(ctx context.Context, l *logIndex, w *load, upTo uint64) error {
	for round := 0; ; round++ {
		if err := x.readTail(ctx, l, upTo); err != nil {
			return err
		}
		wait := func() {}
		if round >= patience {
			x.apply.Lock()
			wait = x.apply.Unlock
		}
		for {
			if err := ctx.Err(); err != nil {
				wait()
				return err
			}
			batch, much := x.admit(l, w)
			if batch == nil && !much {
				wait()
				return nil
			}
			if much = much || gap(l.applied, batch); much {
				break
			}
			x.fold(l, batch)
			if err := x.sealLoaded(l); err != nil {
				wait()
				return err
			}
		}
		wait()
		x.mu.RLock()
		upTo = max(upTo, x.away[l.id].seen)
		x.mu.RUnlock()
	}
}

// admit lets the index hold the log if it misses nothing; else it gives what was
// applied meanwhile, or says that it was too much to be kept.
func (x *Index) admit(l *logIndex, w *load) (batch []eventstore.Record, much bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(w.pending) > 0 || w.much {
		return w.take()
	}
	a := x.away[l.id]
	if a.seen > l.applied {
		return nil, true
	}
	delete(x.away, l.id)
	x.logs[l.id] = l
	x.loadBytes.Add(-l.head.bytes)
	l.bytes = &x.headBytes
	x.headBytes.Add(l.head.bytes)
	w.log = l
	l.used.Store(a.used)
	l.use(int64(w.waiters))
	return nil, false
}

// readTail folds a log's records up to a position.
func (x *Index) readTail(ctx context.Context, l *logIndex, upTo uint64) error {
	const page = 256
	if l.applied >= upTo {
		return nil
	}
	run := make([]eventstore.Record, 0, page)
	flush := func() error {
		x.fold(l, run)
		run = run[:0]
		if err := ctx.Err(); err != nil {
			return err
		}
		return x.sealLoaded(l)
	}
	next := l.applied + 1
	for r, err := range x.opts.Prefix(ctx, l.id, l.applied, upTo) {
		if err != nil {
			return wrap("read the log", err)
		}
		if r.Position > upTo {
			break
		}
		if r.Position != next {
			return fmt.Errorf("read the log: position %d follows %d", r.Position, next-1)
		}
		next++
		if run = append(run, r); len(run) == page {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if next <= upTo {
		return fmt.Errorf("read the log: it ends at position %d of %d", next-1, upTo)
	}
	return flush()
}

// sealLoaded makes the head of a log that is being loaded a segment when it is large.
// All loads together hold no more than all heads may.
func (x *Index) sealLoaded(l *logIndex) error {
	limit := max(x.opts.HeadBytes/max(1, x.loading.Load()), 256<<10)
	if l.head.count() < x.opts.HeadRows && l.head.bytes < limit {
		return nil
	}
	return x.seal(l)
}
