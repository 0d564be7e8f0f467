package retrieve

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/domain"
	"varve/projections/vector"
)

// FeatureSearch finds the documents whose features are nearest to a query, by
// cosine (dense features) or BM25 (term counts). Several searches are fused. As a
// first stage it searches the retriever's collections, later what it is given.
type FeatureSearch struct {
	Searches              []FeatureQuery `json:"searches" required:"true" min:"1" max:"10" doc:"The searches; each is a feature and a query."`
	FinalTopK             int            `json:"final_top_k" default:"25" min:"1" max:"5000" doc:"How many documents leave the stage."`
	Fusion                string         `json:"fusion,omitempty" enum:"rrf,dbsf,weighted,max,learned" doc:"How the searches' rankings become one: rrf (sum of weight/(rrf_k + rank), the default for several), dbsf (sum of z-scores), weighted (sum of weight times normalized score), max (largest weighted score). One search without fusion keeps its scores. learned is not in this version."`
	Normalization         string         `json:"normalization" default:"min_max" enum:"min_max,raw" doc:"Of scores for weighted and max: min_max brings each search's scores to 0..1."`
	RRFK                  int            `json:"rrf_k" default:"60" min:"1" max:"1000" doc:"k of rrf."`
	CollectionIdentifiers []string       `json:"collection_identifiers,omitempty" doc:"Searches only these of the retriever's collections, by id or name."`
	GroupBy               *GroupBy       `json:"group_by,omitempty" doc:"Keeps the best documents for each value of a field."`
	Facets                []Facet        `json:"facets,omitempty" max:"20" doc:"Counts values of fields over all documents that the searches found."`
	CacheBehavior         string         `json:"cache_behavior,omitempty" enum:"auto,disabled,aggressive" doc:"Accepted; every search runs against the index."`
	CacheTTLSeconds       int            `json:"cache_ttl_seconds,omitempty" min:"0" doc:"Accepted; see cache_behavior."`
	HardTimeoutMS         int            `json:"hard_timeout_ms,omitempty" min:"1" doc:"Accepted; a search is never cut short, so that it can be replayed."`
	Interactive           bool           `json:"interactive,omitempty" doc:"Accepted without effect."`
	DegradeRetry          bool           `json:"degrade_retry,omitempty" doc:"Accepted without effect."`
	AutoPreprocess        bool           `json:"auto_preprocess" default:"true" doc:"Accepted; text queries are always embedded as they are."`
	QueryPreprocessing    any            `json:"query_preprocessing,omitempty" doc:"Not in this version."`
	LearningConfig        any            `json:"learning_config,omitempty" doc:"Not in this version."`
}

// FeatureQuery is one search of FeatureSearch.
type FeatureQuery struct {
	FeatureURI            string         `json:"feature_uri" required:"true" doc:"mixpeek://EXTRACTOR@VERSION/OUTPUT; an output's alias, and none for the primary output, are resolved."`
	Query                 any            `json:"query" required:"true" doc:"A text, or {input_mode: text|vector|document|content, …}."`
	TopK                  int            `json:"top_k" default:"100" min:"1" max:"5000" doc:"How many documents the search hands to the fusion."`
	MinScore              *float64       `json:"min_score,omitempty" min:"0" doc:"Documents with a lower cosine or BM25 score are not taken."`
	Weight                float64        `json:"weight" default:"1" min:"0" max:"1" doc:"Weight in the fusion."`
	Filters               *domain.Filter `json:"filters,omitempty" doc:"Searches only documents that match."`
	Lexical               bool           `json:"lexical,omitempty" doc:"Searches the extractor's term counts with BM25 instead of its dense feature."`
	Optional              bool           `json:"optional,omitempty" doc:"An empty query leaves this search out."`
	OnEmpty               string         `json:"on_empty,omitempty" enum:"error,skip,random" doc:"What an empty query does: error (the default) or skip. random is not in this version."`
	QueryPreprocessing    any            `json:"query_preprocessing,omitempty" doc:"Not in this version."`
	CollectionIdentifiers []string       `json:"collection_identifiers,omitempty" doc:"Narrows this search, see the stage's."`
}

var _ = register(kind{
	id: "feature_search", category: "filter", icon: "search", costTier: "low", source: true,
	description: "Finds documents by similarity of features: dense vectors by cosine, words by BM25, several searches fused into one ranking.",
	useCases:    []string{"Semantic search", "Full-text search", "Hybrid search with fused rankings", "More like this document"},
	example:     `{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":100}],"final_top_k":25}}`,
	params:      func() parameters { return &FeatureSearch{} },
})

func (p *FeatureSearch) check(c *checking) {
	if p.Fusion == "learned" {
		c.unsupported(c.path+".fusion", "learned fusion is not in this version; there are rrf, dbsf, weighted, max")
	}
	if p.QueryPreprocessing != nil {
		c.unsupported(c.path+".query_preprocessing", "queries are not preprocessed in this version; leave it out")
	}
	c.narrow(c.path+".collection_identifiers", p.CollectionIdentifiers)
	for i := range p.Searches {
		p.Searches[i].check(c, fmt.Sprintf("%s.searches[%d]", c.path, i))
	}
}

func (q *FeatureQuery) check(c *checking, at string) {
	c.narrow(at+".collection_identifiers", q.CollectionIdentifiers)
	if q.OnEmpty == "random" {
		c.unsupported(at+".on_empty", "random documents are not given in this version; there are error, skip")
	}
	if q.QueryPreprocessing != nil {
		c.unsupported(at+".query_preprocessing", "queries are not preprocessed in this version; leave it out")
	}
	f, ok := c.feature(at+".feature_uri", q.FeatureURI)
	if q.Lexical && ok && f.Kind == "dense" && f.Lexical == "" {
		c.report(at+".lexical", "feature_uri", "the extractor of %q counts no words", q.FeatureURI)
	}
	if readsDocument(q.Filters) {
		c.report(at+".filters", "template", "DOC is not available here: the filter selects before there are documents; use attribute_filter")
	}
	if hasAnyTemplate(q.Query) {
		return
	}
	written, err := parseQuery(at+".query", q.Query)
	if err != nil {
		c.adopt(at+".query", err)
		return
	}
	if ok && written.mode == "vector" && f.Dims > 0 && len(written.vector) != f.Dims {
		c.report(at+".query.value", "range", "the vector has %d dimensions; %s has %d", len(written.vector), f.URI, f.Dims)
	}
}

func hasAnyTemplate(v any) bool {
	found := false
	walk(v, func(s string) { found = found || templated(s) })
	return found
}

func (p *FeatureSearch) run(ctx context.Context, r *run, s *step) error {
	base := domain.AllOf(append(slices.Clone(r.pending), s.pre)...)
	s.pushed, r.pending = len(r.pending) > 0, nil
	first := !r.started
	if first {
		base = domain.AllOf(r.filter, base)
	}
	given := map[string]*item{}
	if !first {
		if base = s.pre; len(r.items) == 0 {
			return nil
		}
		ids := make([]any, len(r.items))
		for i, it := range r.items {
			ids[i], given[it.id] = it.id, it
		}
		among, err := domain.ParseLiteralFilterValue("filter", map[string]any{"field": "document_id", "operator": "in", "value": ids, "case_sensitive": true})
		if err != nil {
			return err
		}
		base = domain.AllOf(among, base)
	}
	lists := make([]list, 0, len(p.Searches))
	below, skipped := map[string]vector.Hit{}, 0
	for i := range p.Searches {
		l, ran, err := p.search(ctx, r, s, i, base, below)
		if err != nil {
			return err
		}
		if !ran {
			skipped++
		}
		lists = append(lists, l) // an empty one for a skipped search keeps the numbers
	}
	if skipped == len(p.Searches) && !first {
		return nil // nothing to search for: what was given passes
	}
	if first && !s.pushed { // searches may look at different collections
		among, err := r.allow(ctx, slices.Sorted(slices.Values(s.rec.Collections)), base)
		if err != nil {
			return err
		}
		s.rec.Input = among.Candidates()
	}
	ranked := fuse(lists, p.strategy(), p.Normalization, p.RRFK)
	return p.finish(ctx, r, s, ranked, below, given)
}

func (p *FeatureSearch) strategy() string {
	if p.Fusion != "" {
		return p.Fusion
	}
	if len(p.Searches) == 1 {
		return fuseRaw
	}
	return fuseRRF
}

// search runs one search. What the index handed over below min_score goes into
// below, so that the record can say why it is not in the answer.
func (p *FeatureSearch) search(ctx context.Context, r *run, s *step, i int, base *domain.Filter, below map[string]vector.Hit) (list, bool, error) {
	w := &p.Searches[i]
	at := fmt.Sprintf("%s.searches[%d]", s.parameterPath(), i)
	l := list{weight: w.Weight}
	q, err := parseQuery(at+".query", w.Query)
	if err != nil {
		return l, false, err
	}
	f := r.eff.Features[w.FeatureURI]
	if q.mode == "" {
		if w.Optional || w.OnEmpty == "skip" {
			r.warn("%s: search %d (%s) was left out: its query is empty", s.stage.Name, i, w.FeatureURI)
			return l, false, nil
		}
		return l, false, domain.Invalid(at+".query", "missing", "the query is empty; give one, or set optional or on_empty: skip")
	}
	ready, err := r.embed(ctx, at+".query", f, w.Lexical, q)
	if err != nil {
		return l, false, err
	}
	collections := r.collections(p.CollectionIdentifiers, w.CollectionIdentifiers)
	set, err := r.allow(ctx, collections, domain.AllOf(base, w.Filters))
	if err != nil {
		return l, false, err
	}
	if s.pushed {
		s.rec.Input = r.steps[s.index-1].rec.Output
	}
	if filter := domain.AllOf(base, w.Filters); filter != nil {
		s.rec.Passed = appendNew(s.rec.Passed, domain.FilterPassed{Filter: r.describe(filter), Passed: set.Len(), Of: set.Candidates()})
	}
	s.rec.FeatureURIs = appendNew(s.rec.FeatureURIs, ready.uri)
	for _, id := range collections {
		s.rec.Collections = appendNew(s.rec.Collections, id)
	}
	if ready.note != "" {
		r.warn("%s: search %d (%s): %s", s.stage.Name, i, ready.uri, ready.note)
		s.trace.Lists = append(s.trace.Lists, TraceList{Name: ready.uri})
		return l, true, nil
	}
	var result vector.Result
	if ready.dense != nil {
		result, err = r.view.Dense(ctx, set, ready.uri, ready.dense, w.TopK)
	} else {
		result, err = r.view.Sparse(ctx, set, ready.uri, ready.terms, w.TopK)
	}
	if err != nil {
		return l, false, fmt.Errorf("search %s: %w", ready.uri, err)
	}
	s.rec.Plan = result.Plan
	under := 0 // of min_score
	traced := TraceList{Name: ready.uri, Scored: result.Scored, Cutoff: result.Cutoff, Hits: make([]Scored, len(result.Hits))}
	for j, h := range result.Hits {
		traced.Hits[j] = Scored{h.ID, h.Score}
		if w.MinScore != nil && float64(h.Score) < *w.MinScore {
			below[h.ID] = h
			under++
		}
	}
	l.hits = result.Hits[:len(result.Hits)-under] // best first: those below are last
	if result.Scored > len(result.Hits) {
		s.rec.Cutoff = lower(s.rec.Cutoff, result.Cutoff)
	}
	s.trace.Lists = append(s.trace.Lists, traced)
	return l, true, nil
}

func lower(have *float32, next float32) *float32 {
	if have == nil || next < *have {
		return &next
	}
	return have
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// finish turns the fused ranking into the stage's result and accounts for all
// that was handed over or given and is not in it.
func (p *FeatureSearch) finish(ctx context.Context, r *run, s *step, ranked []fused, below map[string]vector.Hit, given map[string]*item) error {
	items := make([]*item, len(ranked))
	for i, f := range ranked {
		it := given[f.hit.ID]
		if it == nil {
			it = &item{id: f.hit.ID, collection: f.hit.Collection, position: f.hit.Position}
		}
		it.score, it.found, it.foundBy = f.score, f.found, p
		items[i] = it
		delete(below, it.id)
		delete(given, it.id)
	}
	for _, id := range slices.Sorted(maps.Keys(below)) {
		h := below[id]
		s.drop(&item{id: id, score: h.Score}, ReasonMinScore, "")
		delete(given, id)
	}
	if r.started {
		for _, it := range r.items {
			if given[it.id] != nil {
				s.drop(it, ReasonNotScored, "")
			}
		}
	} else {
		s.rec.Unseen = s.rec.Input - len(items) - len(s.trace.Dropped)
	}
	var err error
	if len(p.Facets) > 0 {
		if r.facets, err = countFacets(ctx, r, items, p.Facets); err != nil {
			return err
		}
	}
	if p.GroupBy != nil {
		if items, err = p.GroupBy.apply(ctx, r, s, items); err != nil {
			return err
		}
	}
	if len(items) > p.FinalTopK {
		last := items[p.FinalTopK-1]
		detail := fmt.Sprintf("final_top_k %d, last score %s", p.FinalTopK, scoreText(last.score))
		s.trace.Dropped = slices.Grow(s.trace.Dropped, len(items)-p.FinalTopK)
		for _, it := range items[p.FinalTopK:] {
			s.drop(it, ReasonOutranked, detail)
		}
		items = items[:p.FinalTopK]
	}
	r.items, r.started = items, true
	return nil
}

func scoreText(score float32) string {
	b, _ := json.Marshal(score)
	return strings.TrimSpace(string(b))
}

func (p *FeatureSearch) estimate(in int) (int, []string) {
	most := 0
	for i := range p.Searches {
		most += p.Searches[i].TopK
	}
	out := min(in, most, p.FinalTopK)
	notes := []string{fmt.Sprintf("exact search of %d feature(s) over %d document(s), fused by %s", len(p.Searches), in, p.strategy())}
	if most < p.FinalTopK {
		notes = append(notes, fmt.Sprintf("the searches hand over %d documents at most, final_top_k is %d", most, p.FinalTopK))
	}
	return out, notes
}
