package retrieve

import (
	"context"
	"fmt"

	"varve/domain"
	"varve/projections/vector"
)

// Plan says what an execution would do, or did. Its JSON is the reference's
// ExplainRetrieverResponse.
type Plan struct {
	RetrieverID      string             `json:"retriever_id"`
	RetrieverName    string             `json:"retriever_name"`
	EstimatedCost    map[string]float64 `json:"estimated_cost"`
	TotalStages      int                `json:"total_estimated_stages"`
	Stages           []StagePlan        `json:"execution_plan"`
	Suggestions      []Suggestion       `json:"optimization_suggestions"`
	Bottlenecks      []string           `json:"bottleneck_stages"`
	OptimizationName string             `json:"optimization_level"`
	Optimized        bool               `json:"optimization_applied"`
	Optimization     map[string]any     `json:"optimization_details"`
	Position         uint64             `json:"position"`
}

// StagePlan is one stage of a Plan.
type StagePlan struct {
	Index       int      `json:"stage_index"`
	Name        string   `json:"stage_name"`
	Type        string   `json:"stage_type"`
	StageID     string   `json:"stage_id"`
	Input       int      `json:"estimated_input"`
	Output      int      `json:"estimated_output"`
	Efficiency  float64  `json:"estimated_efficiency"`
	CostCredits float64  `json:"estimated_cost_credits"`
	DurationMS  float64  `json:"estimated_duration_ms"`
	CacheLikely bool     `json:"cache_likely"`
	Notes       []string `json:"optimization_notes"`
	Warnings    []string `json:"warnings"`
	Actual      *Actual  `json:"actual,omitempty"` // of an execution that was explained
}

// Actual is what was counted where a Plan estimates.
type Actual struct {
	Input      int     `json:"input"`
	Output     int     `json:"output"`
	DurationMS float64 `json:"duration_ms"`
}

// Suggestion is what could make a retriever better.
type Suggestion struct {
	Stage      string `json:"stage_name"`
	Suggestion string `json:"suggestion"`
}

// Explain shows the plan of a retriever without running it: only the documents
// that its collections hold, and that the request's filters leave, are counted.
// Inputs may be absent; templates that need them are then left out of the estimate.
func (e *Engine) Explain(ctx context.Context, req Request) (*Plan, error) {
	eff, err := compile(req.Config, req.Retriever, func(string) {})
	if err != nil {
		return nil, err
	}
	r := &run{engine: e, at: req.At, eff: eff, sets: map[string]vector.Set{}}
	if a, err := e.ask(eff, req.Inputs, req.Filters, nil, 0); err == nil {
		r.env, r.filter = a.env, a.filter
	} else if v, bad := decodeTree(req.Inputs); bad != nil || len(req.Filters) > 0 || !isEmptyObject(v) {
		return nil, err
	}
	if r.view, err = e.Index.View(ctx, req.At.Log, req.At.Position); err != nil {
		return nil, err
	}
	defer r.view.Close()
	candidates := 0
	if len(eff.Collections) > 0 {
		set, err := r.allow(ctx, eff.Collections, r.filter)
		if err != nil {
			return nil, fmt.Errorf("count documents: %w", err)
		}
		candidates = set.Len()
	}
	p := r.estimate(candidates, r.count(ctx))
	p.RetrieverID, p.RetrieverName = req.Retriever.RetrieverID, req.Retriever.Name
	return p, nil
}

// count asks the index how many documents a filter at the front leaves, -1 where
// it cannot be known: there is none, or its values come later.
func (r *run) count(ctx context.Context) int {
	if len(r.eff.Stages) == 0 || r.eff.Stages[0].ID != "attribute_filter" || r.env.Input == nil {
		return -1
	}
	v, err := decodeTree(r.eff.Stages[0].Parameters)
	p := &AttributeFilter{}
	if err != nil || (&decoder{env: &r.env}).decode("", v, p) != nil || p.prepare("", &r.env) != nil || readsDocument(p.filter) {
		return -1
	}
	set, err := r.allow(ctx, r.eff.Collections, domain.AllOf(r.filter, p.filter))
	if err != nil {
		return -1
	}
	return set.Len()
}

func isEmptyObject(v any) bool {
	m, ok := v.(map[string]any)
	return v == nil || ok && len(m) == 0
}

// plan is the plan of a run that is over; estimates are made as before it.
func (r *run) plan(actual bool) *Plan {
	candidates := 0
	if len(r.steps) > 0 {
		candidates = r.steps[0].rec.Input
	}
	p := r.estimate(candidates, -1)
	for i := range p.Stages {
		if actual && i < len(r.steps) {
			rec := r.steps[i].rec
			p.Stages[i].Actual = &Actual{rec.Input, rec.Output, float64(rec.DurationMicros) / 1000}
		}
	}
	return p
}

// estimate counts documents from stage to stage by what each says of itself;
// counted is how many the first stage leaves, where that is known.
func (r *run) estimate(candidates, counted int) *Plan {
	p := &Plan{
		EstimatedCost: map[string]float64{"credits": 0}, TotalStages: len(r.eff.Stages), Stages: []StagePlan{}, Suggestions: []Suggestion{},
		Bottlenecks: []string{}, OptimizationName: "mvp", Optimization: map[string]any{}, Position: r.at.Position,
	}
	in, rules, total, slowest := candidates, []string{}, 0.0, -1
	for i := range r.eff.Stages {
		s := &r.eff.Stages[i]
		sp := StagePlan{Index: i, Name: s.Name, Type: s.Type, StageID: s.ID, Input: in, Notes: []string{}, Warnings: []string{}}
		params := kinds[s.ID].params()
		sp.Output = in
		if v, err := decodeTree(s.Parameters); err == nil && (&decoder{}).decode("", v, params) == nil {
			var notes []string
			sp.Output, notes = params.estimate(in)
			sp.Notes = append(sp.Notes, notes...)
		}
		if i == 0 && counted >= 0 {
			sp.Output, sp.Notes = counted, []string{"counted by the index"}
		}
		if i+1 < len(r.eff.Stages) && s.ID == "attribute_filter" {
			st := step{stage: s, next: &r.eff.Stages[i+1]}
			if i == 0 && len(s.PostFilters) == 0 && st.pushes() {
				rules = append(rules, "filter_push_down")
				sp.Notes = append(sp.Notes, "pushed down: the next stage selects by it")
			}
		}
		if in > 0 {
			sp.Efficiency = float64(sp.Output) / float64(in)
		}
		sp.DurationMS = durationOf(s.ID, in)
		total += sp.DurationMS
		if slowest < 0 || sp.DurationMS > p.Stages[slowest].DurationMS {
			slowest = i
		}
		p.Stages = append(p.Stages, sp)
		in = sp.Output
	}
	if slowest >= 0 && p.Stages[slowest].DurationMS > 5 {
		p.Bottlenecks = append(p.Bottlenecks, p.Stages[slowest].Name)
	}
	p.EstimatedCost["duration_ms"] = total
	p.Optimized = len(rules) > 0
	p.Optimization["rules_applied"] = rules
	p.suggest(r.eff.Stages)
	return p
}

// durationOf is a rough figure in milliseconds: a scan of a hundred thousand
// vectors takes some milliseconds, a document that has to be read microseconds.
func durationOf(stageID string, in int) float64 {
	switch stageID {
	case "feature_search":
		return 0.2 + float64(in)*0.00006
	case "attribute_filter", "sort_attribute":
		return 0.05 + float64(in)*0.001
	}
	return 0.01
}

// suggest names orders of stages that throw away what an earlier stage found.
func (p *Plan) suggest(stages []domain.Stage) {
	for i := 1; i < len(stages); i++ {
		if stages[i].ID == "attribute_filter" && stages[i-1].ID == "feature_search" {
			p.Suggestions = append(p.Suggestions, Suggestion{stages[i].Name,
				"it filters what the search kept, so fewer than final_top_k documents may remain; before the search, or as the search's filters, it would select what is searched"})
		}
	}
}
