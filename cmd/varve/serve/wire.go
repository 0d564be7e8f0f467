package serve

import (
	"context"
	"fmt"
	"time"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/http"
	"varve/projections"
	"varve/projections/retrieve"
)

// wire sets what one room needs of another.
func (v *Varve) wire() {
	h, r := v.Commands, &v.Reads
	r.Retrieve = &retrieve.Engine{Index: v.index, Documents: v.documents, Record: v.recorder.record, NewID: func(prefix string) string { return domain.NewID(prefix, entropy()) }}
	r.TraceBody, r.AtTime = v.traceBody, v.atTime
	h.CheckRetriever = retrieve.Check
	h.ActiveBatches = func(ctx context.Context) ([]commands.BatchRef, error) {
		behind := v.Models.CatchUp(ctx, "batches", "directory")
		rows, err := r.Batches.Active(ctx)
		if err != nil {
			return nil, err
		}
		namespaces, err := r.Directory.NamespaceLogs(ctx)
		if err != nil {
			return nil, err
		}
		of := make(map[eventstore.LogID]projections.NamespaceEntry, len(namespaces))
		for _, n := range namespaces {
			of[n.Log] = n
		}
		var refs []commands.BatchRef
		for _, row := range rows {
			if n, ok := of[row.Log]; ok {
				refs = append(refs, commands.BatchRef{OrganizationID: n.OrgID, Organization: n.OrgLog, Log: n.Log, Shard: n.Shard, BatchID: row.BatchID})
			}
		}
		return refs, behind
	}
	h.MatchingObjects = func(ctx context.Context, log eventstore.LogID, bucket string, f *domain.Filter, limit int) ([]string, error) {
		pin, err := v.Models.Pin(ctx, log, "objects")
		if err != nil {
			return nil, err
		}
		if pin.Lag > 0 { // a batch of all objects must not miss the newest
			return nil, &domain.Error{Code: domain.CodeUnavailable, Message: fmt.Sprintf("the objects' read model is %d events behind; try again", pin.Lag), RetryAfter: 1}
		}
		page, err := r.Objects.List(ctx, pin.At, projections.ObjectQuery{BucketID: bucket, Filter: f, Limit: limit})
		ids := make([]string, len(page.Items))
		for i, o := range page.Items {
			ids[i] = o.ObjectID
		}
		return ids, err
	}
}

// documents shows documents to stages and filters as the API does.
func (v *Varve) documents(ctx context.Context, at projections.At, ids []string) (map[string]map[string]any, error) {
	rows, err := v.Reads.Documents.Documents(ctx, at, ids)
	if err != nil {
		return nil, err
	}
	shown := make(map[string]map[string]any, len(rows))
	for _, row := range rows {
		shown[row.DocumentID] = http.DocumentFields(row)
	}
	return shown, nil
}

// traceBody reads the stages' sets of an execution; nil where they were erased.
func (v *Varve) traceBody(ctx context.Context, log eventstore.LogID, position uint64) ([]byte, error) {
	for r, err := range v.Executed.Read(ctx, log, position-1, 1) {
		if err != nil {
			return nil, fmt.Errorf("read execution record: %w", err)
		}
		for _, a := range r.Attachments {
			if a.Name == "trace" {
				return a.Bytes, nil
			}
		}
	}
	return nil, nil
}

// atTime finds the newest position of a log that is not younger than a time:
// times never go back within a log.
func (v *Varve) atTime(ctx context.Context, log eventstore.LogID, t time.Time) (uint64, error) {
	head, err := v.Store.LogHead(ctx, log)
	if err != nil {
		return 0, err
	}
	return eventstore.SearchLog(ctx, v.Store, log, head.Position, func(r eventstore.Record) bool { return r.Time.After(t) })
}
