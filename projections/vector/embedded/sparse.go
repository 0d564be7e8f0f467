package embedded

import (
	"context"
	"slices"
	"strings"

	"varve/domain"
	"varve/projections/vector"
)

// Sparse scores by BM25; see vector.View.
func (v *view) Sparse(ctx context.Context, chosen vector.Set, uri string, query []domain.TermCount, k int) (vector.Result, error) {
	s, err := v.own(chosen)
	if err != nil {
		return vector.Result{}, err
	}
	terms := mergeTerms(query)
	blocks := make([]sparseBlock, len(v.parts))
	var stats vector.Statistics
	frequency := make([]uint64, len(terms))
	for i, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return vector.Result{}, err
		}
		b := p.sparse(uri)
		if b == nil {
			continue
		}
		blocks[i] = b
		documents, length := b.statistics(s.base[i])
		stats.Documents += documents
		stats.Length += length
		for t, term := range terms {
			b.postings(term.Term, func(row, _ uint32) {
				if s.base[i].Contains(row) {
					frequency[t]++
				}
			})
		}
	}
	best := top{k: k}
	for i, b := range blocks {
		if b == nil {
			continue
		}
		scores := map[uint32]float64{}
		for t, term := range terms {
			weight := stats.Weight(term.Count, frequency[t])
			b.postings(term.Term, func(row, count uint32) {
				if s.rows[i].Contains(row) {
					scores[row] += stats.Term(weight, count, b.length(row))
				}
			})
		}
		for row, score := range scores {
			best.add(candidate{v.parts[i], row, float32(score)})
		}
	}
	return best.result(), nil
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
