package http

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
	"varve/projections/retrieve"
)

var _ = noun("execution", (*Server).executionRoutes)

func (s *Server) executionRoutes() {
	run := needs{Permission: "read", Resource: "retriever", Operation: "execute_retriever", Namespaced: true, Class: "search"}
	read := needs{Permission: "read", Resource: "retriever", Namespaced: true}
	s.route("POST", "/v1/retrievers/execute", run, handle(s.executeAdhoc))
	s.route("POST", "/v1/retrievers/{retriever_id}/execute", run, handle(s.execute))
	s.route("POST", "/v1/retrievers/{retriever_id}/execute/explain", read, handle(s.explain))
	s.route("POST", "/v1/retrievers/{retriever_id}/explain", read, handle(s.explain))
	s.route("POST", "/v1/retrievers/{retriever_id}/executions/list", read, handle(s.listExecutions))
	s.route("GET", "/v1/retrievers/{retriever_id}/executions/{execution_id}", read, handle(s.execution))
	s.route("GET", "/v1/retrievers/{retriever_id}/executions/{execution_id}/status", read, handle(s.executionStatus))
	s.route("POST", "/v1/retrievers/executions/list", read, handle(s.listAdhocExecutions))
	s.route("GET", "/v1/retrievers/executions/{execution_id}", read, handle(s.adhocExecution))
}

type executeBody struct {
	Inputs     json.RawMessage `json:"inputs"`
	Filters    json.RawMessage `json:"filters"`
	PreFilters json.RawMessage `json:"pre_filters"`
	Pagination json.RawMessage `json:"pagination"`
	Limit      int             `json:"limit" validate:"omitempty,min=1,max=500"`
	PageSize   int             `json:"page_size" validate:"omitempty,min=1,max=500"`
	Stream     bool            `json:"stream"`
	SkipCache  bool            `json:"skip_cache"`
	Explain    bool            `json:"explain"`
	Vectors    bool            `json:"return_vectors"`
	URLs       bool            `json:"return_presigned_urls"`
	Trace      string          `json:"trace" validate:"omitempty,oneof=required best_effort"`
	WriteToken string          `json:"write_token"`
	SessionID  string          `json:"session_id"`
	Settings   struct {
		Limit int `json:"limit" validate:"omitempty,min=1,max=500"`
	} `json:"settings"`
	// of ad hoc executions
	Stages        []json.RawMessage `json:"stages"`
	InputSchema   json.RawMessage   `json:"input_schema"`
	Collections   []string          `json:"collection_identifiers"`
	CollectionIDs []string          `json:"collection_ids"`
	BudgetLimits  json.RawMessage   `json:"budget_limits"`
}

func (b executeBody) limit() int { return max(b.Limit, b.PageSize, b.Settings.Limit) }

// maxInputs bounds the inputs of an execution, which its record keeps for good.
const maxInputs = 256 << 10

// request pins the position and reads what the body and the query ask.
func (s *Server) request(ctx context.Context, r *Request[executeBody]) (retrieve.Request, error) {
	if n := len(r.Body.Inputs); n > maxInputs {
		return retrieve.Request{}, domain.Invalid("inputs", "length", "are %d bytes; an execution and its record take at most %d", n, maxInputs)
	}
	at, cfg, err := s.pin(ctx, r.Call)
	if err != nil {
		return retrieve.Request{}, err
	}
	filters := orAbsent(r.Body.Filters)
	if filters == nil {
		filters = orAbsent(r.Body.PreFilters)
	}
	vectors, err := r.QueryBool("return_vectors", r.Body.Vectors)
	if err != nil {
		return retrieve.Request{}, err
	}
	explain, err := r.QueryBool("explain", r.Body.Explain)
	return retrieve.Request{At: at, Config: cfg, Inputs: orAbsent(r.Body.Inputs), Filters: filters, Pagination: orAbsent(r.Body.Pagination), Limit: r.Body.limit(),
		Principal: r.Key.PrincipalID, KeyID: r.Key.KeyID, TraceID: r.traceID(), PolicyPosition: r.Organization.Position,
		BestEffortTrace: r.Body.Trace == "best_effort", ReturnVectors: vectors, Explain: explain}, err
}

// traceID is that of the caller's W3C trace context, else the request's id.
func (c *Call) traceID() string {
	if parts := strings.Split(c.Request.Header.Get("Traceparent"), "-"); len(parts) == 4 && len(parts[1]) == 32 {
		return parts[1]
	}
	return c.RequestID
}

// savedRequest is request for the retriever that the path names.
func (s *Server) savedRequest(ctx context.Context, r *Request[executeBody]) (retrieve.Request, error) {
	req, err := s.request(ctx, r)
	if err != nil {
		return req, err
	}
	found, ok := req.Config.Retriever(r.Path("retriever_id"))
	if !ok {
		return req, domain.NotFound("retriever", r.Path("retriever_id"))
	}
	req.Retriever, req.Mode = found, retrieve.ModeRetriever
	return req, nil
}

func (s *Server) execute(ctx context.Context, r *Request[executeBody]) (any, error) {
	req, err := s.savedRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.run(ctx, r, req)
}

func (s *Server) executeAdhoc(ctx context.Context, r *Request[executeBody]) (any, error) {
	req, err := s.request(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(r.Body.Stages) == 0 {
		return nil, domain.Invalid("stages", "missing", "an ad hoc execution needs at least one stage")
	}
	collections := r.Body.Collections
	if collections == nil {
		collections = r.Body.CollectionIDs
	}
	made := domain.Retriever{Name: "ad hoc", InputSchema: orAbsent(r.Body.InputSchema)}
	if made.Stages, err = retrieve.Normalize("stages", r.Body.Stages); err != nil {
		return nil, err
	}
	if len(collections) == 0 {
		collections = collectionsOf(r.Body.Stages)
	}
	if made.CollectionIDs, err = req.Config.ResolveCollections("collection_identifiers", collections); err != nil {
		return nil, err
	}
	if err := retrieve.Check(req.Config, made); err != nil {
		return nil, err
	}
	req.Retriever, req.Mode = made, retrieve.ModeAdhoc
	return s.run(ctx, r, req)
}

// collectionsOf finds the collections that the wrapper names inside its stages.
func collectionsOf(stages []json.RawMessage) []string {
	var all []string
	seen := map[string]bool{}
	for _, raw := range stages {
		var stage struct {
			CollectionIDs []string `json:"collection_ids"`
		}
		if json.Unmarshal(raw, &stage) != nil {
			continue
		}
		for _, id := range stage.CollectionIDs {
			if !seen[id] {
				seen[id] = true
				all = append(all, id)
			}
		}
	}
	return all
}

func (s *Server) run(ctx context.Context, r *Request[executeBody], req retrieve.Request) (any, error) {
	x, err := s.Retrieve.Execute(ctx, req)
	if err != nil {
		return nil, err
	}
	w := executionOut(x)
	w["warnings"] = append(orEmpty(x.Warnings), r.Warnings()...)
	header := map[string][]string{"X-Cache": {"MISS"}, "Cache-Control": {"no-store"}}
	if req.Mode == retrieve.ModeAdhoc {
		header["X-Execution-Mode"] = []string{"adhoc"}
		w["execution_mode"] = "adhoc"
	}
	if r.Body.Stream {
		return &Response{Header: header, Stream: func(to io.Writer, flush func()) error { return stream(to, flush, x, w) }}, nil
	}
	return &Response{Header: header, Body: w}, nil
}

// stream writes the answer as server-sent events: two a stage, then the whole.
func stream(to io.Writer, flush func(), x *retrieve.Execution, w map[string]any) error {
	send := func(event map[string]any) error {
		b, err := encodeJSON(event)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(to, "data: %s\n", b)
		flush()
		return err
	}
	for i, st := range x.Header.Stages {
		of := map[string]any{"event_type": "stage_start", "execution_id": x.ID, "stage_name": st.Name, "stage_index": i, "total_stages": len(x.Header.Stages)}
		if err := send(of); err != nil {
			return err
		}
		statistics := x.Stages[st.Name]
		of["event_type"], of["statistics"] = "stage_complete", statistics
		if statistics.Error != "" {
			of["event_type"], of["error"] = "stage_error", statistics.Error
		}
		if err := send(of); err != nil {
			return err
		}
	}
	done := map[string]any{"event_type": "execution_complete", "total_stages": len(x.Header.Stages)}
	for name, v := range w {
		done[name] = v
	}
	return send(done)
}

// executionOut is ExecuteRetrieverResponse of the reference; results repeats
// documents, since clients read one or the other.
func executionOut(x *retrieve.Execution) map[string]any {
	credits, documents := 0.0, orEmpty(x.Documents)
	w := map[string]any{
		"execution_id": x.ID, "retriever_id": x.RetrieverID, "status": x.Status, "documents": documents, "results": documents, "pagination": x.Pagination,
		"stage_statistics": map[string]any{"stages": x.Stages, "total_time_ms": float64(x.Duration.Microseconds()) / 1000, "credits_used": credits},
		"facets":           orEmpty(x.Facets), "budget": map[string]any{"credits_used": credits, "time_elapsed_ms": float64(x.Duration.Microseconds()) / 1000},
		"warnings": orEmpty(x.Warnings), "limits": orEmpty(x.Limits), "degraded": orEmpty(x.Degraded), "cache_hit": false,
		"position": x.Position, "result_hash": x.ResultHash, "trace_id": x.TraceID, "total": x.Total, "trace_recorded": x.TraceRecorded,
		"consistency_mode": "strong", "optimization_applied": false,
	}
	if x.Plan != nil {
		w["explain_plan"] = x.Plan
	}
	return w
}

func (s *Server) explain(ctx context.Context, r *Request[executeBody]) (any, error) {
	req, err := s.savedRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.Retrieve.Explain(ctx, req)
}

// executed waits for the execution records that were answered before, and names
// the namespace whose they are.
func (s *Server) executed(ctx context.Context, c *Call) (eventstore.LogID, error) {
	if err := c.catchUp(ctx, s.Executions, s.Traces.Name()); err != nil {
		return "", fmt.Errorf("catch up with execution records: %w", err)
	}
	return c.namespaceLog(), nil
}

// retrieverHistory finds a retriever by id or name, also one that was deleted:
// its executions stay.
func (s *Server) retrieverHistory(ctx context.Context, c *Call) (string, error) {
	identifier := c.Path("retriever_id")
	cfg, _, err := s.config(ctx, c.namespaceLog())
	if err != nil {
		return "", err
	}
	if r, ok := cfg.Retriever(identifier); ok {
		return r.RetrieverID, nil
	}
	if cfg.Deleted[identifier] > 0 {
		return identifier, nil
	}
	return "", domain.NotFound("retriever", identifier)
}

func (s *Server) executionOf(ctx context.Context, c *Call, mode string) (projections.TraceRow, error) {
	log, err := s.executed(ctx, c)
	if err != nil {
		return projections.TraceRow{}, err
	}
	id := c.Path("execution_id")
	row, err := s.Traces.Execution(ctx, log, id)
	if err != nil {
		return row, err
	}
	if row.Mode != mode {
		return row, domain.NotFound("execution", id)
	}
	if mode == retrieve.ModeRetriever {
		retriever, err := s.retrieverHistory(ctx, c)
		if err != nil {
			return row, err
		}
		if row.RetrieverID != retriever {
			return row, domain.NotFound("execution", id)
		}
	}
	return row, nil
}

func (s *Server) execution(ctx context.Context, r *Request[None]) (any, error) {
	row, err := s.executionOf(ctx, r.Call, retrieve.ModeRetriever)
	if err != nil {
		return nil, err
	}
	return s.executionDetail(ctx, r.Call, row)
}

func (s *Server) adhocExecution(ctx context.Context, r *Request[None]) (any, error) {
	row, err := s.executionOf(ctx, r.Call, retrieve.ModeAdhoc)
	if err != nil {
		return nil, err
	}
	detail, err := s.executionDetail(ctx, r.Call, row)
	if err != nil {
		return nil, err
	}
	for name, v := range adhocSummary(row) {
		detail[name] = v
	}
	return detail, nil
}

// executionDetail is ExecutionDetail of the reference and, beside it, the whole
// trace: header, and per stage what was kept and dropped and why. ?trace=false
// leaves the stages' sets out.
func (s *Server) executionDetail(ctx context.Context, c *Call, row projections.TraceRow) (map[string]any, error) {
	withTrace, err := c.QueryBool("trace", true)
	if err != nil {
		return nil, err
	}
	stages, completed := map[string]any{}, 0
	for _, st := range row.Stages {
		efficiency := 0.0
		if st.Input > 0 {
			efficiency = float64(st.Output) / float64(st.Input)
		}
		if st.Error == "" {
			completed++
		}
		stages[st.Name] = map[string]any{"input_count": st.Input, "output_count": st.Output, "duration_ms": float64(st.DurationMicros) / 1000, "efficiency": efficiency, "cache_hit": false,
			"error": textOrNull(st.Error), "metadata": map[string]any{"plan": st.Plan, "dropped": st.Dropped, "feature_uris": st.FeatureURIs, "passed": st.Passed}}
	}
	documents, err := s.recordedDocuments(ctx, c, row)
	if err != nil {
		return nil, err
	}
	w := map[string]any{
		"execution_id": row.ExecutionID, "retriever_id": row.RetrieverID, "status": row.Status, "error": textOrNull(row.Error), "documents": documents, "results": documents,
		"pagination":       map[string]any{"total": row.Total, "returned": len(row.Results)},
		"stage_statistics": map[string]any{"stages": stages, "total_time_ms": float64(row.DurationMicros) / 1000, "credits_used": 0.0},
		"warnings":         orEmpty(row.Warnings), "created_at": wireTime(row.Time), "completed_at": wireTime(row.Time), "stages_completed": completed, "total_stages": len(row.Stages),
		"documents_retained": true, "total_returned": len(row.Results), "trace_id": row.TraceID, "budget": map[string]any{}, "facets": []any{},
		"record": row.ExecutionRecorded,
	}
	if withTrace {
		b, err := s.TraceBody(ctx, row.Log, row.Position)
		if err != nil {
			return nil, err
		}
		if len(b) > 0 {
			if w["trace"], err = retrieve.DecodeTrace(b); err != nil {
				return nil, fmt.Errorf("read trace of %s: %w", row.ExecutionID, err)
			}
		}
	}
	return w, nil
}

// recordedDocuments shows the documents of an answer as they were at its position.
func (s *Server) recordedDocuments(ctx context.Context, c *Call, row projections.TraceRow) ([]map[string]any, error) {
	ids := make([]string, len(row.Results))
	for i, res := range row.Results {
		ids[i] = res.ID
	}
	found, err := s.Retrieve.Documents(ctx, projections.At{Log: c.namespaceLog(), Position: row.ExecutionRecorded.Position}, ids)
	if err != nil {
		return nil, err
	}
	documents := make([]map[string]any, len(row.Results))
	for i, res := range row.Results {
		d := map[string]any{}
		for name, v := range found[res.ID] {
			d[name] = v
		}
		d["document_id"], d["collection_id"], d["score"], d["rank"] = res.ID, res.CollectionID, res.Score, res.Rank
		documents[i] = d
	}
	return documents, nil
}

func (s *Server) executionStatus(ctx context.Context, r *Request[None]) (any, error) {
	row, err := s.executionOf(ctx, r.Call, retrieve.ModeRetriever)
	if err != nil {
		return nil, err
	}
	return map[string]any{"execution_id": row.ExecutionID, "retriever_id": row.RetrieverID, "status": row.Status, "stages_completed": len(row.Stages), "total_stages": len(row.Stages),
		"created_at": wireTime(row.Time), "completed_at": wireTime(row.Time), "duration_ms": float64(row.DurationMicros) / 1000, "total_returned": len(row.Results), "error": textOrNull(row.Error)}, nil
}
