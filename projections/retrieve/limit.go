package retrieve

import (
	"context"
	"fmt"
)

// Limit keeps a window of the documents.
type Limit struct {
	Limit  int `json:"limit" default:"10" min:"1" max:"10000" doc:"How many documents stay."`
	Offset int `json:"offset,omitempty" default:"0" min:"0" max:"10000" doc:"How many are skipped at the front."`
}

var _ = register(kind{
	id: "limit", category: "reduce", icon: "scissors", costTier: "free",
	description: "Keeps the first documents, after skipping some.",
	useCases:    []string{"Cap the size of an answer", "Take a window of a ranking"},
	example:     `{"stage_id":"limit","parameters":{"limit":10}}`,
	params:      func() parameters { return &Limit{} },
})

func (p *Limit) check(*checking) {}

func (p *Limit) run(_ context.Context, r *run, s *step) error {
	s.rec.Plan = "memory"
	from := min(p.Offset, len(r.items))
	to := min(from+p.Limit, len(r.items))
	for _, it := range r.items[:from] {
		s.drop(it, ReasonOffset, "")
	}
	if to < len(r.items) {
		detail := fmt.Sprintf("limit %d", p.Limit)
		for _, it := range r.items[to:] {
			s.drop(it, ReasonLimit, detail)
		}
	}
	r.items = r.items[from:to]
	return nil
}

func (p *Limit) estimate(in int) (int, []string) {
	return min(max(in-p.Offset, 0), p.Limit), nil
}
