package embedded

import (
	"hash/crc32"
	"math"
	"sort"
	"sync/atomic"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
)

// segment is an immutable piece of a log's index, read from a file's bytes. Only
// the ends of its rows change, and only from forever to a position.
type segment struct {
	name   uint64
	digest string
	data   []byte
	unmap  func()
	refs   atomic.Int64
	drop   func() // when the last reference is let go of

	meta     footer
	n        int
	idAt     []uint32
	idText   []byte
	place    []uint32 // of the collection
	from     []uint64
	rawAt    []uint64
	rawJSON  []byte
	vectors  map[string][]denseBlock
	texts    map[string]*segmentSparse
	columns  map[string]*segmentColumn
	complete map[string]bool // all fields that any row has; nil where that is not known

	ends  []uint64 // by row, atomic: 0 is forever
	ended atomic.Int64
}

var _ part = (*segment)(nil)

// readSegment checks the structure of a segment's bytes, which it keeps. The
// bytes must be aligned to 64. verify checks vectors and JSON as well; without it
// they are trusted to be what was written, and still can do no harm.
func readSegment(data []byte, verify bool) (*segment, error) {
	meta, err := readFooter(data)
	if err != nil {
		return nil, err
	}
	r := sectionReader{data: data, sections: meta.Sections, verify: verify}
	s := &segment{name: serials.Add(1), data: data, meta: meta, n: meta.Rows}
	if s.n <= 0 || s.n > math.MaxInt32 {
		return nil, torn("%d rows", meta.Rows)
	}
	n := uint64(s.n)
	s.idText, s.rawJSON = r.bytes("id.text"), r.bulk("raw.json")
	s.idAt, s.rawAt = offsets[uint32](&r, "id.at", n, uint64(len(s.idText))), offsets[uint64](&r, "raw.at", n, uint64(len(s.rawJSON)))
	s.place, s.from = numbers[uint32](&r, "coll", n), numbers[uint64](&r, "from", n)
	for _, c := range s.place {
		if int(c) >= len(meta.Collections) {
			return nil, torn("a collection that is not listed")
		}
	}
	s.readDense(&r)
	s.readSparse(&r)
	s.readColumns(&r)
	if r.err != nil {
		return nil, r.err
	}
	for row := 1; row < s.n; row++ {
		if a, b := s.id(uint32(row-1)), s.id(uint32(row)); a > b || a == b && s.from[row-1] >= s.from[row] {
			return nil, torn("rows are not in order")
		}
	}
	s.ends = make([]uint64, s.n)
	s.refs.Store(1)
	return s, nil
}

// sectionReader gives the sections of a file and keeps the first error.
type sectionReader struct {
	data     []byte
	sections map[string]section
	verify   bool
	err      error
}

func (r *sectionReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = torn(format, args...)
	}
}

// bulk gives a section that is checked only where everything is.
func (r *sectionReader) bulk(name string) []byte { return r.part(name, r.verify) }

func (r *sectionReader) bytes(name string) []byte { return r.part(name, true) }

func (r *sectionReader) part(name string, check bool) []byte {
	s, ok := r.sections[name]
	switch {
	case !ok:
		r.fail("section %s is missing", name)
		return nil
	case s.Offset%sectionAlign != 0 || s.Offset > uint64(len(r.data)) || s.Length > uint64(len(r.data))-s.Offset:
		r.fail("section %s lies outside of the file", name)
		return nil
	}
	b := r.data[s.Offset : s.Offset+s.Length : s.Offset+s.Length]
	if check && crc32.Checksum(b, castagnoli) != s.CRC {
		r.fail("the checksum of section %s does not fit", name)
		return nil
	}
	return b
}

// numbers gives a section of exactly n numbers.
func numbers[T uint16 | uint32 | uint64 | int8 | float32 | float64](r *sectionReader, name string, n uint64) []T {
	return exactly[T](r, name, r.bytes(name), n)
}

func exactly[T uint16 | uint32 | uint64 | int8 | float32 | float64](r *sectionReader, name string, b []byte, n uint64) []T {
	var zero T
	size := uint64(unsafe.Sizeof(zero))
	if r.err == nil && (n > math.MaxInt64/size || uint64(len(b)) != n*size) {
		r.fail("section %s has not %d entries", name, n)
	}
	if r.err != nil {
		return nil
	}
	return cast[T](b)
}

// offsets gives n+1 ascending places in a section of the given length.
func offsets[T uint32 | uint64](r *sectionReader, name string, n, length uint64) []T {
	at := numbers[T](r, name, n+1)
	if r.err != nil {
		return nil
	}
	if at[0] != 0 || uint64(at[n]) != length {
		r.fail("section %s does not span its text", name)
		return nil
	}
	for i := uint64(0); i < n; i++ {
		if at[i] > at[i+1] {
			r.fail("section %s is not ascending", name)
			return nil
		}
	}
	return at
}

func (s *segment) hold() { s.refs.Add(1) }

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		if s.drop != nil {
			s.drop()
		}
		if s.unmap != nil {
			s.unmap()
		}
	}
}

// heap is about what the segment takes beside its mapping: the ends of its rows, its
// decoded footer, and the columns and features that point into the mapping.
func (s *segment) heap() int64 {
	pieces := len(s.meta.Sections) + len(s.meta.Dense) + len(s.meta.Sparse) + len(s.meta.Columns) + len(s.meta.Collections) + len(s.meta.Fields)
	return 8*int64(s.n) + 160*int64(pieces) + 1024
}

func (s *segment) serial() uint64 { return s.name }
func (s *segment) rows() int      { return s.n }

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// id is valid as long as the segment is held.
func (s *segment) id(row uint32) string         { return text(s.idText[s.idAt[row]:s.idAt[row+1]]) }
func (s *segment) collection(row uint32) string { return s.meta.Collections[s.place[row]] }

func (s *segment) span(row uint32) (from, to uint64) {
	if to = atomic.LoadUint64(&s.ends[row]); to == 0 {
		to = forever
	}
	return s.from[row], to
}

func (s *segment) raw(row uint32) []byte { return s.rawJSON[s.rawAt[row]:s.rawAt[row+1]] }

func (s *segment) fields(row uint32) map[string]any {
	doc := map[string]any{}
	splitObject(s.raw(row), func(name string, value []byte) {
		if v, err := domain.DecodeValue(value); err == nil {
			doc[name] = v
		}
	})
	return doc
}

// first gives the first row whose id is not less.
func (s *segment) first(id string) uint32 {
	return uint32(sort.Search(s.n, func(i int) bool { return s.id(uint32(i)) >= id }))
}

func (s *segment) find(id string, position uint64) (uint32, bool) {
	for row := s.first(id); int(row) < s.n && s.id(row) == id; row++ {
		if from, to := s.span(row); from <= position && position < to {
			return row, true
		}
	}
	return 0, false
}

// end ends the row of a document that holds.
func (s *segment) end(id string, position uint64) bool {
	for row := s.first(id); int(row) < s.n && s.id(row) == id; row++ {
		if atomic.LoadUint64(&s.ends[row]) == 0 {
			s.endRow(row, position)
			return true
		}
	}
	return false
}

func (s *segment) endRow(row uint32, position uint64) {
	if atomic.CompareAndSwapUint64(&s.ends[row], 0, position) {
		s.ended.Add(1)
	}
}

func (s *segment) endCollection(id string, position uint64) {
	for place, name := range s.meta.Collections {
		if name != id {
			continue
		}
		for row, c := range s.place {
			if int(c) == place {
				s.endRow(uint32(row), position)
			}
		}
	}
}

func (s *segment) valid(collections map[string]bool, position uint64) *roaring.Bitmap {
	wanted, all := make([]bool, len(s.meta.Collections)), true
	for i, name := range s.meta.Collections {
		wanted[i] = collections == nil || collections[name]
		all = all && wanted[i]
	}
	if all && position >= s.meta.Last && s.ended.Load() == 0 {
		rows := roaring.New()
		rows.AddRange(0, uint64(s.n))
		return rows
	}
	w := make(words, (s.n+63)/64)
	for row, from := range s.from {
		to := atomic.LoadUint64(&s.ends[row])
		if from <= position && (to == 0 || position < to) && wanted[s.place[row]] {
			w[row>>6] |= 1 << (row & 63)
		}
	}
	return roaring.FromDense(w, true)
}

func (s *segment) after(rows *roaring.Bitmap, id string, n int) []uint32 {
	it := rows.Iterator()
	start := s.first(id)
	for int(start) < s.n && s.id(start) == id {
		start++
	}
	it.AdvanceIfNeeded(start)
	var list []uint32
	for it.HasNext() && len(list) < n {
		list = append(list, it.Next())
	}
	return list
}

func (s *segment) features() (dense, sparse []string) {
	for _, d := range s.meta.Dense {
		dense = append(dense, d.URI)
	}
	for _, t := range s.meta.Sparse {
		sparse = append(sparse, t.URI)
	}
	return dense, sparse
}

func (s *segment) dense(uri string) []denseBlock { return s.vectors[uri] }

func (s *segment) sparse(uri string) sparseBlock {
	if t := s.texts[uri]; t != nil {
		return t
	}
	return nil
}
