package embedded

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
)

// segmentColumn has the values of one field: each value once, and by row which.
type segmentColumn struct {
	meta   columnMeta
	at     []uint32
	json   []byte
	narrow []byte
	middle []uint16
	wide   []uint32
}

func (s *segment) readColumns(r *sectionReader) {
	s.columns = map[string]*segmentColumn{}
	if s.meta.Complete {
		s.complete = map[string]bool{}
		for _, name := range s.meta.Fields {
			s.complete[name] = true
		}
	}
	for i, m := range s.meta.Columns {
		prefix := fmt.Sprintf("c%d.", i)
		if m.Values < 0 || m.Values > math.MaxInt32 || m.Numbers < 0 || m.Numbers > m.Values {
			r.fail("column %s has %d values and %d numbers", m.Field, m.Values, m.Numbers)
			return
		}
		c := &segmentColumn{meta: m, json: r.bytes(prefix + "val.json")}
		c.at = offsets[uint32](r, prefix+"val.at", uint64(m.Values), uint64(len(c.json)))
		code := r.bytes(prefix + "code")
		n := uint64(s.n)
		switch m.Width {
		case 1:
			if c.narrow = code; uint64(len(code)) != n {
				r.fail("section %scode has not %d entries", prefix, n)
			}
		case 2:
			c.middle = exactly[uint16](r, prefix+"code", code, n)
		case 4:
			c.wide = exactly[uint32](r, prefix+"code", code, n)
		default:
			r.fail("column %s has codes of %d bytes", m.Field, m.Width)
		}
		if r.err != nil {
			return
		}
		for row := range s.n {
			if int(c.code(row)) > m.Values {
				r.fail("column %s has a code without value", m.Field)
				return
			}
		}
		s.columns[m.Field] = c
	}
}

func (c *segmentColumn) code(row int) uint32 {
	switch c.meta.Width {
	case 1:
		return uint32(c.narrow[row])
	case 2:
		return uint32(c.middle[row])
	}
	return c.wide[row]
}

func (c *segmentColumn) value(i int) any {
	v, _ := domain.DecodeValue(c.json[c.at[i]:c.at[i+1]])
	return v
}

// rootField is the member of a document at which a path begins; ok is false for
// paths of which only the domain knows.
func rootField(path string) (name string, ok bool) {
	if i := strings.IndexAny(path, `.["`); i >= 0 {
		return path[:i], i > 0 && path[i] != '"'
	}
	return path, path != ""
}

// matching evaluates the condition on each value that its field has in the
// segment, once: what a condition says of a document depends on the member at
// which its path begins and on nothing else.
func (s *segment) matching(c *domain.Condition) (*roaring.Bitmap, bool) {
	name, ok := rootField(c.Field)
	if !ok {
		return nil, false
	}
	f := &domain.Filter{Condition: c}
	match := func(v any) bool { return f.Match(map[string]any{name: v}) }
	w := make(words, (s.n+63)/64)
	switch column := s.columns[name]; {
	case name == "document_id":
		for row, held := uint32(0), false; int(row) < s.n; row++ {
			if id := s.id(row); row == 0 || id != s.id(row-1) {
				held = s.match(f, name, id)
			}
			if held {
				w[row>>6] |= 1 << (row & 63)
			}
		}
	case name == "collection_id":
		held := make([]bool, len(s.meta.Collections))
		for i, id := range s.meta.Collections {
			held[i] = s.match(f, name, id)
		}
		for row, place := range s.place {
			if held[place] {
				w[row>>6] |= 1 << (row & 63)
			}
		}
	case column != nil:
		held := make([]byte, column.meta.Values+1)
		if f.Match(map[string]any{}) {
			held[0] = 1
		}
		column.matching(c, match, held[1:])
		column.spread(held, w)
	case s.complete != nil && !s.complete[name]:
		rows := roaring.New()
		if f.Match(map[string]any{}) {
			rows.AddRange(0, uint64(s.n))
		}
		return rows, true
	default:
		return nil, false
	}
	return roaring.FromDense(w, true), true
}

// match is for ids, which a document without them has not.
func (s *segment) match(f *domain.Filter, name, id string) bool {
	if id == "" {
		return f.Match(map[string]any{})
	}
	return f.Match(map[string]any{name: id})
}

// matching marks the values for which the condition holds.
func (c *segmentColumn) matching(condition *domain.Condition, match func(any) bool, held []byte) {
	numbers := c.meta.Numbers
	if numbers > 16 && isNumber(condition.Value) {
		holds := func(i int) bool { return match(c.value(i)) }
		// Numbers are in order, so those that match an order are one end of them.
		switch condition.Op {
		case domain.OpGt, domain.OpGte:
			for i := sort.Search(numbers, holds); i < numbers; i++ {
				held[i] = 1
			}
			c.each(numbers, match, held)
			return
		case domain.OpLt, domain.OpLte:
			for i := range sort.Search(numbers, func(i int) bool { return !holds(i) }) {
				held[i] = 1
			}
			c.each(numbers, match, held)
			return
		case domain.OpEq:
			for i := sort.Search(numbers, func(i int) bool {
				order, _ := domain.CompareValues(c.value(i), condition.Value)
				return order >= 0
			}); i < numbers && holds(i); i++ {
				held[i] = 1
			}
			c.each(numbers, match, held)
			return
		}
	}
	c.each(0, match, held)
}

func (c *segmentColumn) each(from int, match func(any) bool, held []byte) {
	for i := from; i < len(held); i++ {
		if match(c.value(i)) {
			held[i] = 1
		}
	}
}

// spread sets the bits of the rows whose value is held.
func (c *segmentColumn) spread(held []byte, w words) {
	switch c.meta.Width {
	case 1:
		spread(c.narrow, held, w)
	case 2:
		spread(c.middle, held, w)
	default:
		spread(c.wide, held, w)
	}
}

func spread[T byte | uint16 | uint32](codes []T, held []byte, w words) {
	for start := 0; start < len(codes); start += 64 {
		var set uint64
		for i, code := range codes[start:min(start+64, len(codes))] {
			set |= uint64(held[code]) << i
		}
		w[start>>6] = set
	}
}
