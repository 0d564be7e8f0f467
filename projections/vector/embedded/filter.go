package embedded

import (
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
)

// selector evaluates filters over one part, with the meaning of
// domain.Filter.Match: conditions by the part's columns where it has them, by the
// fields of the rows that are still in question otherwise.
type selector struct {
	cache *cache
	part  part
}

// match gives the rows of within that match. It never changes within, and may
// give it back.
func (s selector) match(f *domain.Filter, within *roaring.Bitmap) *roaring.Bitmap {
	if f == nil || within.IsEmpty() {
		return within
	}
	if f.Condition != nil {
		if len(f.And)+len(f.Or)+len(f.Not) > 0 {
			return roaring.New()
		}
		return s.condition(f.Condition, within)
	}
	if len(f.And)+len(f.Or)+len(f.Not) == 0 {
		return roaring.New()
	}
	rows := within
	var late []*domain.Filter // need fields: last, on the fewest rows
	for _, g := range f.And {
		if !s.columnar(g) {
			late = append(late, g)
			continue
		}
		rows = s.match(g, rows)
	}
	for _, g := range f.Not {
		if g.Pending() {
			return roaring.New()
		}
		rows = roaring.AndNot(rows, s.match(g, rows))
	}
	for _, g := range late {
		rows = s.match(g, rows)
	}
	if len(f.Or) == 0 {
		return rows
	}
	found, rest := roaring.New(), rows
	for _, g := range f.Or {
		m := s.match(g, rest)
		found.Or(m)
		rest = roaring.AndNot(rest, m)
	}
	return found
}

// columnar says whether columns alone decide the filter.
func (s selector) columnar(f *domain.Filter) bool {
	all := true
	f.Conditions(func(c *domain.Condition) {
		if all {
			_, all = s.column(c)
		}
	})
	return all
}

// column gives all rows for which the condition holds, from the cache where it
// was asked before: it does not depend on the position.
func (s selector) column(c *domain.Condition) (*roaring.Bitmap, bool) {
	if head, ok := s.part.(*headView); ok { // grows, and remembers by itself
		return head.matching(c)
	}
	key := cacheKey{part: s.part.serial(), what: "=" + (&domain.Filter{Condition: c}).String()}
	if found, ok := s.cache.lookup(key); ok {
		rows := found.(*roaring.Bitmap)
		return rows, rows != nil
	}
	rows, ok := s.part.matching(c)
	if !ok {
		return nil, false
	}
	s.cache.store(key, rows, int64(rows.GetSizeInBytes()))
	return rows, true
}

func (s selector) condition(c *domain.Condition, within *roaring.Bitmap) *roaring.Bitmap {
	if rows, ok := s.column(c); ok {
		return roaring.And(rows, within)
	}
	f := &domain.Filter{Condition: c}
	var rows []uint32
	for it := within.Iterator(); it.HasNext(); {
		if row := it.Next(); f.Match(s.part.fields(row)) {
			rows = append(rows, row)
		}
	}
	return roaring.BitmapOf(rows...)
}

// conditionMemory remembers for which of a head's rows conditions hold, so that
// each row is looked at once per condition.
type conditionMemory struct {
	mu  sync.Mutex
	all map[string]remembered
}

type remembered struct {
	rows *roaring.Bitmap
	upTo int // how many rows were looked at
}

const maxConditions = 64

func (m *conditionMemory) matching(c *domain.Condition, all []*headRow) *roaring.Bitmap {
	f := &domain.Filter{Condition: c}
	key := f.String()
	m.mu.Lock()
	known := m.all[key]
	m.mu.Unlock()
	if known.upTo >= len(all) {
		return known.rows
	}
	next := remembered{roaring.New(), len(all)}
	if known.rows != nil {
		next.rows = known.rows.Clone()
	}
	for row := known.upTo; row < len(all); row++ {
		if f.Match(all[row].fields) {
			next.rows.Add(uint32(row))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= maxConditions {
		m.all = map[string]remembered{}
	}
	if next.upTo > m.all[key].upTo {
		m.all[key] = next
	}
	return next.rows
}
