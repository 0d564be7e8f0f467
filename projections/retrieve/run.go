package retrieve

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"varve/domain"
	"varve/eventstore/tracing"
	"varve/projections"
	"varve/projections/vector"
)

// item is a document on its way through the stages.
type item struct {
	id, collection string
	position       uint64 // of the document's version
	score          float32
	found          []found        // by the last feature_search
	foundBy        *FeatureSearch // that one
	doc            map[string]any // nil until loaded; never changed
}

// run is one execution of an effective configuration at one position.
type run struct {
	engine  *Engine
	at      projections.At
	eff     *effective
	view    vector.View
	env     domain.TemplateEnv
	filter  *domain.Filter // the request's; applied by the first stage
	pending []*domain.Filter
	items   []*item
	started bool // some stage has selected documents

	sets     map[string]vector.Set
	steps    []*step
	facets   []FacetCounts
	warnings []string
	limits   []LimitEntry
	degraded []DegradedEntry
}

// LimitEntry says that something was cut to a limit.
type LimitEntry struct {
	Name      string `json:"name"`
	Requested int    `json:"requested"`
	Applied   int    `json:"applied"`
	Ceiling   int    `json:"ceiling"`
	Stage     string `json:"stage,omitempty"`
}

// DegradedEntry says what an answer had to do without.
type DegradedEntry struct {
	Resource string `json:"resource"`
	ID       string `json:"id"`
	Reason   string `json:"reason"`
	NextStep string `json:"next_step,omitempty"`
	Stage    string `json:"stage,omitempty"`
}

func (r *run) warn(format string, args ...any) {
	r.warnings = appendNew(r.warnings, fmt.Sprintf(format, args...))
}

func (r *run) limit(s *step, name string, requested, applied, ceiling int) {
	r.limits = append(r.limits, LimitEntry{name, requested, applied, ceiling, s.stage.Name})
}

func (r *run) degrade(resource, id, reason, next, stage string) {
	r.degraded = append(r.degraded, DegradedEntry{resource, id, reason, next, stage})
}

// collections gives the ids of the narrowest list that is given, sorted.
func (r *run) collections(lists ...[]string) []string {
	ids := r.eff.Collections
	for _, list := range lists {
		if len(list) == 0 {
			continue
		}
		narrowed := []string{}
		for _, id := range ids {
			for _, written := range list {
				if r.eff.Identifiers[written] == id {
					narrowed = appendNew(narrowed, id)
				}
			}
		}
		ids = narrowed
	}
	return ids
}

// allow selects documents, once for each collections and filter in a run.
func (r *run) allow(ctx context.Context, collections []string, filter *domain.Filter) (vector.Set, error) {
	key := strings.Join(collections, ",") + "\x00" + filter.String()
	if set, ok := r.sets[key]; ok {
		return set, nil
	}
	if len(collections) == 0 {
		return emptySet{}, nil // to a view, none means all
	}
	selecting, err := forIndex(filter)
	if err != nil {
		return nil, err
	}
	set, err := r.view.Allow(ctx, collections, selecting)
	if err != nil {
		return nil, fmt.Errorf("select documents: %w", err)
	}
	r.sets[key] = set
	return set, nil
}

type emptySet struct{}

func (emptySet) Len() int                     { return 0 }
func (emptySet) Contains(string) bool         { return false }
func (emptySet) All(string, int) []vector.Hit { return nil }
func (emptySet) Candidates() int              { return 0 }

// describe is a filter as records show it.
func (r *run) describe(f *domain.Filter) string {
	const most = 1000
	text := f.String()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// load reads the documents of items that have not been read.
func (r *run) load(ctx context.Context, s *step, items []*item) error {
	var ids []string
	for _, it := range items {
		if it.doc == nil {
			ids = append(ids, it.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	docs, err := r.engine.Documents(ctx, r.at, ids)
	if err != nil {
		return fmt.Errorf("read %d documents: %w", len(ids), err)
	}
	for _, it := range items {
		if it.doc != nil {
			continue
		}
		if it.doc = docs[it.id]; it.doc == nil {
			it.doc = map[string]any{"document_id": it.id, "collection_id": it.collection}
			name := ""
			if s != nil {
				name = s.stage.Name
			}
			r.degrade("document", it.id, "it is in the index and its fields cannot be read", "rebuild the documents read model", name)
		}
	}
	return nil
}

// keep drops the documents that do not match; the field score is the document's
// score at this place. A condition whose value comes from
// the document does not match where the document has none.
func (r *run) keep(ctx context.Context, s *step, f *domain.Filter, name string) error {
	if f == nil || len(r.items) == 0 {
		return nil
	}
	if err := r.load(ctx, s, r.items); err != nil {
		return err
	}
	perDocument := readsDocument(f)
	kept := r.items[:0:0]
	for _, it := range r.items {
		g := f
		if perDocument {
			env := r.env
			env.Doc, env.Strict = it.doc, true // a condition that lost its value must not match more
			var err error
			if g, err = resolve(name, f, env); err != nil {
				s.drop(it, ReasonFiltered, err.Error())
				continue
			}
		}
		if ok, why := g.MatchExplain(forFilter(g, it)); !ok {
			s.drop(it, ReasonFiltered, why.String())
			continue
		}
		kept = append(kept, it)
	}
	s.rec.Passed = append(s.rec.Passed, domain.FilterPassed{Filter: r.describe(f), Passed: len(kept), Of: len(r.items)})
	r.items = kept
	return nil
}

// stages runs all stages. A stage that fails ends the run, unless it says
// on_error: skip: then what was before it goes on. A first stage that is skipped
// leaves nothing, and the next that can select documents does.
func (r *run) stages(ctx context.Context) error {
	context := map[string]any{}
	r.env.Context = context
	for i := range r.eff.Stages {
		stage := &r.eff.Stages[i]
		s := &step{index: i, path: fmt.Sprintf("stages[%d]", i), stage: stage}
		if i+1 < len(r.eff.Stages) {
			s.next = &r.eff.Stages[i+1]
		}
		s.rec = domain.StageRecord{Name: stage.Name, ID: stage.ID, Type: stage.Type, Input: len(r.items)}
		s.trace.Name = stage.Name
		r.steps = append(r.steps, s)
		began := r.engine.now()
		before, pending, started := r.items, r.pending, r.started
		err := r.traced(ctx, s)
		if s.rec.Plan != "pushed_down" || err != nil {
			s.rec.Output = len(r.items)
		}
		if err != nil {
			s.rec.Error = err.Error()
			if stage.OnError != "skip" || ctx.Err() != nil || domain.CodeOf(err) == domain.CodeUnavailable {
				s.rec.DurationMicros = r.engine.now().Sub(began).Microseconds()
				return err
			}
			r.items, r.pending, r.started = before, pending, started
			s.trace.Dropped, s.rec.Passed = nil, nil
			s.rec.Output = len(r.items)
			r.degrade("stage", stage.Name, err.Error(), "correct the stage, or remove on_error: skip to see it fail", stage.Name)
			r.warn("%s failed and was skipped: %s", stage.Name, err.Error())
		}
		s.rec.Dropped = len(s.trace.Dropped)
		if r.started {
			s.trace.Kept = make([]Scored, len(r.items))
			for j, it := range r.items {
				s.trace.Kept[j] = Scored{it.id, it.score}
			}
		}
		if stage.OutputAlias != "" {
			if err := r.load(ctx, s, r.items); err != nil {
				return err
			}
			list := make([]any, len(r.items))
			for j, it := range r.items {
				list[j] = it.doc
			}
			context[stage.OutputAlias] = list
		}
		s.rec.DurationMicros = r.engine.now().Sub(began).Microseconds()
	}
	return nil
}

// traced is stage, within a span where the request is traced.
func (r *run) traced(ctx context.Context, s *step) error {
	ctx, span := tracing.Start(ctx, "stage")
	err := r.stage(ctx, s)
	if span.IsRecording() {
		span.SetName("stage " + s.stage.ID)
		span.SetAttributes(attribute.String("varve.stage", s.stage.Name), attribute.Int("varve.documents.in", s.rec.Input), attribute.Int("varve.documents.out", len(r.items)))
	}
	tracing.End(span, err)
	return err
}

// stage fills in and runs one stage between its two filters.
func (r *run) stage(ctx context.Context, s *step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k, err := lookup(s.path, s.stage.ID)
	if err != nil {
		return err
	}
	r.env.Stage = map[string]any{
		"name": s.stage.Name, "stage_id": s.stage.ID, "index": number(s.index), "total": number(len(r.eff.Stages)), "input_count": number(len(r.items)),
	}
	v, err := decodeTree(s.stage.Parameters)
	if err != nil {
		return err
	}
	p := k.params()
	d := decoder{env: &r.env}
	if err := d.decode(s.parameterPath(), v, p); err != nil {
		return err
	}
	if s.rec.Parameters, err = json.Marshal(p); err != nil {
		return fmt.Errorf("encode parameters: %w", err)
	}
	if s.pre, err = r.stageFilter(s.path+".config.pre_filters", s.stage.PreFilters); err != nil {
		return err
	}
	if s.post, err = r.stageFilter(s.path+".config.post_filters", s.stage.PostFilters); err != nil {
		return err
	}
	if r.started && s.pre != nil {
		if err := r.keep(ctx, s, s.pre, s.path+".config.pre_filters"); err != nil {
			return err
		}
		s.pre = nil
	}
	if !r.started && readsDocument(s.pre) {
		return domain.Invalid(s.path+".config.pre_filters", "template", "DOC is not available in the pre_filters of a first stage; use post_filters")
	}
	if err := p.run(ctx, r, s); err != nil {
		return s.stamp(err)
	}
	s.rec.Segments = nil
	if k.source && s.rec.Plan != "documents" {
		s.rec.Segments = r.view.Segments()
	}
	if s.post != nil {
		return r.keep(ctx, s, s.post, s.path+".config.post_filters")
	}
	return nil
}

func (r *run) stageFilter(path string, raw json.RawMessage) (*domain.Filter, error) {
	f, err := domain.ParseFilter(path, raw)
	if err != nil || readsDocument(f) {
		return f, err
	}
	return resolve(path, f, r.env)
}

func number(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// uriOf is the feature that one of a document's searches used.
func (r *run) uriOf(it *item, f found) string {
	q := it.foundBy.Searches[f.search]
	resolved := r.eff.Features[q.FeatureURI]
	if q.Lexical && resolved.Kind == "dense" && resolved.Lexical != "" {
		return resolved.Lexical
	}
	return resolved.URI
}
