package embedded

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math/bits"
	"os"
	"slices"
)

// Segments of about one size (a factor of four) are merged when there are four, so
// that a log of n rows has at most three per size and every row is written about
// log4(n ÷ head rows) times.
const (
	mergeAt      = 4
	maxMergeRows = 4 << 20 // of the segment that a merge makes
)

func sizeClass(rows int) int { return max(0, (bits.Len(uint(rows))-7)/2) }

// due gives segments of a log that should be one, held.
func (l *logIndex) due() []*segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	classes := map[int][]*segment{}
	for _, s := range l.segments {
		c := sizeClass(s.n)
		classes[c] = append(classes[c], s)
	}
	least := -1
	for c, list := range classes {
		rows := 0
		for _, s := range list {
			rows += s.n
		}
		if len(list) >= mergeAt && rows <= maxMergeRows && (least < 0 || c < least) {
			least = c
		}
	}
	if least < 0 {
		return nil
	}
	return held(classes[least])
}

func held(segments []*segment) []*segment {
	for _, s := range segments {
		s.hold()
	}
	return segments
}

// mergeSoon starts merging in the background, unless it is under way or nothing
// is due.
func (x *Index) mergeSoon() {
	if x.opts.NoMerge || !x.mergeLock.TryLock() {
		return
	}
	go func() {
		defer x.mergeLock.Unlock()
		if err := x.mergeDue(x.life); err != nil && !errors.Is(err, errClosed) {
			x.mu.Lock()
			x.mergeError = err
			x.mu.Unlock()
		}
	}()
}

// Merge makes one segment of each log's segments, and answers when that is durable.
func (x *Index) Merge(ctx context.Context) error {
	x.mergeLock.Lock()
	defer x.mergeLock.Unlock()
	for _, l := range x.all() {
		l.mu.RLock()
		segments := held(slices.Clone(l.segments))
		l.mu.RUnlock()
		if err := x.merge(ctx, l, segments, nil); err != nil && !errors.Is(err, errUnloaded) {
			return err
		}
	}
	return nil
}

func (x *Index) mergeDue(ctx context.Context) error {
	for again := true; again; {
		again = false
		for _, l := range x.all() {
			segments := l.due()
			if segments == nil {
				continue
			}
			if err := x.merge(ctx, l, segments, nil); err != nil && !errors.Is(err, errUnloaded) {
				return err
			}
			again = true
		}
	}
	return nil
}

// merge makes one segment of several. Only the swap at its end keeps others
// waiting; rows that end meanwhile are carried over then. x.mergeLock is held, so
// nobody else takes segments away; and the segments are, of which merge lets go.
// Rows that hold from a position in skip are left out. The error is errUnloaded where
// the index does not hold the log any more.
func (x *Index) merge(ctx context.Context, l *logIndex, segments []*segment, skip map[uint64]bool) error {
	defer func() {
		for _, s := range segments {
			s.release()
		}
	}()
	if x.isClosed() {
		return errClosed
	}
	if len(segments) < 2 && skip == nil {
		return ctx.Err()
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.meta.First, b.meta.First) })
	parts := make([]part, len(segments))
	for i, s := range segments {
		parts[i] = s
	}
	var merged *segment
	var to [][]uint32
	if anyLeft(parts, skip) {
		var err error
		if merged, to, err = x.write(ctx, l.id, parts, skip); err != nil {
			if x.log(l.id) != l && ctx.Err() == nil {
				return errUnloaded // perhaps loaded again, with other files
			}
			return wrap("merge segments of log "+string(l.id), err)
		}
	}
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.log(l.id) != l { // it left memory meanwhile: its manifest names the old segments
		if merged != nil {
			merged.release()
			_ = os.Remove(x.segmentPath(l.id, merged.digest))
		}
		return errUnloaded
	}
	l.mu.Lock()
	var kept []*segment
	if merged != nil {
		kept = append(kept, merged)
		for i, s := range segments {
			for row, place := range to[i] {
				if _, end := s.span(uint32(row)); end != forever && place != gone {
					merged.endRow(place, end)
				}
			}
		}
	}
	for _, s := range l.segments {
		if !slices.Contains(segments, s) {
			kept = append(kept, s)
		}
	}
	l.segments, l.unsaved = kept, true
	l.mu.Unlock()
	for _, s := range segments {
		l.merged = append(l.merged, x.segmentPath(l.id, s.digest))
		s.release() // the log's own reference
	}
	if err := x.save(); err != nil {
		return err
	}
	return x.sweepMerged()
}

func anyLeft(parts []part, skip map[uint64]bool) bool {
	for _, p := range parts {
		for row := range uint32(p.rows()) {
			if from, _ := p.span(row); !skip[from] {
				return true
			}
		}
	}
	return false
}

// sweepMerged removes the files of segments that were merged and that the saved
// manifest names no more. Views that read them keep their mappings. x.apply is held.
func (x *Index) sweepMerged() error {
	var err error
	for _, l := range x.all() {
		if x.opts.OnDemand && l.unsaved {
			continue // its manifest could not be written
		}
		for _, path := range l.merged {
			if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		l.merged = nil
	}
	return wrap("remove merged segments", err)
}
