package embedded

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// view is an Index's log as of a position.
type view struct {
	index    *Index
	log      eventstore.LogID
	position uint64
	parts    []part
	segments []*segment
	of       *logIndex // nil where there is nothing
	close    sync.Once
}

// Segments lists the digests of the segments that the view reads, in order.
func (v *view) Segments() []string {
	digests := make([]string, 0, len(v.segments))
	for _, s := range v.segments {
		digests = append(digests, s.digest)
	}
	slices.Sort(digests)
	return digests
}

// Close lets go of the segments. The view must not be used afterwards; closing
// twice changes nothing.
func (v *view) Close() {
	v.close.Do(func() {
		for _, s := range v.segments {
			s.release()
		}
		if v.of != nil && v.of.use(-1) == 0 && v.index.crowded.Load() {
			v.index.shrinkSoon()
		}
	})
}

// Vector gives a copy of the document's feature.
func (v *view) Vector(ctx context.Context, documentID, uri string) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, p := range v.parts {
		row, ok := p.find(documentID, v.position)
		if !ok {
			continue
		}
		for _, b := range p.dense(uri) {
			if entry, ok := b.entry(row); ok {
				return slices.Clone(b.vector(entry)), nil
			}
		}
		return nil, nil
	}
	return nil, nil
}

// Allow selects documents; see vector.View.
func (v *view) Allow(ctx context.Context, collections []string, filter *domain.Filter) (vector.Set, error) {
	s := &set{view: v, base: make([]*roaring.Bitmap, len(v.parts)), rows: make([]*roaring.Bitmap, len(v.parts))}
	var of map[string]bool
	if len(collections) > 0 {
		sorted := slices.Compact(slices.Sorted(slices.Values(collections)))
		s.collections = "c" + strings.Join(sorted, "\x00")
		of = make(map[string]bool, len(sorted))
		for _, id := range sorted {
			of[id] = true
		}
	}
	canonical := ""
	if filter != nil {
		canonical = filter.String()
	}
	for i, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		base := v.remember(p, "v"+s.collections, func() *roaring.Bitmap { return p.valid(of, v.position) })
		allowed := base
		if filter != nil {
			allowed = v.remember(p, "f"+s.collections+"\x00\x00"+canonical, func() *roaring.Bitmap {
				return selector{v.index.cache, p}.match(filter, base)
			})
		}
		s.base[i], s.rows[i] = base, allowed
		s.n += int(allowed.GetCardinality())
		s.candidates += int(base.GetCardinality())
	}
	return s, nil
}

func (v *view) remember(p part, what string, compute func() *roaring.Bitmap) *roaring.Bitmap {
	key := cacheKey{p.serial(), v.position, what}
	if found, ok := v.index.cache.lookup(key); ok {
		return found.(*roaring.Bitmap)
	}
	rows := compute()
	v.index.cache.store(key, rows, int64(rows.GetSizeInBytes()))
	return rows
}

// set is a selection of rows of a view's parts. Bitmaps are shared with the
// cache and never changed.
type set struct {
	view          *view
	collections   string            // canonical, for the cache
	base          []*roaring.Bitmap // by part: valid rows of the collections
	rows          []*roaring.Bitmap // by part: those that match the filter
	n, candidates int
}

// Len counts the documents.
func (s *set) Len() int { return s.n }

// Candidates counts the documents before the filter.
func (s *set) Candidates() int { return s.candidates }

// Contains says whether a document is selected.
func (s *set) Contains(documentID string) bool {
	for i, p := range s.view.parts {
		if row, ok := p.find(documentID, s.view.position); ok {
			return s.rows[i].Contains(row)
		}
	}
	return false
}

// All gives a page of the documents by id, with score 0.
func (s *set) All(after string, n int) []vector.Hit {
	if n <= 0 {
		return nil
	}
	var hits []vector.Hit
	for i, p := range s.view.parts {
		for _, row := range p.after(s.rows[i], after, n) {
			hits = append(hits, hit(p, row, 0))
		}
	}
	slices.SortFunc(hits, func(a, b vector.Hit) int { return strings.Compare(a.ID, b.ID) })
	return hits[:min(n, len(hits))]
}

func hit(p part, row uint32, score float32) vector.Hit {
	from, _ := p.span(row)
	return vector.Hit{ID: strings.Clone(p.id(row)), Collection: strings.Clone(p.collection(row)), Position: from, Score: score}
}
