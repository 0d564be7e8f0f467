package embedded

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"sort"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
	"varve/projections/vector"
)

// denseBlock holds one dense feature of the rows of a part that have it.
type denseBlock struct {
	dims    int
	of      []uint32 // the rows, ascending; nil: entry i is row i
	n       int
	vectors []float32 // n × dims
	norms   []float64 // n
	codes   []int8    // n × strideOf(dims), see quantize.go
	scales  []float32 // n
	bounds  []float32 // n; NaN where the vector is all zeros
	zeros   bool      // whether there is such a vector
}

func (b *denseBlock) row(entry uint32) uint32 {
	if b.of == nil {
		return entry
	}
	return b.of[entry]
}

func (b *denseBlock) vector(entry int) []float32 { return b.vectors[entry*b.dims : (entry+1)*b.dims] }

// entry gives the place of a row in the block.
func (b *denseBlock) entry(row uint32) (int, bool) {
	if b.of == nil {
		return int(row), int(row) < b.n
	}
	i := sort.Search(b.n, func(i int) bool { return b.of[i] >= row })
	return i, i < b.n && b.of[i] == row
}

// entries gives the places of those of the rows that have a vector other than zeros.
func (b *denseBlock) entries(rows *roaring.Bitmap) []uint32 {
	list := rows.ToArray()
	n := 0
	if b.of == nil {
		n = sort.Search(len(list), func(i int) bool { return int(list[i]) >= b.n })
	} else {
		place := 0
		for _, row := range list {
			if place < b.n && b.of[place] < row {
				step := 1 // gallop: the rows may be few
				for place+step < b.n && b.of[place+step] < row {
					place += step
					step *= 2
				}
				place += sort.Search(min(step, b.n-place), func(i int) bool { return b.of[place+i] >= row })
			}
			if place == b.n {
				break
			}
			if b.of[place] == row {
				list[n] = uint32(place)
				n++
			}
		}
	}
	list = list[:n]
	if b.zeros {
		n = 0
		for _, e := range list {
			if b.norms[e] != 0 {
				list[n] = e
				n++
			}
		}
	}
	return list[:n]
}

// Dense scores by cosine, exactly; see vector.View.
func (v *view) Dense(ctx context.Context, chosen vector.Set, uri string, query []float32, k int) (vector.Result, error) {
	s, err := v.own(chosen)
	if err != nil {
		return vector.Result{}, err
	}
	for i, c := range query {
		if math.IsNaN(float64(c)) || math.IsInf(float64(c), 0) {
			return vector.Result{}, domain.Invalid("query", "range", "component %d of the query vector is %v; components are finite numbers", i, c)
		}
	}
	others, fits := map[int]bool{}, false
	best := top{k: k}
	q := quantizeQuery(query)
	var pieces []piece
	for i, p := range v.parts {
		for _, b := range p.dense(uri) {
			if b.dims != len(query) {
				others[b.dims] = true
				continue
			}
			fits = true
			if q.norm == 0 {
				continue
			}
			if piece := newPiece(p, &b, s.rows[i]); piece.n > 0 {
				pieces = append(pieces, piece)
				best.scored += piece.n
			}
		}
	}
	if !fits && len(others) > 0 {
		return vector.Result{}, dimensionError(uri, len(query), others)
	}
	if k <= 0 || best.scored == 0 {
		return best.result(), nil
	}
	near, err := v.index.scan(ctx, pieces, q, k, best.scored)
	if err != nil {
		return vector.Result{}, err
	}
	rescore(&best, near, q)
	return best.result(), nil
}

// piece is what is to be scanned of one block: entries, or all rows of a bitmap
// that are their own entries.
type piece struct {
	part    part
	block   *denseBlock
	entries []uint32
	rows    *roaring.Bitmap
	n       int
}

func newPiece(p part, b *denseBlock, rows *roaring.Bitmap) piece {
	if b.of == nil && !b.zeros && b.n == p.rows() {
		return piece{part: p, block: b, rows: rows, n: int(rows.GetCardinality())}
	}
	entries := b.entries(rows)
	return piece{part: p, block: b, entries: entries, n: len(entries)}
}

// batches calls do with the from-th to the to-th of the entries, in order, in
// slices of at most scanBatch that are valid until it returns.
func (p *piece) batches(from, to int, do func(entries []uint32) error) error {
	if p.rows == nil {
		for list := p.entries[from:to]; len(list) > 0; {
			n := min(len(list), scanBatch)
			if err := do(list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
		return nil
	}
	var buffer [scanBatch]uint32
	it := p.rows.ManyIterator()
	if from > 0 {
		first, err := p.rows.Select(uint32(from))
		if err != nil {
			return err
		}
		skip := p.rows.Clone()
		skip.RemoveRange(0, uint64(first))
		it = skip.ManyIterator()
	}
	for left := to - from; left > 0; {
		n := it.NextMany(buffer[:min(left, scanBatch)])
		if n == 0 {
			break
		}
		if err := do(buffer[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// near is an entry whose cosine may be among the k best: it is at most upper.
type near struct {
	piece *piece
	entry uint32
	upper float32
}

// Up to this many products are done by the caller's goroutine alone.
const aloneProducts = 4 << 20

// scan finds the entries that can be among the k best.
func (x *Index) scan(ctx context.Context, pieces []piece, q queryCodes, k, total int) ([]near, error) {
	workers := x.opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	alone := aloneProducts
	if x.opts.alone > 0 {
		alone = x.opts.alone
	}
	if total*len(q.codes) <= alone {
		workers = 1
	}
	scanners := make([]scanner, workers)
	var wait sync.WaitGroup
	for w := range scanners {
		sc := &scanners[w]
		sc.q, sc.floor.k = q, k
		from, to := total*w/workers, total*(w+1)/workers
		run := func() {
			at := 0
			for i := range pieces {
				p := &pieces[i]
				lo, hi := max(from-at, 0), min(to-at, p.n)
				at += p.n
				if lo < hi && sc.err == nil {
					sc.err = sc.scan(ctx, p, lo, hi)
				}
			}
		}
		if w == workers-1 {
			run()
			break
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			run()
		}()
	}
	wait.Wait()
	floor := scanners[0].floor
	for w := range scanners {
		if err := scanners[w].err; err != nil {
			return nil, err
		}
		if w > 0 {
			for _, lower := range scanners[w].floor.heap {
				floor.offer(lower)
			}
		}
	}
	least := floor.least()
	all := scanners[0].found[:0]
	for w := range scanners {
		for _, n := range scanners[w].found {
			if n.upper >= least {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// scanner is one goroutine's part of a scan.
type scanner struct {
	q     queryCodes
	floor floor
	found []near
	err   error
}

const scanBatch = 512

func (s *scanner) scan(ctx context.Context, p *piece, from, to int) error {
	var buffer [scanBatch]int32
	b, stride := p.block, strideOf(p.block.dims)
	spread := 1 + s.q.bound // of an entry's own bound
	rest := s.q.bound + slack
	return p.batches(from, to, func(batch []uint32) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		sums, least := buffer[:len(batch)], s.floor.least()
		dotCodes(sums, b.codes, stride, batch, s.q.codes)
		for i, e := range batch {
			middle := float32(sums[i]) * (b.scales[e] * s.q.scale)
			width := b.bounds[e]*spread + rest
			if middle+width >= least {
				s.found = append(s.found, near{p, e, middle + width})
				s.floor.offer(middle - width)
				least = s.floor.least()
			}
		}
		if len(s.found) > 4096+8*s.floor.k { // most were found while the floor was low
			kept := s.found[:0]
			for _, n := range s.found {
				if n.upper >= least {
					kept = append(kept, n)
				}
			}
			s.found = kept
		}
		return nil
	})
}

// floor keeps the k highest lower ends of intervals; the least of them is what an
// upper end must reach.
type floor struct {
	k    int
	heap []float32 // the least on top
}

func (f *floor) least() float32 {
	if len(f.heap) < f.k {
		return -4 // below every cosine
	}
	return f.heap[0]
}

func (f *floor) offer(x float32) {
	h := f.heap
	if len(h) < f.k {
		h = append(h, x)
		f.heap = h
		for i := len(h) - 1; i > 0 && h[i] < h[(i-1)/2]; i = (i - 1) / 2 {
			h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		}
		return
	}
	if x <= h[0] {
		return
	}
	h[0] = x
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child] < h[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// rescore gives the near entries their scores, the highest intervals first, until
// none that is left can be among the k best. It goes by four: each sum is that of
// vector.Dot, but they need not wait for each other.
func rescore(best *top, list []near, q queryCodes) {
	slices.SortFunc(list, func(a, b near) int { return cmp.Compare(b.upper, a.upper) })
	score := func(n near, dot float64) {
		if s, ok := vector.CosineOf(dot, q.norm, n.piece.block.norms[n.entry]); ok {
			best.offer(candidate{n.piece.part, n.piece.block.row(n.entry), s})
		}
	}
	of := func(n near) []float32 { return n.piece.block.vector(int(n.entry)) }
	for len(list) > 0 && (len(best.heap) < best.k || list[0].upper >= best.heap[0].score) {
		if len(list) < 4 {
			score(list[0], vector.Dot(q.vector, of(list[0])))
			list = list[1:]
			continue
		}
		w, x, y, z := vector.Dot4(q.vector, of(list[0]), of(list[1]), of(list[2]), of(list[3]))
		score(list[0], w)
		score(list[1], x)
		score(list[2], y)
		score(list[3], z)
		list = list[4:]
	}
}

func dimensionError(uri string, dims int, others map[int]bool) error {
	have := make([]int, 0, len(others))
	for d := range others {
		have = append(have, d)
	}
	sort.Ints(have)
	return domain.Invalid("query", "dimension", "the query vector has %d dimensions; vectors of %s have %v", dims, uri, have)
}

func (v *view) own(chosen vector.Set) (*set, error) {
	s, ok := chosen.(*set)
	if !ok || s.view != v {
		return nil, domain.Errorf(domain.CodeInternal, "the set was made by another view")
	}
	return s, nil
}
