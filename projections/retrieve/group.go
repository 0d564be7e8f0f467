package retrieve

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/domain"
)

// GroupBy keeps the best documents for each value of a field. Documents without
// the field are one group.
type GroupBy struct {
	Field       string `json:"field" required:"true" doc:"Path of the field."`
	MaxPerGroup int    `json:"max_per_group" default:"1" min:"1" max:"100" doc:"How many documents of a group stay."`
	Limit       int    `json:"limit" default:"25" min:"1" max:"500" doc:"How many groups stay, by their best document."`
	OutputMode  string `json:"output_mode" default:"all" enum:"first,all,flatten" doc:"first: each group's best document; all: group after group; flatten: in order of score."`
}

// apply takes a ranking, best first.
func (g *GroupBy) apply(ctx context.Context, r *run, s *step, ranked []*item) ([]*item, error) {
	if err := r.load(ctx, s, ranked); err != nil {
		return nil, err
	}
	most := g.MaxPerGroup
	if g.OutputMode == "first" {
		most = 1
	}
	groups := map[string][]*item{}
	var names []string
	kept := ranked[:0:0]
	for _, it := range ranked {
		v, _ := domain.Lookup(it.doc, g.Field)
		name := string(domain.EncodeValue(v))
		members, known := groups[name]
		switch {
		case !known && len(names) == g.Limit:
			s.drop(it, ReasonOutranked, fmt.Sprintf("group_by: more than %d groups", g.Limit))
			continue
		case len(members) == most:
			s.drop(it, ReasonOutranked, fmt.Sprintf("group_by: more than %d of the group %s", most, name))
			continue
		case !known:
			names = append(names, name)
		}
		groups[name] = append(members, it)
		kept = append(kept, it)
	}
	if g.OutputMode != "all" {
		return kept, nil
	}
	kept = kept[:0]
	for _, name := range names {
		kept = append(kept, groups[name]...)
	}
	return kept, nil
}

// Facet counts the values of one field.
type Facet struct {
	Key   string `json:"key" required:"true" doc:"Path of the field; of an array each element counts."`
	Limit int    `json:"limit" default:"10" min:"1" max:"1000" doc:"How many values are listed, the most frequent first."`
	Exact bool   `json:"exact,omitempty" doc:"Accepted; counts are always exact over what was found."`
}

// FacetCounts is what a Facet found.
type FacetCounts struct {
	Key    string       `json:"key"`
	Values []FacetCount `json:"values"`
}

// FacetCount is one value and how many documents have it.
type FacetCount struct {
	Value any `json:"value"`
	Count int `json:"count"`
}

func countFacets(ctx context.Context, r *run, items []*item, facets []Facet) ([]FacetCounts, error) {
	if err := r.load(ctx, nil, items); err != nil {
		return nil, err
	}
	all := make([]FacetCounts, 0, len(facets))
	for _, f := range facets {
		counts, values := map[string]int{}, map[string]any{}
		for _, it := range items {
			v, ok := domain.Lookup(it.doc, f.Key)
			if !ok || v == nil {
				continue
			}
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			mine := map[string]bool{}
			for _, e := range list {
				key := string(domain.EncodeValue(e))
				if !mine[key] {
					mine[key] = true
					counts[key]++
					values[key] = e
				}
			}
		}
		keys := slices.Sorted(maps.Keys(counts))
		slices.SortStableFunc(keys, func(a, b string) int {
			if counts[a] != counts[b] {
				return counts[b] - counts[a]
			}
			return strings.Compare(a, b)
		})
		fc := FacetCounts{Key: f.Key, Values: []FacetCount{}}
		for _, k := range keys[:min(len(keys), f.Limit)] {
			fc.Values = append(fc.Values, FacetCount{values[k], counts[k]})
		}
		all = append(all, fc)
	}
	return all, nil
}
