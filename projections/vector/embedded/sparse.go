package embedded

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
	"varve/projections/vector"
)

// Sparse scores by BM25; see vector.View.
func (v *view) Sparse(ctx context.Context, chosen vector.Set, uri string, query []domain.TermCount, k int) (vector.Result, error) {
	s, err := v.own(chosen)
	if err != nil {
		return vector.Result{}, err
	}
	m := matching{terms: mergeTerms(query), best: top{k: k}}
	defer m.free()
	m.frequency = make([]uint64, len(m.terms))
	for i, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return vector.Result{}, err
		}
		if b := p.sparse(uri); b != nil && len(m.terms) > 0 {
			documents, length := v.statistics(p, b, uri, s, i)
			m.stats.Documents += documents
			m.stats.Length += length
			m.count(p, b, s.base[i], s.rows[i])
		}
	}
	for i := range m.found {
		if err := ctx.Err(); err != nil {
			return vector.Result{}, err
		}
		m.score(&m.found[i])
	}
	return m.best.result(), nil
}

func (v *view) statistics(p part, b sparseBlock, uri string, s *set, i int) (documents, length uint64) {
	key := cacheKey{p.serial(), v.position, "s" + s.collections + "\x00\x00" + uri}
	if found, ok := v.index.cache.lookup(key); ok {
		both := found.([2]uint64)
		return both[0], both[1]
	}
	documents, length = b.statistics(s.base[i])
	v.index.cache.store(key, [2]uint64{documents, length}, 16)
	return documents, length
}

// matching is one BM25 search under way.
type matching struct {
	terms     []domain.TermCount
	stats     vector.Statistics
	frequency []uint64
	found     []partMatches
	best      top

	// What a term gives, by count and length, as it was needed: most documents are
	// short and have a term once or twice, and a division takes longer than a look.
	known [knownCounts * knownLengths]float64
}

const (
	knownCounts  = 4
	knownLengths = 512
)

// partMatches is what one part has of the query's terms.
type partMatches struct {
	part     part
	block    sparseBlock
	allowed  words
	all      bool // every row is allowed
	postings [][]posting
	buffers  []*[]posting
}

// words is a bitmap laid out flat, for quick membership.
type words []uint64

func flat(rows *roaring.Bitmap, n int) words {
	w := make(words, (n+63)/64)
	rows.WriteDenseTo(w)
	return w
}

func (w words) has(row uint32) bool { return w[row>>6]>>(row&63)&1 != 0 }

var postingBuffers = sync.Pool{New: func() any { return new([]posting) }}

// count finds the postings of the query's terms in a part, and adds up in how many
// of the base's rows each term occurs.
func (m *matching) count(p part, b sparseBlock, base, allowed *roaring.Bitmap) {
	n := p.rows()
	pm := partMatches{part: p, block: b, postings: make([][]posting, len(m.terms))}
	var counted words
	if int(base.GetCardinality()) < n {
		counted = flat(base, n)
	}
	if pm.all = int(allowed.GetCardinality()) == n; !pm.all {
		pm.allowed = flat(allowed, n)
	}
	for t, term := range m.terms {
		buffer := postingBuffers.Get().(*[]posting)
		list := b.postings(term.Term, buffer)
		pm.buffers = append(pm.buffers, buffer)
		pm.postings[t] = list
		if counted == nil {
			m.frequency[t] += uint64(len(list))
			continue
		}
		for _, e := range list {
			m.frequency[t] += counted[e.row>>6] >> (e.row & 63) & 1
		}
	}
	m.found = append(m.found, pm)
}

func (m *matching) free() {
	for _, pm := range m.found {
		for _, b := range pm.buffers {
			postingBuffers.Put(b)
		}
	}
}

var (
	scorePool = sync.Pool{New: func() any { return new([]float64) }}
	rowPool   = sync.Pool{New: func() any { return new([]uint32) }}
)

// score adds up the scores of a part's rows, term by term in the order of terms,
// so that each row's sum is made in the same order in every part.
func (m *matching) score(pm *partMatches) {
	n := pm.part.rows()
	pooled := scorePool.Get().(*[]float64)
	defer scorePool.Put(pooled)
	if cap(*pooled) < n {
		*pooled = make([]float64, n)
	}
	scores := (*pooled)[:n] // zeros: what is used is cleared below
	lengths := pm.block.lengths()
	list := rowPool.Get().(*[]uint32)
	touched := (*list)[:0]
	defer func() {
		*list = touched
		rowPool.Put(list)
	}()
	for t, term := range m.terms {
		if len(pm.postings[t]) == 0 {
			continue
		}
		weight := m.stats.Weight(term.Count, m.frequency[t])
		clear(m.known[:])
		for _, e := range pm.postings[t] {
			if !pm.all && !pm.allowed.has(e.row) {
				continue
			}
			score := &scores[e.row]
			if *score == 0 {
				touched = append(touched, e.row)
			}
			length := lengths[e.row] - 1
			if e.count > knownCounts || length >= knownLengths {
				*score += vector.Term(weight, e.count, m.stats.Saturation(length))
				continue
			}
			known := &m.known[(e.count-1)*knownLengths+length]
			if *known == 0 {
				*known = vector.Term(weight, e.count, m.stats.Saturation(length))
			}
			*score += *known
		}
	}
	m.best.scored += len(touched)
	for _, row := range touched {
		score := float32(scores[row])
		scores[row] = 0
		if len(m.best.heap) < m.best.k || m.best.k > 0 && score >= m.best.heap[0].score {
			m.best.offer(candidate{pm.part, row, score})
		}
	}
}

// mergeTerms sorts the terms and adds up the counts of equal ones.
func mergeTerms(query []domain.TermCount) []domain.TermCount {
	terms := slices.Clone(query)
	slices.SortFunc(terms, func(a, b domain.TermCount) int { return strings.Compare(a.Term, b.Term) })
	out := terms[:0]
	for _, t := range terms {
		switch n := len(out); {
		case t.Count == 0:
		case n > 0 && out[n-1].Term == t.Term:
			out[n-1].Count += t.Count
		default:
			out = append(out, t)
		}
	}
	return out
}
