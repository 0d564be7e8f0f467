package retrieve

import (
	"context"
	"fmt"

	"varve/domain"
)

// MaxSelected is how many documents a stage takes that selects without a search.
const MaxSelected = 10000

// AttributeFilter keeps documents whose fields match. As a first stage it selects
// them from the retriever's collections: before a feature_search without a limit,
// otherwise the first MaxSelected by id.
type AttributeFilter struct {
	Field           string         `json:"field,omitempty" doc:"Path of the field, for example metadata.status; with operator and value."`
	Operator        string         `json:"operator,omitempty" enum:"eq,ne,gt,lt,gte,lte,in,nin,contains,starts_with,ends_with,regex,exists,is_null,text,phrase,words,geo_radius,geo_bounding_box,geo_polygon" doc:"How it is compared; eq where none is given."`
	Value           any            `json:"value,omitempty" raw:"true" doc:"The value, a template, or {type: dynamic, field: inputs.x}."`
	CaseInsensitive bool           `json:"case_insensitive,omitempty" doc:"For field, operator and value: compares strings without regard to case."`
	Conditions      *domain.Filter `json:"conditions,omitempty" doc:"Instead of one field: a filter with AND, OR, NOT."`
	BatchSize       int            `json:"batch_size" default:"100" min:"1" max:"1000" doc:"Accepted without effect."`
	NaturalLanguage string         `json:"natural_language,omitempty" doc:"Not in this version."`
	FieldHints      []string       `json:"field_hints,omitempty" doc:"Not in this version."`

	filter *domain.Filter // all of the above
}

var _ = register(kind{
	id: "attribute_filter", category: "filter", icon: "filter", costTier: "free", source: true,
	description: "Keeps the documents whose fields match conditions; as the first stage it selects them.",
	useCases:    []string{"Restrict a search to a category", "Browse without a query", "Enforce a range of dates or prices"},
	example:     `{"stage_id":"attribute_filter","parameters":{"conditions":{"AND":[{"field":"metadata.year","operator":"gte","value":"{{INPUT.year}}"}]}}}`,
	params:      func() parameters { return &AttributeFilter{} },
})

func (p *AttributeFilter) check(c *checking) {
	if p.NaturalLanguage != "" {
		c.unsupported(c.path+".natural_language", "filters in natural language are not in this version; give conditions")
		return
	}
	if err := p.prepare(c.path, nil); err != nil {
		c.adopt(c.path, err)
	}
}

// prepare makes the one filter of both forms. With env, what is pending is filled,
// except what comes from documents.
func (p *AttributeFilter) prepare(path string, env *domain.TemplateEnv) error {
	if p.Field == "" && p.Conditions == nil && p.Value == nil {
		if env != nil {
			return nil // everything that it asked for was optional and absent
		}
		return domain.Invalid(path, "missing", "the filter is empty; give field, operator and value, or conditions")
	}
	p.filter = p.Conditions
	if p.Field == "" && p.Conditions != nil {
		return nil
	}
	if templated(p.Field) && env == nil {
		return nil // known when there are inputs
	}
	if p.Field == "" {
		return domain.Invalid(path+".field", "missing", "names the field that is compared with value")
	}
	condition := map[string]any{"field": p.Field, "operator": "eq", "case_sensitive": !p.CaseInsensitive}
	if p.Operator != "" {
		condition["operator"] = p.Operator
	}
	switch p.Value.(type) {
	case nil:
	case explicitNull:
		condition["value"] = nil
	default:
		condition["value"] = p.Value
	}
	f, err := domain.ParseFilterValue(path, condition)
	if err == nil && env != nil && !readsDocument(f) {
		f, err = resolve(path, f, *env)
	}
	if err != nil {
		return err
	}
	p.filter = domain.AllOf(p.filter, f)
	return nil
}

func (p *AttributeFilter) run(ctx context.Context, r *run, s *step) error {
	if err := p.prepare(s.parameterPath(), &r.env); err != nil {
		return err
	}
	if r.started {
		s.rec.Plan = "documents"
		return r.keep(ctx, s, p.filter, s.rec.Name)
	}
	perDocument := readsDocument(p.filter)
	selecting := domain.AllOf(append(r.pending, s.pre)...)
	if !perDocument {
		selecting = domain.AllOf(selecting, p.filter)
	}
	set, err := r.allow(ctx, r.eff.Collections, domain.AllOf(r.filter, selecting))
	if err != nil {
		return err
	}
	s.rec.Input, s.rec.Collections = set.Candidates(), r.eff.Collections
	if len(r.pending) > 0 {
		s.rec.Input = r.steps[s.index-1].rec.Output
	}
	if selecting != nil || r.filter != nil {
		s.rec.Passed = append(s.rec.Passed, domain.FilterPassed{Filter: r.describe(domain.AllOf(r.filter, selecting)), Passed: set.Len(), Of: set.Candidates()})
	}
	if !perDocument && s.pushes() {
		r.pending = nil
		if selecting != nil {
			r.pending = []*domain.Filter{selecting}
		}
		s.rec.Plan, s.rec.Output = "pushed_down", set.Len()
		s.rec.Unseen = s.rec.Input - set.Len()
		return nil
	}
	r.pending = nil
	s.rec.Plan = "index"
	hits := set.All("", MaxSelected)
	if set.Len() > len(hits) {
		r.limit(s, "selected_documents", set.Len(), len(hits), MaxSelected)
		r.warn("%s: %d documents match; the first %d by id were taken", s.stage.Name, set.Len(), len(hits))
	}
	s.rec.Unseen = s.rec.Input - len(hits)
	r.started, r.items = true, make([]*item, len(hits))
	for i, h := range hits {
		r.items[i] = &item{id: h.ID, collection: h.Collection, position: h.Position}
	}
	if perDocument {
		return r.keep(ctx, s, p.filter, s.rec.Name)
	}
	return nil
}

// pushes says whether a filter that comes first can wait for the search after it:
// the search then selects by it, which gives the same result without a list of
// everything that matches.
func (s *step) pushes() bool {
	return s.next != nil && (s.next.ID == "feature_search" || s.next.ID == "attribute_filter") && s.next.OnError != "skip" &&
		s.post == nil && s.stage.OutputAlias == ""
}

func (p *AttributeFilter) estimate(in int) (int, []string) {
	out := in
	if p.filter != nil || p.Conditions != nil {
		out = (in + 2) / 3
	}
	return out, []string{fmt.Sprintf("a third of %d documents is assumed to match where no index says more", in)}
}
