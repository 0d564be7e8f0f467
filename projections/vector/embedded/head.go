package embedded

import (
	"maps"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
	"varve/projections/vector"
)

var serials atomic.Uint64

// head takes a log's new rows until they become a segment. Everything in it is
// only appended to, so that a snapshot is a length.
type head struct {
	name    uint64
	bytes   int64
	skipped uint64 // records and features that could not be decoded
	ended   int    // rows that ended

	mu     sync.RWMutex
	all    []*headRow
	byID   map[string][]uint32
	vecs   map[string][]*headDense
	sparse map[string]*headSparse

	conditions conditionMemory
}

type headRow struct {
	id, collection string
	from, feed     uint64
	to             atomic.Uint64
	fields         map[string]any
}

type headDense struct {
	dims    int
	of      []uint32
	vectors []float32
	norms   []float64
	codes   []int8
	scales  []float32
	bounds  []float32
	zeros   bool
}

type headSparse struct {
	byRow []uint32 // see sparseBlock.lengths
	lists map[string][]posting
}

func newHead() *head {
	return &head{name: serials.Add(1), byID: map[string][]uint32{}, vecs: map[string][]*headDense{}, sparse: map[string]*headSparse{}}
}

// add takes a row with its features; size is that of its data as JSON.
func (h *head) add(row *headRow, features []domain.Feature, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := uint32(len(h.all))
	h.all = append(h.all, row)
	h.byID[row.id] = append(h.byID[row.id], n)
	h.bytes += 512 + 3*int64(size) // decoded values take more room than their text
	for _, f := range features {
		if f.Dense != nil {
			h.addDense(n, f)
		} else {
			h.addSparse(n, f)
		}
	}
}

func (h *head) addDense(row uint32, f domain.Feature) {
	var b *headDense
	for _, c := range h.vecs[f.URI] {
		if c.dims == len(f.Dense) {
			b = c
		}
	}
	if b == nil {
		b = &headDense{dims: len(f.Dense)}
		h.vecs[f.URI] = append(h.vecs[f.URI], b)
	}
	b.of = append(b.of, row)
	b.vectors = append(b.vectors, f.Dense...)
	norm := vector.Norm(f.Dense)
	codes, scale, bound := quantize(b.codes, f.Dense, norm)
	b.norms, b.codes, b.scales, b.bounds = append(b.norms, norm), codes, append(b.scales, scale), append(b.bounds, bound)
	b.zeros = b.zeros || norm == 0
	h.bytes += int64(5*len(f.Dense) + 24)
}

func (h *head) addSparse(row uint32, f domain.Feature) {
	s := h.sparse[f.URI]
	if s == nil {
		s = &headSparse{lists: map[string][]posting{}}
		h.sparse[f.URI] = s
	}
	for uint32(len(s.byRow)) < row {
		s.byRow = append(s.byRow, 0)
	}
	s.byRow = append(s.byRow, min(f.Length, math.MaxUint32-1)+1)
	for _, t := range f.Terms {
		if t.Count == 0 {
			continue
		}
		s.lists[t.Term] = append(s.lists[t.Term], posting{row, t.Count})
	}
	h.bytes += int64(24 * len(f.Terms))
}

// end ends the row of a document that holds.
func (h *head) end(id string, position uint64) bool {
	rows := h.byID[id]
	if len(rows) == 0 {
		return false
	}
	ended := h.all[rows[len(rows)-1]].to.CompareAndSwap(forever, position)
	if ended {
		h.ended++
	}
	return ended
}

func (h *head) count() int { return len(h.all) }

// first is the oldest row, nil where there is none.
func (h *head) first() *headRow {
	if len(h.all) == 0 {
		return nil
	}
	return h.all[0]
}

func (h *head) snapshot() *headView {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return &headView{head: h, all: h.all[:len(h.all):len(h.all)]}
}

// headView is the head as far as it was filled.
type headView struct {
	head *head
	all  []*headRow
}

func (v *headView) serial() uint64               { return v.head.name }
func (v *headView) rows() int                    { return len(v.all) }
func (v *headView) id(row uint32) string         { return v.all[row].id }
func (v *headView) collection(row uint32) string { return v.all[row].collection }
func (v *headView) span(row uint32) (from, to uint64) {
	return v.all[row].from, v.all[row].to.Load()
}
func (v *headView) fields(row uint32) map[string]any { return v.all[row].fields }
func (v *headView) raw(row uint32) []byte            { return domain.EncodeValue(v.all[row].fields) }

func (v *headView) find(id string, position uint64) (uint32, bool) {
	v.head.mu.RLock()
	rows := v.head.byID[id]
	v.head.mu.RUnlock()
	for _, row := range rows {
		if int(row) >= len(v.all) {
			break
		}
		if from, to := v.span(row); from <= position && position < to {
			return row, true
		}
	}
	return 0, false
}

func (v *headView) valid(collections map[string]bool, position uint64) *roaring.Bitmap {
	rows := make([]uint32, 0, len(v.all))
	for i, r := range v.all {
		if r.from <= position && position < r.to.Load() && (collections == nil || collections[r.collection]) {
			rows = append(rows, uint32(i))
		}
	}
	return roaring.BitmapOf(rows...)
}

func (v *headView) matching(c *domain.Condition) (*roaring.Bitmap, bool) {
	return v.head.conditions.matching(c, v.all), true
}

func (v *headView) after(rows *roaring.Bitmap, id string, n int) []uint32 {
	var list []uint32
	for it := rows.Iterator(); it.HasNext(); {
		if row := it.Next(); v.all[row].id > id {
			list = append(list, row)
		}
	}
	sort.Slice(list, func(i, j int) bool { return v.all[list[i]].id < v.all[list[j]].id })
	return list[:min(n, len(list))]
}

func (v *headView) endCollection(id string, position uint64) {
	for _, r := range v.all {
		if r.collection == id && r.to.CompareAndSwap(forever, position) {
			v.head.ended++
		}
	}
}

func (v *headView) features() (dense, sparse []string) {
	v.head.mu.RLock()
	defer v.head.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.head.vecs)), slices.Sorted(maps.Keys(v.head.sparse))
}

func (v *headView) dense(uri string) []denseBlock {
	v.head.mu.RLock()
	defer v.head.mu.RUnlock()
	blocks := make([]denseBlock, 0, 1)
	for _, b := range v.head.vecs[uri] {
		n := sort.Search(len(b.of), func(i int) bool { return int(b.of[i]) >= len(v.all) })
		if n > 0 {
			blocks = append(blocks, denseBlock{dims: b.dims, of: b.of[:n], n: n, vectors: b.vectors[:n*b.dims], norms: b.norms[:n],
				codes: b.codes[:n*strideOf(b.dims)], scales: b.scales[:n], bounds: b.bounds[:n], zeros: b.zeros})
		}
	}
	return blocks
}

func (v *headView) sparse(uri string) sparseBlock {
	v.head.mu.RLock()
	defer v.head.mu.RUnlock()
	s := v.head.sparse[uri]
	if s == nil {
		return nil
	}
	return &headSparseView{view: v, block: s, byRow: s.byRow[:min(len(s.byRow), len(v.all))]}
}

type headSparseView struct {
	view  *headView
	block *headSparse
	byRow []uint32
}

func (s *headSparseView) statistics(rows *roaring.Bitmap) (documents, length uint64) {
	for it := rows.Iterator(); it.HasNext(); {
		if row := int(it.Next()); row < len(s.byRow) && s.byRow[row] != 0 {
			documents++
			length += uint64(s.byRow[row] - 1)
		}
	}
	return documents, length
}

func (s *headSparseView) lengths() []uint32 { return s.byRow }

func (s *headSparseView) postings(term string, _ *[]posting) []posting {
	s.view.head.mu.RLock()
	list := s.block.lists[term]
	s.view.head.mu.RUnlock()
	return list[:sort.Search(len(list), func(i int) bool { return int(list[i].row) >= len(s.byRow) })]
}

func (s *headSparseView) terms() []string {
	s.view.head.mu.RLock()
	defer s.view.head.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.block.lists))
}
