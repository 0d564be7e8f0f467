package retrieve

import (
	"context"

	"varve/domain"
)

// SortAttribute orders documents by a field, equal values by document id.
// Numbers come before times, times before other texts, those before booleans.
type SortAttribute struct {
	Field     string `json:"field" default:"metadata.created_at" doc:"Path of the field."`
	Direction string `json:"direction" default:"desc" enum:"asc,desc" doc:"desc puts the largest, or latest, first."`
	NullsLast bool   `json:"nulls_last" default:"true" doc:"Documents without the field come last, in either direction; false puts them first."`
}

var _ = register(kind{
	id: "sort_attribute", category: "sort", icon: "arrow-up-down", costTier: "free",
	description: "Orders documents by the value of a field.",
	useCases:    []string{"Newest first", "Cheapest first", "Alphabetical listing"},
	example:     `{"stage_id":"sort_attribute","parameters":{"field":"metadata.created_at","direction":"desc"}}`,
	params:      func() parameters { return &SortAttribute{} },
})

func (p *SortAttribute) check(c *checking) {
	if p.Field == "" {
		c.report(c.path+".field", "missing", "names the field to order by")
	}
}

func (p *SortAttribute) run(ctx context.Context, r *run, s *step) error {
	s.rec.Plan = "memory"
	if err := r.load(ctx, s, r.items); err != nil {
		return err
	}
	missing := "bottom"
	if !p.NullsLast {
		missing = "top"
	}
	r.items = order(r.items, func(it *item) (any, bool) { return domain.Lookup(it.doc, p.Field) }, p.Direction == "desc", missing)
	return nil
}

func (p *SortAttribute) estimate(in int) (int, []string) { return in, nil }
