package retrieve

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"varve/domain"
)

// SortRelevance orders documents by a score, equal ones by document id.
type SortRelevance struct {
	ScoreField     string `json:"score_field" default:"score" doc:"score, or the path of a number in the document."`
	Direction      string `json:"direction" default:"desc" enum:"asc,desc" doc:"desc puts the highest first."`
	FeatureAddress string `json:"feature_address,omitempty" doc:"Orders by the score that the search of this feature gave, instead of score_field."`
	MissingScore   string `json:"missing_score" default:"bottom" enum:"bottom,top,preserve" doc:"Where documents without that score go; preserve leaves them where they are."`
}

var _ = register(kind{
	id: "sort_relevance", category: "sort", icon: "arrow-down-wide-narrow", costTier: "free",
	description: "Orders documents by their score, or by the score of one feature.",
	useCases:    []string{"Best first after other stages", "Order a fused result by one of its features"},
	example:     `{"stage_id":"sort_relevance","parameters":{"direction":"desc"}}`,
	params:      func() parameters { return &SortRelevance{} },
})

func (p *SortRelevance) check(c *checking) {
	if p.FeatureAddress != "" {
		c.feature(c.path+".feature_address", p.FeatureAddress)
	}
}

func (p *SortRelevance) run(ctx context.Context, r *run, s *step) error {
	s.rec.Plan = "memory"
	value := func(it *item) (any, bool) { return float64(it.score), true }
	switch {
	case p.FeatureAddress != "":
		uri := r.eff.Features[p.FeatureAddress].URI
		value = func(it *item) (any, bool) {
			for _, f := range it.found {
				if r.uriOf(it, f) == uri {
					return float64(f.score), true
				}
			}
			return nil, false
		}
	case p.ScoreField != "score":
		if err := r.load(ctx, s, r.items); err != nil {
			return err
		}
		value = func(it *item) (any, bool) {
			v, ok := domain.Lookup(it.doc, p.ScoreField)
			return v, ok && isNumber(v)
		}
	}
	r.items = order(r.items, value, p.Direction == "desc", p.MissingScore)
	return nil
}

func (p *SortRelevance) estimate(in int) (int, []string) { return in, nil }

// order sorts by a value of each document; equal values by document id, documents
// without one at bottom, top, or (preserve) at the places where they are.
func order(items []*item, value func(*item) (any, bool), descending bool, missing string) []*item {
	type keyed struct {
		it    *item
		v     any
		class int
	}
	var with []keyed
	var without []*item
	lacks := make([]bool, len(items))
	for i, it := range items {
		v, ok := value(it)
		if !ok || v == nil {
			without = append(without, it)
			lacks[i] = true
			continue
		}
		with = append(with, keyed{it, v, classOf(v)})
	}
	slices.SortFunc(with, func(a, b keyed) int {
		c := a.class - b.class
		if c == 0 {
			c = compare(a.v, b.v, a.class)
		}
		if descending {
			c = -c
		}
		if c == 0 {
			c = strings.Compare(a.it.id, b.it.id)
		}
		return c
	})
	out := make([]*item, 0, len(items))
	if missing == "preserve" {
		for i, it := range items {
			if lacks[i] {
				out = append(out, it)
				continue
			}
			out = append(out, with[0].it)
			with = with[1:]
		}
		return out
	}
	slices.SortFunc(without, func(a, b *item) int { return strings.Compare(a.id, b.id) })
	if missing == "top" {
		out = append(out, without...)
	}
	for _, k := range with {
		out = append(out, k.it)
	}
	if missing != "top" {
		out = append(out, without...)
	}
	return out
}

// classOf puts values into classes that have an order inside: numbers, times,
// other strings, booleans, the rest.
func classOf(v any) int {
	switch x := v.(type) {
	case string:
		if _, ok := domain.ParseTime(x); ok {
			return 1
		}
		return 2
	case bool:
		return 3
	case []any, map[string]any:
		return 4
	}
	return 0
}

func compare(a, b any, class int) int {
	if x, ok := a.(float64); ok {
		if y, ok := b.(float64); ok { // scores
			return cmp.Compare(x, y)
		}
	}
	if class == 4 {
		return strings.Compare(string(domain.EncodeValue(a)), string(domain.EncodeValue(b)))
	}
	c, _ := domain.CompareValues(a, b)
	return c
}
