package embedded

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
)

// origin is a row of the parts that a segment is built of.
type origin struct {
	part int
	row  uint32
}

// builder writes a segment: the head as a segment, or several segments as one.
type builder struct {
	*sectionWriter
	parts []part
	skip  map[uint64]bool // positions whose rows are left out
	rows  []origin        // in the order of the segment
	to    [][]uint32      // by part and row: the row in the segment, or gone
	meta  footer
}

// gone is the place of a row that was left out.
const gone = math.MaxUint32

// buildSegment writes the rows of the parts, but for those that hold from a
// position in skip, and gives the segment's digest and by part and row the row in
// the segment.
func buildSegment(ctx context.Context, w io.Writer, parts []part, skip map[uint64]bool) (digest string, to [][]uint32, err error) {
	b := builder{sectionWriter: newSectionWriter(untilDone{ctx, w}), parts: parts, skip: skip}
	b.arrange()
	b.identities()
	b.fields()
	b.denseFeatures()
	b.sparseFeatures()
	digest, err = b.finish(&b.meta)
	return digest, b.to, wrap("write a segment", err)
}

// arrange orders the rows.
func (b *builder) arrange() {
	n := 0
	for _, p := range b.parts {
		n += p.rows()
	}
	b.rows = make([]origin, 0, n)
	for i, p := range b.parts {
		for row := range uint32(p.rows()) {
			if from, _ := p.span(row); !b.skip[from] {
				b.rows = append(b.rows, origin{i, row})
			}
		}
	}
	slices.SortFunc(b.rows, func(x, y origin) int {
		p, q := b.parts[x.part], b.parts[y.part]
		if c := strings.Compare(p.id(x.row), q.id(y.row)); c != 0 {
			return c
		}
		from, _ := p.span(x.row)
		other, _ := q.span(y.row)
		return cmp.Compare(from, other)
	})
	b.to = make([][]uint32, len(b.parts))
	for i, p := range b.parts {
		b.to[i] = slices.Repeat([]uint32{gone}, p.rows())
	}
	for row, o := range b.rows {
		b.to[o.part][o.row] = uint32(row)
	}
	b.meta = footer{Rows: len(b.rows)}
}

// identities writes ids, collections and positions.
func (b *builder) identities() {
	at := make([]uint32, 1, len(b.rows)+1)
	b.begin("id.text")
	for _, o := range b.rows {
		id := b.parts[o.part].id(o.row)
		b.writeString(id)
		at = append(at, at[len(at)-1]+uint32(len(id)))
	}
	b.section("id.at", bytesOf(at))
	place := map[string]uint32{}
	collections, from := make([]uint32, len(b.rows)), make([]uint64, len(b.rows))
	b.meta.First = forever
	for i, o := range b.rows {
		name := b.parts[o.part].collection(o.row)
		c, known := place[name]
		if !known {
			c = uint32(len(place))
			name = strings.Clone(name)
			place[name] = c
			b.meta.Collections = append(b.meta.Collections, name)
		}
		collections[i] = c
		from[i], _ = b.parts[o.part].span(o.row)
		b.meta.First, b.meta.Last = min(b.meta.First, from[i]), max(b.meta.Last, from[i])
	}
	b.section("coll", bytesOf(collections))
	b.section("from", bytesOf(from))
}

// denseFeatures copies vectors with their codes.
func (b *builder) denseFeatures() {
	for _, uri := range b.uris(func(p part) []string { dense, _ := p.features(); return dense }) {
		blocks := make([]map[int]denseBlock, len(b.parts)) // by part and dimension
		var dims []int
		for i, p := range b.parts {
			blocks[i] = map[int]denseBlock{}
			for _, block := range p.dense(uri) {
				blocks[i][block.dims] = block
				dims = append(dims, block.dims)
			}
		}
		slices.Sort(dims)
		for _, d := range slices.Compact(dims) {
			b.denseFeature(uri, d, blocks)
		}
	}
}

func (b *builder) denseFeature(uri string, dims int, blocks []map[int]denseBlock) {
	type place struct {
		block *denseBlock
		entry int
	}
	var places []place
	var of []uint32
	byPart := make([]*denseBlock, len(b.parts))
	zeros := false
	for i := range blocks {
		if block, ok := blocks[i][dims]; ok {
			byPart[i] = &block
			zeros = zeros || block.zeros
		}
	}
	for row, o := range b.rows {
		if block := byPart[o.part]; block != nil {
			if entry, ok := block.entry(o.row); ok {
				places, of = append(places, place{block, entry}), append(of, uint32(row))
			}
		}
	}
	if len(places) == 0 {
		return
	}
	prefix := fmt.Sprintf("d%d.", len(b.meta.Dense))
	b.meta.Dense = append(b.meta.Dense, denseMeta{URI: uri, Metric: "cosine", Dims: dims, Entries: len(places), Zeros: zeros})
	if len(of) < len(b.rows) {
		b.section(prefix+"of", bytesOf(of))
	}
	stride := strideOf(dims)
	for _, one := range []struct {
		name string
		of   func(*denseBlock, int) []byte
	}{
		{"vec", func(d *denseBlock, e int) []byte { return bytesOf(d.vector(e)) }},
		{"norm", func(d *denseBlock, e int) []byte { return bytesOf(d.norms[e : e+1]) }},
		{"code", func(d *denseBlock, e int) []byte { return bytesOf(d.codes[e*stride : (e+1)*stride]) }},
		{"scale", func(d *denseBlock, e int) []byte { return bytesOf(d.scales[e : e+1]) }},
		{"bound", func(d *denseBlock, e int) []byte { return bytesOf(d.bounds[e : e+1]) }},
	} {
		b.begin(prefix + one.name)
		for _, p := range places {
			b.write(one.of(p.block, p.entry))
		}
	}
}

// sparseFeatures writes terms and postings.
func (b *builder) sparseFeatures() {
	for i, uri := range b.uris(func(p part) []string { _, sparse := p.features(); return sparse }) {
		prefix := fmt.Sprintf("s%d.", i)
		blocks := make([]sparseBlock, len(b.parts))
		meta := sparseMeta{URI: uri}
		var terms []string
		for i, p := range b.parts {
			if blocks[i] = p.sparse(uri); blocks[i] != nil {
				terms = append(terms, blocks[i].terms()...)
			}
		}
		lengths := make([]uint32, len(b.rows))
		for i, block := range blocks {
			if block == nil {
				continue
			}
			for row, length := range block.lengths() {
				if to := b.to[i][row]; length != 0 && to != gone {
					lengths[to] = length
					meta.Documents++
					meta.Length += uint64(length - 1)
				}
			}
		}
		b.section(prefix+"len", bytesOf(lengths))
		slices.Sort(terms)
		terms = slices.Compact(terms)
		meta.Terms = b.postings(prefix, terms, blocks)
		b.meta.Sparse = append(b.meta.Sparse, meta)
	}
}

// postings writes the terms that some row has, and gives their number.
func (b *builder) postings(prefix string, terms []string, blocks []sparseBlock) int {
	termAt, postAt, counts := make([]uint32, 1, len(terms)+1), make([]uint64, 1, len(terms)+1), make([]uint32, 0, len(terms))
	var list, buffer, run, room []posting
	var kept []string
	var code []byte
	b.begin(prefix + "post")
	for _, term := range terms {
		list = list[:0]
		for i, block := range blocks {
			if block == nil {
				continue
			}
			run = run[:0]
			for _, p := range block.postings(term, &buffer) {
				if to := b.to[i][p.row]; to != gone {
					run = append(run, posting{to, p.count})
				}
			}
			if byRow := func(x, y posting) int { return cmp.Compare(x.row, y.row) }; !slices.IsSortedFunc(run, byRow) {
				slices.SortFunc(run, byRow) // of a head; a segment's stay in order
			}
			room = mergePostings(room[:0], list, run)
			list, room = room, list
		}
		if len(list) == 0 {
			continue
		}
		kept = append(kept, term)
		code = code[:0]
		next := uint32(0)
		for _, p := range list {
			code = binary.AppendUvarint(code, uint64(p.row-next))
			code = binary.AppendUvarint(code, uint64(p.count))
			next = p.row + 1
		}
		b.write(code)
		termAt = append(termAt, termAt[len(termAt)-1]+uint32(len(term)))
		postAt = append(postAt, postAt[len(postAt)-1]+uint64(len(code)))
		counts = append(counts, uint32(len(list)))
	}
	b.section(prefix+"post.at", bytesOf(postAt))
	b.section(prefix+"post.n", bytesOf(counts))
	b.section(prefix+"term.at", bytesOf(termAt))
	b.begin(prefix + "term.text")
	for _, term := range kept {
		b.writeString(term)
	}
	return len(kept)
}

// mergePostings appends two ascending lists as one.
func mergePostings(to, a, b []posting) []posting {
	for len(a) > 0 && len(b) > 0 {
		if a[0].row < b[0].row {
			to, a = append(to, a[0]), a[1:]
		} else {
			to, b = append(to, b[0]), b[1:]
		}
	}
	return append(append(to, a...), b...)
}

func (b *builder) uris(of func(part) []string) []string {
	var all []string
	for _, p := range b.parts {
		all = append(all, of(p)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// untilDone fails when the context ends.
type untilDone struct {
	ctx context.Context
	to  io.Writer
}

func (w untilDone) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// sectionWriter writes sections one after the other and keeps the first error.
type sectionWriter struct {
	out      *bufio.Writer
	sum      hash.Hash
	offset   uint64
	name     string // of the open section
	start    uint64
	crc      uint32
	sections map[string]section
	err      error
}

func newSectionWriter(w io.Writer) *sectionWriter {
	s := &sectionWriter{sum: sha256.New(), sections: map[string]section{}}
	s.out = bufio.NewWriterSize(io.MultiWriter(w, s.sum), 1<<20)
	s.writeString(segmentMagic)
	return s
}

func (s *sectionWriter) write(b []byte) {
	if s.err != nil {
		return
	}
	s.crc = crc32.Update(s.crc, castagnoli, b)
	n, err := s.out.Write(b)
	s.offset += uint64(n)
	s.err = err
}

func (s *sectionWriter) writeString(text string) { s.write([]byte(text)) }

// begin closes the open section and opens another.
func (s *sectionWriter) begin(name string) {
	s.end()
	var zeros [sectionAlign]byte
	s.write(zeros[:(sectionAlign-s.offset%sectionAlign)%sectionAlign])
	s.name, s.start, s.crc = name, s.offset, 0
}

func (s *sectionWriter) end() {
	if s.name != "" {
		s.sections[s.name] = section{Offset: s.start, Length: s.offset - s.start, CRC: s.crc}
		s.name = ""
	}
}

// section writes a section whole.
func (s *sectionWriter) section(name string, content []byte) {
	s.begin(name)
	s.write(content)
}

func (s *sectionWriter) finish(meta *footer) (digest string, err error) {
	s.end()
	meta.Sections = s.sections
	text, err := json.Marshal(meta)
	if err != nil {
		return "", err
	}
	s.write(text)
	trailer := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(text, castagnoli))
	s.write(append(trailer, segmentEnd...))
	if s.err == nil {
		s.err = s.out.Flush()
	}
	return hex.EncodeToString(s.sum.Sum(nil)), s.err
}
