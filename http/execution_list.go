package http

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"varve/domain"
	"varve/projections"
	"varve/projections/retrieve"
)

type executionListBody struct {
	listBody
	Status    string `json:"status"`
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
	CountOnly bool   `json:"count_only"`
}

func (s *Server) executionPage(ctx context.Context, r *Request[executionListBody], q projections.TraceQuery) (Paging, projections.Page[projections.TraceRow], error) {
	var page projections.Page[projections.TraceRow]
	p, err := r.Page()
	if err != nil {
		return p, page, err
	}
	if q.Filter, err = r.filter(); err != nil {
		return p, page, err
	}
	between, err := r.Body.between()
	if err != nil {
		return p, page, err
	}
	q.Filter, q.Sort = domain.AllOf(q.Filter, between), r.Body.sorts()
	log, err := s.executed(ctx, r.Call)
	if err != nil {
		return p, page, err
	}
	q.Status, q.After, q.Offset, q.Limit, q.Total = r.Body.Status, p.Cursor, p.Offset, p.Limit, true
	page, err = s.Traces.List(ctx, log, q)
	return p, page, err
}

// between is the filter that start_time and end_time make, nil of neither.
func (b executionListBody) between() (*domain.Filter, error) {
	var filter *domain.Filter
	for _, end := range []struct{ name, operator, value string }{{"start_time", "gte", b.StartTime}, {"end_time", "lte", b.EndTime}} {
		if end.value == "" {
			continue
		}
		if _, ok := domain.ParseTime(end.value); !ok {
			return nil, domain.Invalid(end.name, "datetime_type", "%q is not a date and time like 2026-11-24T12:00:00Z", end.value)
		}
		f, err := domain.ParseLiteralFilterValue(end.name, map[string]any{"field": "created_at", "operator": end.operator, "value": end.value})
		if err != nil {
			return nil, err
		}
		filter = domain.AllOf(filter, f)
	}
	return filter, nil
}

func (s *Server) listExecutions(ctx context.Context, r *Request[executionListBody]) (any, error) {
	id, err := s.retrieverHistory(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	p, page, err := s.executionPage(ctx, r, projections.TraceQuery{RetrieverID: id, Mode: retrieve.ModeRetriever})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(page.Items))
	for i, row := range page.Items {
		results[i] = executionSummary(row)
	}
	total := totalOf(page)
	return map[string]any{"results": results, "pagination": map[string]any{"total": total, "limit": p.Limit, "offset": p.Offset, "has_next": page.Next != "", "next_cursor": textOrNull(page.Next)}}, nil
}

func totalOf[T any](page projections.Page[T]) int {
	if page.Total != nil {
		return *page.Total
	}
	return len(page.Items)
}

func executionSummary(row projections.TraceRow) map[string]any {
	processed := 0
	if len(row.Stages) > 0 {
		processed = row.Stages[0].Input
	}
	return map[string]any{"execution_id": row.ExecutionID, "status": row.Status, "created_at": wireTime(row.Time), "completed_at": wireTime(row.Time), "duration_ms": float64(row.DurationMicros) / 1000,
		"credits_used": 0.0, "total_processed": processed, "total_returned": len(row.Results), "cache_hit_rate": 0.0, "inputs_hash": inputsHash(row), "query_summary": string(row.Inputs), "trace_id": row.TraceID,
		"position": row.ExecutionRecorded.Position, "result_hash": row.ResultHash, "retriever_version": row.RetrieverVersion}
}

func inputsHash(row projections.TraceRow) string {
	sum := sha256.Sum256(append(append([]byte(row.Inputs), 0), row.Filters...))
	return hex.EncodeToString(sum[:])
}

func adhocSummary(row projections.TraceRow) map[string]any {
	w := executionSummary(row)
	completed := 0
	for _, st := range row.Stages {
		if st.Error == "" {
			completed++
		}
	}
	collections := []string{}
	for _, st := range row.Stages {
		collections = append(collections, st.Collections...)
	}
	w["execution_mode"], w["timestamp"], w["stages_completed"], w["total_stages"], w["collection_ids"], w["inputs"] = "adhoc", wireTime(row.Time), completed, len(row.Stages), collections, string(row.Inputs)
	return w
}

func (s *Server) listAdhocExecutions(ctx context.Context, r *Request[executionListBody]) (any, error) {
	p, page, err := s.executionPage(ctx, r, projections.TraceQuery{Mode: retrieve.ModeAdhoc})
	if err != nil {
		return nil, err
	}
	results := []map[string]any{}
	if !r.Body.CountOnly {
		for _, row := range page.Items {
			results = append(results, adhocSummary(row))
		}
	}
	total := totalOf(page)
	return map[string]any{"results": results, "total": total, "pagination": map[string]any{"total": total, "limit": p.Limit, "offset": p.Offset, "has_next": page.Next != ""}}, nil
}
