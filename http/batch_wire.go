package http

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

// batchWire is BatchModel of the reference.
type batchWire struct {
	BatchID          string           `json:"batch_id"`
	BucketID         string           `json:"bucket_id"`
	NamespaceID      string           `json:"namespace_id"`
	Name             *string          `json:"batch_name"`
	Status           string           `json:"status"`
	ObjectIDs        []string         `json:"object_ids"`
	CollectionIDs    []string         `json:"collection_ids"`
	DedupStrategy    string           `json:"dedup_strategy"`
	TaskID           *string          `json:"task_id"`
	TierTasks        []map[string]any `json:"tier_tasks"`
	CurrentTier      *int             `json:"current_tier"`
	TotalTiers       int              `json:"total_tiers"`
	DagTiers         [][]string       `json:"dag_tiers"`
	DocumentsWritten int              `json:"documents_written"`
	FailedObjects    []map[string]any `json:"failed_objects"`
	FailedCount      int              `json:"failed_object_count"`
	FailureReason    *string          `json:"failure_reason"`
	Error            *string          `json:"error"`
	ErrorSummary     map[string]int   `json:"error_summary,omitempty"`
	Resolvable       bool             `json:"documents_resolvable"`
	RetryCount       int              `json:"retry_count"`
	MaxRetries       int              `json:"max_retries"`
	MaxNodeDeath     int              `json:"max_node_death_resubmits"`
	MaxDeploy        int              `json:"max_deploy_resubmits"`
	Lifecycle        string           `json:"lifecycle"`
	LifecycleReason  *string          `json:"lifecycle_reason"`
	Metadata         json.RawMessage  `json:"metadata,omitempty"`
	CreatedAt        wireTime         `json:"created_at"`
	UpdatedAt        wireTime         `json:"updated_at"`
	CompletedAt      wireTime         `json:"completed_at"`
	LastActivityAt   wireTime         `json:"last_activity_at"`
	StatusMessage    string           `json:"status_message"`
	Processed        int              `json:"processed_object_count"` // ours
	Warnings         []string         `json:"warnings,omitempty"`     // ours
}

// key orders batches of several namespaces, the newest first, as those of one are.
func (w *batchWire) key() string {
	return fmt.Sprintf("%020d %s", math.MaxInt64-time.Time(w.CreatedAt).UnixMicro(), w.BatchID)
}

func batchOut(b projections.BatchRow, namespace string) *batchWire {
	w := &batchWire{
		BatchID: b.BatchID, BucketID: b.BucketID, NamespaceID: namespace, Name: textOrNull(b.Name), Status: b.Status, ObjectIDs: orEmpty(b.ObjectIDs),
		CollectionIDs: orEmpty(b.CollectionIDs), DedupStrategy: "replace", TaskID: textOrNull(b.TaskID), TierTasks: []map[string]any{}, TotalTiers: max(1, len(b.Tiers)),
		DagTiers: [][]string{}, DocumentsWritten: b.Documents, FailedObjects: []map[string]any{}, FailedCount: b.Failed, FailureReason: textOrNull(b.Reason),
		Resolvable: !b.Completed.IsZero(), RetryCount: max(0, b.Attempt-1), MaxRetries: 10, MaxNodeDeath: 3, MaxDeploy: 3,
		Lifecycle: b.Status, LifecycleReason: textOrNull(b.Reason), Metadata: b.Metadata, CreatedAt: wireTime(b.Created.Time), UpdatedAt: wireTime(b.Updated.Time),
		CompletedAt: wireTime(b.Completed), LastActivityAt: wireTime(b.LastActivity), Processed: b.Processed,
	}
	if b.Status == domain.StatusFailed {
		w.Error = textOrNull(b.Reason)
	}
	if len(b.Tiers) > 0 {
		current := min(b.TierDone, len(b.Tiers)-1)
		w.CurrentTier = &current
	}
	for _, t := range b.Tiers {
		status := domain.StatusPending
		switch {
		case t.Done && t.Failed > 0:
			status = domain.StatusCompletedWithErrors
		case t.Done:
			status = domain.StatusCompleted
		case b.Status == domain.StatusCanceled:
			status = domain.StatusCanceled
		case t.Tier == b.TierDone && b.Status == domain.StatusProcessing:
			status = domain.StatusProcessing
		}
		source := "bucket"
		if t.Tier > 0 {
			source = "collection"
		}
		w.DagTiers = append(w.DagTiers, t.Collections)
		w.TierTasks = append(w.TierTasks, map[string]any{"tier_num": t.Tier, "task_id": b.TaskID, "status": status, "collection_ids": t.Collections, "source_type": source,
			"documents_written": t.Documents, "completed_at": wireTime(t.Completed), "processed_objects": t.Processed, "failed_objects": t.Failed})
	}
	for _, f := range b.FailedObjects {
		if w.ErrorSummary == nil {
			w.ErrorSummary = map[string]int{}
		}
		w.ErrorSummary[f.ErrorType]++
		w.FailedObjects = append(w.FailedObjects, map[string]any{"object_id": f.ObjectID, "collection_id": f.CollectionID, "error": f.Error, "error_type": f.ErrorType, "timestamp": wireTime(f.Time)})
	}
	w.StatusMessage = b.Status
	if b.Status == domain.StatusProcessing {
		w.StatusMessage = "extracting objects"
	}
	return w
}

// taskOut is TaskResponse of the reference.
func taskOut(t projections.TaskRow) map[string]any {
	inputs := []string{}
	for _, id := range []string{t.BatchID, t.BucketID} {
		if id != "" {
			inputs = append(inputs, id)
			break
		}
	}
	return map[string]any{
		"task_id": t.TaskID, "task_type": t.TaskType, "status": t.Status, "inputs": inputs, "outputs": []string{}, "error": textOrNull(t.Error),
		"additional_data": map[string]any{"batch_id": t.BatchID, "bucket_id": t.BucketID, "attempt": t.Attempt, "total_objects": t.Total, "processed_objects": t.Processed,
			"failed_objects": t.Failed, "documents_written": t.Documents, "total_tiers": t.Tiers, "completed_tiers": t.TierDone,
			"created_at": wireTime(t.Created), "updated_at": wireTime(t.Updated), "completed_at": wireTime(t.Completed)},
	}
}

var _ = noun("task", (*Server).taskRoutes)

func (s *Server) taskRoutes() {
	read := needs{Permission: "read", Resource: "task", Narrows: true}
	s.route("GET", "/v1/tasks/{task_id}", read, handle(s.task))
	s.route("POST", "/v1/tasks/list", read, handle(s.listTasks))
	s.route("DELETE", "/v1/tasks/{task_id}", needs{Permission: "write", Resource: "task", Operation: "cancel_job", Narrows: true}, handle(s.killTask))
	s.route("POST", "/v1/tasks/{task_id}/kill", needs{Permission: "write", Resource: "task", Operation: "cancel_job", Narrows: true}, handle(s.killTask))
}

func (s *Server) taskNow(ctx context.Context, c *Call, id string) (any, error) {
	t, _, err := s.findTask(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return taskOut(t), nil
}

func (s *Server) findTask(ctx context.Context, c *Call, id string) (projections.TaskRow, domain.Namespace, error) {
	if err := s.Models.CatchUp(ctx, "batches"); err != nil {
		return projections.TaskRow{}, domain.Namespace{}, err
	}
	namespaces := c.ownNamespaces()
	logs := make([]eventstore.LogID, len(namespaces))
	for i, n := range namespaces {
		logs[i] = eventstore.LogID(n.Log)
	}
	t, err := s.Batches.FindTask(ctx, logs, id)
	if domain.CodeOf(err) == domain.CodeNotFound {
		t, err = s.finishedTask(ctx, c, id)
		return t, domain.Namespace{}, err
	}
	for i, l := range logs {
		if l == t.Log {
			return t, namespaces[i], err
		}
	}
	return t, domain.Namespace{}, err
}

func (s *Server) task(ctx context.Context, r *Request[None]) (any, error) {
	return s.taskNow(ctx, r.Call, r.Path("task_id"))
}

type taskListBody struct {
	listBody
	Status   string `json:"status" validate:"omitempty,oneof=PENDING QUEUED IN_PROGRESS PROCESSING COMPLETED COMPLETED_WITH_ERRORS FAILED CANCELED INTERRUPTED UNKNOWN SKIPPED DRAFT ACTIVE ARCHIVED SUSPENDED DEACTIVATED"`
	TaskType string `json:"task_type"`
}

func (s *Server) listTasks(ctx context.Context, r *Request[taskListBody]) (any, error) {
	p, err := r.Page()
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	if err := s.Models.CatchUp(ctx, "batches"); err != nil {
		return nil, err
	}
	var logs []eventstore.LogID
	for _, n := range r.ownNamespaces() {
		logs = append(logs, eventstore.LogID(n.Log))
	}
	page, err := s.Batches.Tasks(ctx, logs, projections.TaskQuery{Status: r.Body.Status, TaskType: r.Body.TaskType, Filter: filter, Search: r.Body.Search,
		After: p.Cursor, Offset: p.Offset, Limit: p.Limit, Total: p.IncludeTotal})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(page.Items))
	for i, t := range page.Items {
		results[i] = taskOut(t)
	}
	total := -1
	if page.Total != nil {
		total = *page.Total
	}
	return listed(p, results, page.Next, total), nil
}

// killTask cancels what a task stands for; doing it again changes nothing.
func (s *Server) killTask(ctx context.Context, r *Request[None]) (any, error) {
	id := r.Path("task_id")
	t, n, err := s.findTask(ctx, r.Call, id)
	switch {
	case domain.CodeOf(err) == domain.CodeNotFound:
		return map[string]any{"success": true, "message": "there is no task " + id + ", so it does not run"}, nil
	case err != nil:
		return nil, err
	case n.ID == "": // it was over when it was named
		return map[string]any{"success": true, "message": "task " + id + " had ended before"}, nil
	}
	if !t.Completed.IsZero() { // a later attempt of the batch has a task of its own
		return map[string]any{"success": true, "message": "task " + id + " had ended before"}, nil
	}
	r.Namespace = n
	if _, err := s.Commands.CancelBatch(ctx, r.In(), t.BatchID, "task killed"); err != nil && domain.CodeOf(err) != domain.CodeConflict {
		return nil, err
	}
	return map[string]any{"success": true, "message": "task " + t.TaskID + " was stopped"}, nil
}
