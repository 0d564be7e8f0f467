package http

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"varve/domain"
	"varve/projections"
)

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
