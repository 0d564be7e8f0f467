// Package retrieve runs retrievers: it reads their stages, checks and runs them
// as of a position, records every execution, explains, and replays. A stage is one
// file of this package.
package retrieve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
	"varve/projections/vector"
)

// Engine executes retrievers. Its fields are set before use and not changed; it is
// safe for concurrent use.
type Engine struct {
	Index vector.Index
	// Documents gives documents by id as the API shows them: the user's fields at
	// the root, document_id, collection_id, metadata, _internal. Ids without a
	// document valid at the position are left out. The maps are not changed.
	Documents func(ctx context.Context, at projections.At, ids []string) (map[string]map[string]any, error)
	// Record keeps an execution durably before it returns: header as the event's
	// data, trace as its attachment "trace". Nil keeps none, for tests.
	Record func(ctx context.Context, log eventstore.LogID, header *domain.ExecutionRecorded, trace []byte) error
	Now    func() time.Time           // nil: time.Now
	NewID  func(prefix string) string // of executions
	Code   map[string]string          // further versions for records, such as varve's own

	plans plans
}

// Modes of an execution.
const (
	ModeRetriever = "retriever"
	ModeAdhoc     = "adhoc"
)

// Request is one execution.
type Request struct {
	At        projections.At // where to read; a cursor's own position goes before it
	Config    domain.Config  // as of At
	Retriever domain.Retriever
	Mode      string // ModeRetriever, ModeAdhoc

	Inputs     json.RawMessage // object
	Filters    json.RawMessage // of the request, must hold beside the stages'
	Pagination json.RawMessage // {method: offset|cursor|keyset|scroll, …}
	Limit      int             // 0: not given; loses against Pagination

	Principal      string
	KeyID          string
	TraceID        string
	PolicyPosition uint64

	BestEffortTrace bool // answers even where the execution cannot be recorded
	ReturnVectors   bool
	Explain         bool // adds the plan with estimates beside what was counted
}

// Execution is what a retriever answered.
type Execution struct {
	ID            string
	TraceID       string
	RetrieverID   string
	Status        string // completed, degraded
	Position      uint64
	Documents     []map[string]any // with score, _source_tier and _provenance beside the document's own members
	Pagination    map[string]any
	Stages        map[string]StageStatistics
	Facets        []FacetCounts
	Total         int // results before paging
	ResultHash    string
	Warnings      []string
	Limits        []LimitEntry
	Degraded      []DegradedEntry
	Duration      time.Duration
	Plan          *Plan // with Request.Explain
	Header        *domain.ExecutionRecorded
	Trace         *Trace
	TraceRecorded bool
}

// StageStatistics is what the reference says of one stage of an execution.
type StageStatistics struct {
	InputCount  int            `json:"input_count"`
	OutputCount int            `json:"output_count"`
	DurationMS  float64        `json:"duration_ms"`
	Efficiency  float64        `json:"efficiency"`
	CacheHit    bool           `json:"cache_hit"`
	Error       string         `json:"error,omitempty"`
	Metadata    map[string]any `json:"metadata"`
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Execute runs a retriever and keeps its record before it answers. Errors: invalid
// for inputs, filters, pagination and parameters, by path; unavailable where the
// index has not applied the position, or the record cannot be written and the
// request does not say best effort; unsupported as in Check. An execution that
// fails in a stage is recorded too.
func (e *Engine) Execute(ctx context.Context, req Request) (*Execution, error) {
	began := e.now()
	eff, gone, err := e.compiled(req)
	if err != nil {
		return nil, err
	}
	ask, err := e.ask(eff, req.Inputs, req.Filters, req.Pagination, req.Limit)
	if err != nil {
		return nil, err
	}
	if req.At.Position, err = ask.page.pin(req.At.Position, ask.digest); err != nil {
		return nil, err
	}
	budget, err := parseBudget(req.Retriever.BudgetLimits)
	if err != nil {
		return nil, err
	}
	limited, done := budget.spend(ctx)
	defer done()
	out, runErr := e.execute(limited, req.At, eff, ask, gone)
	runErr = budget.overspent(limited, runErr)
	x := &Execution{TraceID: req.TraceID, RetrieverID: req.Retriever.RetrieverID, Position: req.At.Position}
	if e.NewID != nil {
		x.ID = e.NewID(domain.ExecutionPrefix)
	}
	if out == nil { // nothing ran
		return nil, runErr
	}
	defer out.run.view.Close()
	if runErr == nil {
		runErr = e.answer(ctx, x, out, ask, req)
	}
	x.Duration = e.now().Sub(began)
	x.Header, x.Trace = e.header(x, out, ask, req, runErr), out.trace()
	if err := e.keep(ctx, x, req); err != nil {
		if runErr != nil {
			return nil, runErr
		}
		return nil, err
	}
	if runErr != nil {
		return nil, failed(runErr, x.ID)
	}
	return x, nil
}

// failed tells the client which record has the details.
func failed(err error, id string) error {
	var e *domain.Error
	if id == "" || !errors.As(err, &e) {
		return err
	}
	with := *e
	with.Details = maps.Clone(e.Details)
	if with.Details == nil {
		with.Details = map[string]any{}
	}
	with.Details["execution_id"] = id
	return &with
}

// keep records the execution.
func (e *Engine) keep(ctx context.Context, x *Execution, req Request) error {
	if e.Record == nil {
		return nil
	}
	err := e.Record(ctx, req.At.Log, x.Header, x.Trace.Encode())
	if err == nil {
		x.TraceRecorded = true
		return nil
	}
	if !req.BestEffortTrace {
		u := domain.Errorf(domain.CodeUnavailable, "the execution cannot be recorded, and an answer without its record is not given; try again, or send trace=best_effort")
		u.Err, u.RetryAfter = err, 1
		u.Reason = "trace_unavailable"
		return u
	}
	x.Warnings = append(x.Warnings, "the execution could not be recorded: it has no trace and cannot be replayed")
	return nil
}

// asking is a request, read: what is asked of an effective configuration.
type asking struct {
	inputs  map[string]any // after the schema
	raw     json.RawMessage
	asked   *domain.Filter // the request's, templates unfilled
	filter  *domain.Filter // filled
	env     domain.TemplateEnv
	page    *page
	digest  string // of configuration, inputs and filters: whose pages a cursor turns
	notes   []string
	rawPage json.RawMessage
}

func (e *Engine) ask(eff *effective, inputs, filters, pagination json.RawMessage, limit int) (*asking, error) {
	schema, err := domain.ParseInputSchema("input_schema", eff.InputSchema)
	if err != nil {
		return nil, err
	}
	a := &asking{}
	given := map[string]any{}
	if v, err := decodeTree(inputs); err != nil {
		return nil, domain.Invalid("inputs", "json", "%s", err.Error())
	} else if v != nil {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, domain.Invalid("inputs", "type", "must be an object of names and values, not %s", describe(v))
		}
		given = m
	}
	applied, wrong := schema.Apply(given)
	if err := violations(wrong); err != nil {
		return nil, err
	}
	if schema != nil && len(schema.Fields) > 0 {
		for _, name := range schema.Unknown(given) {
			a.notes = append(a.notes, fmt.Sprintf("inputs.%s is not in the retriever's input_schema", name))
		}
	}
	a.inputs, a.raw = applied, domain.EncodeValue(applied)
	a.env = domain.TemplateEnv{Input: applied, Stage: map[string]any{}, Context: map[string]any{}, Optional: schema.Optional()}
	if a.asked, err = domain.ParseFilter("filters", filters); err != nil {
		return nil, err
	}
	if readsDocument(a.asked) {
		return nil, domain.Invalid("filters", "template", "DOC is not available in a request's filters; use an attribute_filter stage")
	}
	if a.filter, err = resolve("filters", a.asked, a.env); err != nil {
		return nil, err
	}
	if a.page, err = parsePage(pagination, limit); err != nil {
		return nil, err
	}
	if len(pagination) > 0 && string(pagination) != "null" && limit > 0 {
		a.notes = append(a.notes, "limit is not used: pagination says how many documents to return")
	}
	a.rawPage = a.page.encode()
	a.digest = digest(eff, a.raw, a.filter)
	return a, nil
}

// outcome is a finished run and the page of it that was asked for.
type outcome struct {
	run         *run
	total       int
	from        int // index of the page's first item
	items       []*item
	after       *item // the page's last, where there are more
	resultsHash string
}

// execute runs the stages and cuts the page. The caller closes the run's view;
// with an error in a stage the outcome is what there is to record.
func (e *Engine) execute(ctx context.Context, at projections.At, eff *effective, a *asking, gone []string) (*outcome, error) {
	view, err := e.Index.View(ctx, at.Log, at.Position)
	if err != nil {
		return nil, err
	}
	out := &outcome{run: &run{engine: e, at: at, eff: eff, view: view, env: a.env, filter: a.filter, sets: map[string]vector.Set{}}}
	out.run.warnings = append(out.run.warnings, a.notes...)
	for _, id := range gone {
		out.run.degrade("collection", id, "it was deleted", "take it out of the retriever's collection_identifiers", "")
	}
	if err := out.run.stages(ctx); err != nil {
		return out, err
	}
	out.total = len(out.run.items)
	if out.from, out.items, err = a.page.cut(out.run.items); err != nil {
		return out, err
	}
	if n := len(out.items); n > 0 && out.from+n < out.total {
		out.after = out.items[n-1]
	}
	out.resultsHash = resultHash(out.from, out.items)
	return out, nil
}

func (o *outcome) trace() *Trace {
	t := &Trace{Stages: make([]StageTrace, len(o.run.steps))}
	for i, s := range o.run.steps {
		t.Stages[i] = s.trace
	}
	return t
}

// answer composes what the client gets.
func (e *Engine) answer(ctx context.Context, x *Execution, out *outcome, a *asking, req Request) error {
	r := out.run
	if err := r.load(ctx, nil, out.items); err != nil {
		return err
	}
	x.Documents = make([]map[string]any, len(out.items))
	for i, it := range out.items {
		doc := make(map[string]any, len(it.doc)+4)
		maps.Copy(doc, it.doc)
		doc["score"] = it.score
		doc["_source_tier"] = "hot"
		doc["_provenance"] = r.provenance(it, out.from+i+1)
		if req.ReturnVectors {
			vectors, err := r.vectors(ctx, it)
			if err != nil {
				return err
			}
			doc["_vectors"] = vectors
		}
		x.Documents[i] = doc
	}
	x.Status = "completed"
	if len(r.degraded) > 0 {
		x.Status = "degraded"
	}
	x.Total, x.ResultHash = out.total, out.resultsHash
	x.Pagination = a.page.answer(out, req.At.Position, a.digest)
	x.Warnings, x.Limits, x.Degraded, x.Facets = r.warnings, r.limits, r.degraded, r.facets
	x.Stages = make(map[string]StageStatistics, len(r.steps))
	for _, s := range r.steps {
		x.Stages[s.stage.Name] = s.statistics()
	}
	if req.Explain {
		x.Plan = r.plan(true)
		x.Plan.RetrieverID, x.Plan.RetrieverName = req.Retriever.RetrieverID, req.Retriever.Name
	}
	return nil
}

func (s *step) statistics() StageStatistics {
	st := StageStatistics{
		InputCount: s.rec.Input, OutputCount: s.rec.Output, DurationMS: float64(s.rec.DurationMicros) / 1000,
		Error: s.rec.Error, Metadata: map[string]any{"plan": s.rec.Plan, "dropped": s.rec.Dropped},
	}
	if st.InputCount > 0 {
		st.Efficiency = float64(st.OutputCount) / float64(st.InputCount)
	}
	if s.rec.Unseen > 0 {
		st.Metadata["not_handed_over"] = s.rec.Unseen
	}
	if len(s.rec.FeatureURIs) > 0 {
		st.Metadata["feature_uris"] = s.rec.FeatureURIs
	}
	return st
}

// SearchProvenance is how one search saw a document.
type SearchProvenance struct {
	FeatureURI   string  `json:"feature_uri"`
	Rank         int     `json:"rank"`
	Score        float32 `json:"score"` // cosine or BM25
	Weight       float64 `json:"weight"`
	Contribution float64 `json:"contribution"` // to the fused score
}

// Provenance is where a result comes from.
type Provenance struct {
	Rank     int                `json:"rank"`     // in the whole result, from 1
	Position uint64             `json:"position"` // of the log: the document's version
	Searches []SearchProvenance `json:"searches,omitempty"`
}

func (r *run) provenance(it *item, rank int) Provenance {
	p := Provenance{Rank: rank, Position: it.position}
	for _, f := range it.found {
		p.Searches = append(p.Searches, SearchProvenance{r.uriOf(it, f), f.rank, f.score, it.foundBy.Searches[f.search].Weight, f.part})
	}
	return p
}

// vectors gives a document's dense features that the retriever searches.
func (r *run) vectors(ctx context.Context, it *item) (map[string][]float32, error) {
	out := map[string][]float32{}
	for _, written := range slices.Sorted(maps.Keys(r.eff.Features)) {
		f := r.eff.Features[written]
		if f.Kind != "dense" {
			continue
		}
		v, err := r.view.Vector(ctx, it.id, f.URI)
		if err != nil {
			return nil, fmt.Errorf("read vector of %s: %w", it.id, err)
		}
		if v != nil {
			out[f.URI] = v
		}
	}
	return out, nil
}
