package embedded

import (
	"context"
	"sort"

	"varve/domain"
	"varve/projections/vector"
)

// entry gives the place of a row in the block.
func (b *denseBlock) entry(row uint32) (int, bool) {
	if b.of == nil {
		return int(row), int(row) < b.n
	}
	i := sort.Search(b.n, func(i int) bool { return b.of[i] >= row })
	return i, i < b.n && b.of[i] == row
}

// Dense scores by cosine, exactly; see vector.View.
func (v *view) Dense(ctx context.Context, chosen vector.Set, uri string, query []float32, k int) (vector.Result, error) {
	s, err := v.own(chosen)
	if err != nil {
		return vector.Result{}, err
	}
	norm := vector.Norm(query)
	best := top{k: k}
	others := map[int]bool{}
	fits := false
	for i, p := range v.parts {
		if err := ctx.Err(); err != nil {
			return vector.Result{}, err
		}
		for _, b := range p.dense(uri) {
			if b.dims != len(query) {
				others[b.dims] = true
				continue
			}
			fits = true
			for it := s.rows[i].Iterator(); it.HasNext(); {
				row := it.Next()
				entry, ok := b.entry(row)
				if !ok {
					continue
				}
				if score, ok := vector.CosineOf(vector.Dot(query, b.vector(entry)), norm, b.norms[entry]); ok {
					best.add(candidate{p, row, score})
				}
			}
		}
	}
	if !fits && len(others) > 0 {
		return vector.Result{}, dimensionError(uri, len(query), others)
	}
	return best.result(), nil
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
