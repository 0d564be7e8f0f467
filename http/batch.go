package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

var _ = noun("batch", (*Server).batchRoutes)

func (s *Server) batchRoutes() {
	read := needs{Permission: "read", Resource: "bucket", Operation: "read_data", Namespaced: true}
	write := needs{Permission: "write", Resource: "bucket", Operation: "execute_job", Namespaced: true, Class: "compute"}
	stop := needs{Permission: "write", Resource: "bucket", Operation: "cancel_job", Namespaced: true}
	const path = "/v1/buckets/{bucket_identifier}/batches"
	s.route("POST", path, write, handle(s.createBatch))
	s.route("POST", path+"/list", read, handle(s.listBatches))
	s.route("GET", path+"/{batch_id}", read, handle(s.batch))
	s.route("PATCH", path+"/{batch_id}", write, handle(s.patchBatch))
	s.route("DELETE", path+"/{batch_id}", needs{Permission: "delete", Resource: "bucket", Operation: "delete_data", Namespaced: true}, handle(s.deleteBatch))
	s.route("POST", path+"/{batch_id}/objects", write, handle(s.addToBatch))
	s.route("POST", path+"/{batch_id}/submit", write, handle(s.submitBatch))
	s.route("POST", path+"/{batch_id}/cancel", stop, handle(s.cancelBatch))
	s.route("POST", path+"/{batch_id}/retry", write, handle(s.retryBatch))
	s.route("GET", path+"/{batch_id}/failed-documents", read, handle(s.failedDocuments))
	s.route("GET", path+"/{batch_id}/audit", read, handle(s.batchAudit))

	// Without a bucket: the namespace is where the batch's id was born, or the one named.
	s.route("GET", "/v1/batches/{batch_id}", needs{Permission: "read", Resource: "bucket", Operation: "read_data", Narrows: true}, handle(s.anyBatch))
	s.route("POST", "/v1/batches/{batch_id}/cancel", needs{Permission: "write", Resource: "bucket", Operation: "cancel_job", Narrows: true}, handle(s.cancelAnyBatch))
	s.route("POST", "/v1/batches/list", needs{Permission: "read", Resource: "bucket", Operation: "read_data", Narrows: true}, handle(s.listAllBatches))
}

type batchBody struct {
	ObjectIDs     []string        `json:"object_ids"`
	Filters       json.RawMessage `json:"filters"`
	CollectionIDs []string        `json:"collection_ids"`
	Limit         int             `json:"limit" validate:"omitempty,min=1,max=50000"`
	DedupStrategy string          `json:"dedup_strategy" validate:"omitempty,oneof=skip replace force"`
	Metadata      json.RawMessage `json:"metadata"`
	Name          string          `json:"batch_name" validate:"max=256"`
	AutoSubmit    *bool           `json:"auto_submit"`
	Trigger       *bool           `json:"trigger_processing"`
}

func (s *Server) createBatch(ctx context.Context, r *Request[batchBody]) (any, error) {
	filter, err := domain.ParseLiteralFilter("filters", orAbsent(r.Body.Filters))
	if err != nil {
		return nil, err
	}
	b, err := s.Commands.CreateBatch(ctx, r.In(), r.Path("bucket_identifier"), commands.CreateBatch{ObjectIDs: r.Body.ObjectIDs, Filter: filter,
		Limit: r.Body.Limit, CollectionIDs: r.Body.CollectionIDs, Name: r.Body.Name, Metadata: orAbsent(r.Body.Metadata)})
	if err != nil {
		return nil, err
	}
	submit := r.Body.AutoSubmit != nil && *r.Body.AutoSubmit || r.Body.Trigger != nil && *r.Body.Trigger
	for _, name := range []string{"auto_submit", "trigger_processing"} {
		asked, err := r.QueryBool(name, false)
		if err != nil {
			return nil, err
		}
		submit = submit || asked
	}
	if submit {
		in := r.In()
		in.Operation += " submit"
		if _, err := s.Commands.SubmitBatch(ctx, in, b.BatchID); err != nil {
			return nil, err
		}
	}
	answer, err := s.batchNow(ctx, r.Call, b.BatchID)
	if w, ok := answer.(*batchWire); ok {
		w.Warnings = replaces(r.Body.DedupStrategy)
	}
	return answer, err
}

// batchNow reads a batch of the request's namespace once the read model knows
// what was written before.
func (s *Server) batchNow(ctx context.Context, c *Call, id string) (any, error) {
	at, _, err := s.pin(ctx, c)
	if err != nil {
		return nil, err
	}
	b, err := s.Batches.Batch(ctx, at.Log, id)
	if err != nil {
		return nil, err
	}
	return batchOut(b, c.Namespace.ID), nil
}

// batchOf reads the batch of the path, which must be of the bucket of the path.
func (s *Server) batchOf(ctx context.Context, c *Call) (projections.BatchRow, error) {
	at, _, bucket, err := s.bucketAt(ctx, c)
	if err != nil {
		return projections.BatchRow{}, err
	}
	b, err := s.Batches.Batch(ctx, at.Log, c.Path("batch_id"))
	if err == nil && b.BucketID != bucket.BucketID {
		err = domain.NotFound("batch", c.Path("batch_id"))
	}
	return b, err
}

func (s *Server) batch(ctx context.Context, r *Request[None]) (any, error) {
	b, err := s.batchOf(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return batchOut(b, r.Namespace.ID), nil
}

type batchListBody struct {
	listBody
	Status       string `json:"status" validate:"omitempty,oneof=PENDING QUEUED IN_PROGRESS PROCESSING COMPLETED COMPLETED_WITH_ERRORS FAILED CANCELED INTERRUPTED UNKNOWN SKIPPED DRAFT ACTIVE ARCHIVED SUSPENDED DEACTIVATED"`
	BucketID     string `json:"bucket_id"`
	CollectionID string `json:"collection_id"`
	NamespaceID  string `json:"namespace_id"`
}

// ids gives the ids of the bucket and the collection that a list is narrowed
// to, which may be named by name; what is not there now, or no more, is taken as an id.
func (b batchListBody) ids(cfg domain.Config) (bucket, collection string) {
	bucket, collection = b.BucketID, b.CollectionID
	if k, ok := cfg.Bucket(bucket); ok {
		bucket = k.BucketID
	}
	if k, ok := cfg.Collection(collection); ok {
		collection = k.CollectionID
	}
	return bucket, collection
}

func (s *Server) batchList(ctx context.Context, r *Request[batchListBody], cfg domain.Config, log eventstore.LogID, namespace, bucket string) (any, error) {
	p, err := r.Page()
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	narrowed, collection := r.Body.ids(cfg)
	if bucket == "" {
		bucket = narrowed
	}
	page, err := s.Batches.List(ctx, log, projections.BatchQuery{BucketID: bucket, CollectionID: collection, Status: r.Body.Status, Filter: filter,
		Search: r.Body.Search, After: p.Cursor, Offset: p.Offset, Limit: p.Limit, Total: true})
	if err != nil {
		return nil, err
	}
	results := make([]*batchWire, len(page.Items))
	for i, b := range page.Items {
		results[i] = batchOut(b, namespace)
	}
	total := len(results)
	if page.Total != nil {
		total = *page.Total
	}
	return listed(p, results, page.Next, total), nil
}

func (s *Server) listBatches(ctx context.Context, r *Request[batchListBody]) (any, error) {
	at, cfg, b, err := s.bucketAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.batchList(ctx, r, cfg, at.Log, r.Namespace.ID, b.BucketID)
}

// ownNamespaces lists the namespaces that a request may look into, newest last.
func (c *Call) ownNamespaces() []domain.Namespace {
	if c.Namespace.ID != "" {
		return []domain.Namespace{c.Namespace}
	}
	if c.Unresolved != "" { // one was named that is not there: nothing is in it
		return nil
	}
	var all []domain.Namespace
	for _, n := range c.Organization.Namespaces {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b domain.Namespace) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

func (s *Server) listAllBatches(ctx context.Context, r *Request[batchListBody]) (any, error) {
	if id := r.Body.NamespaceID; id != "" {
		n, ok := r.Organization.Namespace(id)
		switch {
		case !ok:
			return nil, domain.NotFound("namespace", id)
		case r.Namespace.ID != "" && r.Namespace.ID != n.ID:
			return nil, &domain.Error{Code: domain.CodeBadRequest, Reason: "namespace_ambiguous", Message: "namespace_id in the body and the namespace of the header or the query differ; send one of them"}
		}
		r.Namespace = n
	}
	if r.Namespace.ID != "" {
		_, cfg, err := s.pin(ctx, r.Call)
		if err != nil {
			return nil, err
		}
		return s.batchList(ctx, r, cfg, r.namespaceLog(), r.Namespace.ID, "")
	}
	p, err := r.Page()
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	var all []*batchWire
	if err := r.catchUp(ctx, s.Models, "batches"); err != nil {
		return nil, err
	}
	for _, n := range r.ownNamespaces() {
		cfg, _, err := s.config(ctx, eventstore.LogID(n.Log))
		if err != nil {
			return nil, err
		}
		bucket, collection := r.Body.ids(cfg)
		page, err := s.Batches.List(ctx, eventstore.LogID(n.Log), projections.BatchQuery{BucketID: bucket, CollectionID: collection, Status: r.Body.Status, Filter: filter, Search: r.Body.Search, Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, b := range page.Items {
			all = append(all, batchOut(b, n.ID))
		}
	}
	slices.SortFunc(all, func(a, b *batchWire) int { return strings.Compare(a.key(), b.key()) })
	page, next := pageOfAll(p, all, (*batchWire).key)
	return listed(p, page, next, len(all)), nil
}

// findBatch finds a batch by id in the namespaces of the request.
func (s *Server) findBatch(ctx context.Context, c *Call) (projections.BatchRow, domain.Namespace, error) {
	if err := c.catchUp(ctx, s.Models, "batches"); err != nil {
		return projections.BatchRow{}, domain.Namespace{}, err
	}
	for _, n := range c.ownNamespaces() {
		b, err := s.Batches.Batch(ctx, eventstore.LogID(n.Log), c.Path("batch_id"))
		if domain.CodeOf(err) != domain.CodeNotFound {
			return b, n, err
		}
	}
	return projections.BatchRow{}, domain.Namespace{}, domain.NotFound("batch", c.Path("batch_id"))
}

func (s *Server) anyBatch(ctx context.Context, r *Request[None]) (any, error) {
	b, n, err := s.findBatch(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return batchOut(b, n.ID), nil
}

func (s *Server) cancelAnyBatch(ctx context.Context, r *Request[None]) (any, error) {
	_, n, err := s.findBatch(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	r.Namespace = n
	return s.cancel(ctx, r.Call)
}

func (s *Server) patchBatch(ctx context.Context, r *Request[batchBody]) (any, error) {
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	_, err := s.Commands.ChangeBatch(ctx, r.In(), r.Path("batch_id"), false, func(b domain.Batch) (domain.Batch, error) {
		if r.Body.Name != "" {
			b.Name = r.Body.Name
		}
		if given(r.Body.Metadata) {
			b.Metadata = r.Body.Metadata
		}
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	return s.batchNow(ctx, r.Call, r.Path("batch_id"))
}

func (s *Server) addToBatch(ctx context.Context, r *Request[batchBody]) (any, error) {
	if len(r.Body.ObjectIDs) == 0 {
		return nil, domain.Invalid("object_ids", "length", "name at least one object")
	}
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	_, err := s.Commands.ChangeBatch(ctx, r.In(), r.Path("batch_id"), true, func(b domain.Batch) (domain.Batch, error) {
		for _, id := range r.Body.ObjectIDs {
			if !slices.Contains(b.ObjectIDs, id) {
				b.ObjectIDs = append(slices.Clip(b.ObjectIDs), id)
			}
		}
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	return s.batchNow(ctx, r.Call, r.Path("batch_id"))
}

func (s *Server) deleteBatch(ctx context.Context, r *Request[None]) (any, error) {
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	if err := s.Commands.DeleteBatch(ctx, r.In(), r.Path("batch_id")); err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "message": "batch deleted; its documents stay"}, nil
}

type submitBody struct {
	History       *bool    `json:"include_processing_history"`
	CollectionIDs []string `json:"collection_ids"`
	WebhookURL    string   `json:"webhook_url"`
}

func (s *Server) submitBatch(ctx context.Context, r *Request[submitBody]) (any, error) {
	if r.Body.WebhookURL != "" {
		return nil, domain.Invalid("webhook_url", "unsupported", "webhooks are not served yet; poll the task instead")
	}
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	b, err := s.Commands.SubmitBatch(ctx, r.In(), r.Path("batch_id"))
	if err != nil {
		return nil, err
	}
	return s.taskNow(ctx, r.Call, b.TaskID)
}

func (s *Server) cancelBatch(ctx context.Context, r *Request[None]) (any, error) {
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	return s.cancel(ctx, r.Call)
}

func (s *Server) cancel(ctx context.Context, c *Call) (any, error) {
	b, err := s.Commands.CancelBatch(ctx, c.In(), c.Path("batch_id"), c.Query.Get("reason"))
	if err != nil {
		return nil, err
	}
	if b.TaskID == "" { // a draft has no task
		return taskOut(canceledDraft(b.BatchID, b.BucketID)), nil
	}
	return s.taskNow(ctx, c, b.TaskID)
}

type retryBody struct {
	Mode     string `json:"retry_mode" validate:"omitempty,oneof=transient_only all"`
	TierNums []int  `json:"tier_nums"`
	Max      int    `json:"max_retry_count" validate:"omitempty,min=1,max=10"`
}

func (s *Server) retryBatch(ctx context.Context, r *Request[retryBody]) (any, error) {
	if _, err := s.batchOf(ctx, r.Call); err != nil {
		return nil, err
	}
	if len(r.Body.TierNums) > 0 {
		return nil, domain.Invalid("tier_nums", "unsupported", "single tiers are not retried; leave it out: every tier is run, and what is done already is not done again")
	}
	mode := r.Body.Mode
	if mode == "" {
		mode = "transient_only"
	}
	b, err := s.Commands.RetryBatch(ctx, r.In(), r.Path("batch_id"), mode)
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "batch_id": b.BatchID, "task_id": b.TaskID, "status": b.Status, "retry_mode": mode, "attempt": b.Attempt,
		"message": fmt.Sprintf("attempt %d runs what failed before", b.Attempt)}, nil
}

func (s *Server) failedDocuments(ctx context.Context, r *Request[None]) (any, error) {
	b, err := s.batchOf(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	p, err := r.PageOr(100)
	if err != nil {
		return nil, err
	}
	tier, err := r.QueryInt("tier_num", -1, 0, 1000)
	if err != nil {
		return nil, err
	}
	failed := []map[string]any{}
	for _, f := range b.FailedObjects {
		at := tierOf(b, f.CollectionID)
		if c := r.Query.Get("collection_id"); c != "" && c != f.CollectionID || tier >= 0 && at != tier {
			continue
		}
		failed = append(failed, map[string]any{"object_id": f.ObjectID, "collection_id": f.CollectionID, "tier_num": at, "error": f.Error, "error_type": f.ErrorType, "timestamp": wireTime(f.Time)})
	}
	from := min(p.Offset, len(failed))
	return map[string]any{"batch_id": b.BatchID, "failed_documents": failed[from:min(from+p.Limit, len(failed))], "results": failed[from:min(from+p.Limit, len(failed))],
		"total": len(failed), "total_count": len(failed), "limit": p.Limit, "offset": p.Offset}, nil
}

func tierOf(b projections.BatchRow, collection string) int {
	for _, t := range b.Tiers {
		if slices.Contains(t.Collections, collection) {
			return t.Tier
		}
	}
	return 0
}

// batchAudit balances what was submitted against what came out, tier by tier.
func (s *Server) batchAudit(ctx context.Context, r *Request[None]) (any, error) {
	b, err := s.batchOf(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	tiers, balanced := []map[string]any{}, true
	for _, t := range b.Tiers {
		lost := len(b.Running) - t.Processed
		if !t.Done {
			lost = 0
		}
		balanced = balanced && lost == 0
		tiers = append(tiers, map[string]any{"tier_num": t.Tier, "submitted": len(b.Running), "processed": t.Processed - t.Failed, "failed": t.Failed, "skipped": 0, "lost": lost, "balanced": lost == 0, "documents_written": t.Documents})
	}
	return map[string]any{"batch_id": b.BatchID, "status": b.Status, "all_balanced": balanced, "has_lost_objects": !balanced, "tiers": tiers}, nil
}
