package embedded

import (
	"context"
	"errors"
	"strings"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// Apply folds records of one shard in feed order. It wants all records, not only
// those about documents, because a log's position moves with each. Records at or
// below a log's applied position are passed over, so a page may come again. Of a log
// that is not held (see Options.OnDemand) it notes how far it went, and waits for no load. A
// record that cannot be decoded is counted (see Stats) and ends what its document
// was; it stops nothing.
func (x *Index) Apply(ctx context.Context, shard int, page []eventstore.Record) error {
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.isClosed() {
		return errClosed
	}
	var touched []*logIndex
	for len(page) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1 // a run of records of one log is folded under one lock
		for n < len(page) && page[n].Log == page[0].Log {
			n++
		}
		run := page[:n]
		page = page[n:]
		var l *logIndex
		if !x.opts.OnDemand {
			l = x.logOrNew(run[0].Log, shard)
		} else if l = x.note(shard, run); l == nil {
			continue
		}
		if err := x.applyRun(ctx, shard, l, run); err != nil {
			return err
		}
		touched = append(touched, l)
	}
	return x.sealFull(touched)
}

func (x *Index) applyRun(ctx context.Context, shard int, l *logIndex, run []eventstore.Record) error {
	for len(run) > 0 {
		if next := run[0].Position; next > l.applied+1 && x.opts.Prefix != nil {
			if err := x.fill(ctx, l, next-1); err != nil {
				return wrap("fill what the feed left out of log "+string(l.id), err)
			}
		}
		n := 1
		for n < len(run) && run[n].Position <= run[n-1].Position+1 {
			n++
		}
		x.fold(l, run[:n])
		x.mu.Lock()
		x.feeds[shard] = max(x.feeds[shard], run[n-1].Feed)
		x.mu.Unlock()
		run = run[n:]
	}
	return nil
}

// fill folds what the feed left out: what a log shares with the one that it
// continues, or what a follower held back.
func (x *Index) fill(ctx context.Context, l *logIndex, upTo uint64) error {
	for r, err := range x.opts.Prefix(ctx, l.id, l.applied, upTo) {
		if err != nil {
			return err
		}
		if r.Position > upTo {
			break
		}
		x.fold(l, []eventstore.Record{r})
		if l.head.count() >= x.opts.HeadRows {
			if err := x.seal(l); err != nil {
				return err
			}
		}
	}
	// The feed does not bring these records again: they must not wait in a head.
	return x.seal(l)
}

// fold applies records of one log at once.
func (x *Index) fold(l *logIndex, run []eventstore.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.head.bytes
	for i := range run {
		l.fold(&run[i])
	}
	l.bytes.Add(l.head.bytes - before)
}

// fold applies one record; l.mu is held.
func (l *logIndex) fold(r *eventstore.Record) {
	if r.Position <= l.applied {
		return
	}
	l.applied = r.Position
	switch r.Type {
	case "document.written", "document.deleted", "collection.deleted":
	default:
		return
	}
	e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
	if err != nil {
		l.head.skipped++
	}
	id, isDocument := strings.CutPrefix(r.Stream, domain.DocumentStream(""))
	if isDocument {
		l.end(id, r.Position)
	}
	if err != nil || len(r.Data) == 0 { // erased: there is nothing left to find
		return
	}
	switch e := e.(type) {
	case *domain.DocumentWritten:
		if e.DocumentID == "" {
			e.DocumentID = id
		}
		if e.DocumentID != id {
			l.end(e.DocumentID, r.Position)
		}
		if list := l.deleted[e.CollectionID]; len(list) > 0 && list[len(list)-1].Version > e.ConfigVersion {
			return // void: its collection was deleted meanwhile
		}
		l.add(r, &e.Document)
	case *domain.DocumentDeleted:
		if e.DocumentID != "" && e.DocumentID != id {
			l.end(e.DocumentID, r.Position)
		}
	case *domain.CollectionDeleted:
		l.deleted[e.CollectionID] = append(l.deleted[e.CollectionID], deletion{r.Version, r.Position})
		for _, p := range l.parts() {
			p.endCollection(e.CollectionID, r.Position)
		}
	}
}

// end ends the version of a document that holds, if there is one.
func (l *logIndex) end(id string, position uint64) {
	if l.head.end(id, position) {
		return
	}
	for _, s := range l.segments {
		if s.end(id, position) {
			return
		}
	}
}

func (l *logIndex) parts() []part {
	parts := make([]part, 0, len(l.segments)+1)
	for _, s := range l.segments {
		parts = append(parts, s)
	}
	return append(parts, l.head.snapshot())
}

func (l *logIndex) add(r *eventstore.Record, d *domain.Document) {
	row := &headRow{id: d.DocumentID, collection: d.CollectionID, from: r.Position, feed: r.Feed, fields: vector.Fields(*d)}
	row.to.Store(forever)
	var features []domain.Feature
	for _, a := range r.Attachments {
		f, err := domain.DecodeFeature(a.Name, a.Bytes)
		if err != nil {
			if strings.HasPrefix(a.Name, "mixpeek://") || declared(d, a.Name) {
				l.head.skipped++
			}
			continue // an attachment need not be a feature
		}
		features = append(features, f)
	}
	l.head.add(row, features, len(r.Data))
}

func declared(d *domain.Document, uri string) bool {
	for _, f := range d.Features {
		if f.URI == uri {
			return true
		}
	}
	return false
}

var errClosed = errors.New("the index is closed")
