package embedded

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"
)

// readDense finds the dense features in the file.
func (s *segment) readDense(r *sectionReader) {
	s.vectors = map[string][]denseBlock{}
	for i, m := range s.meta.Dense {
		prefix := fmt.Sprintf("d%d.", i)
		if m.Dims < 0 || m.Dims > 1<<20 || m.Entries <= 0 || m.Entries > s.n {
			r.fail("dense feature %s has %d dimensions and %d entries", m.URI, m.Dims, m.Entries)
			return
		}
		n, dims := uint64(m.Entries), uint64(m.Dims)
		b := denseBlock{dims: m.Dims, n: m.Entries, zeros: m.Zeros}
		if m.Entries < s.n {
			b.of = numbers[uint32](r, prefix+"of", n)
			for j, row := range b.of {
				if int(row) >= s.n || j > 0 && row <= b.of[j-1] {
					r.fail("section %sof is not ascending", prefix)
				}
			}
		}
		b.vectors = exactly[float32](r, prefix+"vec", r.bulk(prefix+"vec"), n*dims)
		b.codes = exactly[int8](r, prefix+"code", r.bulk(prefix+"code"), n*uint64(strideOf(m.Dims)))
		b.norms = numbers[float64](r, prefix+"norm", n)
		b.scales, b.bounds = numbers[float32](r, prefix+"scale", n), numbers[float32](r, prefix+"bound", n)
		if r.err != nil {
			return
		}
		s.vectors[m.URI] = append(s.vectors[m.URI], b)
	}
}

// segmentSparse is a sparse feature in a segment.
type segmentSparse struct {
	meta     sparseMeta
	byRow    []uint32 // see sparseBlock.lengths
	termAt   []uint32
	termText []byte
	postAt   []uint64
	counts   []uint32 // documents, by term
	post     []byte
}

func (s *segment) readSparse(r *sectionReader) {
	s.texts = map[string]*segmentSparse{}
	for i, m := range s.meta.Sparse {
		prefix := fmt.Sprintf("s%d.", i)
		if m.Terms < 0 || m.Terms > math.MaxInt32 {
			r.fail("sparse feature %s has %d terms", m.URI, m.Terms)
			return
		}
		n := uint64(m.Terms)
		t := &segmentSparse{meta: m, byRow: numbers[uint32](r, prefix+"len", uint64(s.n)), termText: r.bytes(prefix + "term.text"), post: r.bulk(prefix + "post")}
		t.termAt = offsets[uint32](r, prefix+"term.at", n, uint64(len(t.termText)))
		t.postAt = offsets[uint64](r, prefix+"post.at", n, uint64(len(t.post)))
		t.counts = numbers[uint32](r, prefix+"post.n", n)
		for _, c := range t.counts {
			if int(c) > s.n {
				r.fail("a term of %s has more documents than there are", m.URI)
			}
		}
		if r.err != nil {
			return
		}
		s.texts[m.URI] = t
	}
}

func (t *segmentSparse) term(i int) string { return text(t.termText[t.termAt[i]:t.termAt[i+1]]) }

func (t *segmentSparse) terms() []string {
	all := make([]string, len(t.counts))
	for i := range all {
		all[i] = t.term(i)
	}
	return all
}

func (t *segmentSparse) lengths() []uint32 { return t.byRow }

func (t *segmentSparse) statistics(rows *roaring.Bitmap) (documents, length uint64) {
	n := len(t.byRow)
	if int(rows.GetCardinality()) == n {
		return t.meta.Documents, t.meta.Length
	}
	has := flat(rows, n)
	for row, l := range t.byRow {
		if l != 0 && has[row>>6]>>(row&63)&1 != 0 {
			documents++
			length += uint64(l - 1)
		}
	}
	return documents, length
}

// postings decodes; a damaged list ends where it makes no sense any more.
func (t *segmentSparse) postings(term string, buffer *[]posting) []posting {
	i := sort.Search(len(t.counts), func(i int) bool { return t.term(i) >= term })
	if i == len(t.counts) || t.term(i) != term {
		return nil
	}
	code := t.post[t.postAt[i]:t.postAt[i+1]]
	list := slices.Grow((*buffer)[:0], int(t.counts[i]))
	next, n := uint64(0), uint64(len(t.byRow))
	for range t.counts[i] {
		var row, count uint64
		if len(code) >= 2 && code[0] < 0x80 && code[1] < 0x80 {
			row, count = uint64(code[0]), uint64(code[1])
			code = code[2:]
		} else {
			var used, more int
			row, used = binary.Uvarint(code)
			if used <= 0 {
				break
			}
			count, more = binary.Uvarint(code[used:])
			if more <= 0 {
				break
			}
			code = code[used+more:]
		}
		if row >= n || next+row >= n || count == 0 || count > math.MaxUint32 {
			break
		}
		row += next
		list = append(list, posting{uint32(row), uint32(count)})
		next = row + 1
	}
	*buffer = list
	return list
}
