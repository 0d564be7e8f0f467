package domain

import "encoding/json"

// Batch is a set of objects that are run through collections.
type Batch struct {
	BatchID       string          `json:"batch_id"`
	BucketID      string          `json:"bucket_id"`
	ConfigVersion uint64          `json:"config_version"`
	Name          string          `json:"batch_name,omitempty"`
	ObjectIDs     []string        `json:"object_ids"`
	CollectionIDs []string        `json:"collection_ids,omitempty"` // empty: all that read the bucket
	Metadata      json.RawMessage `json:"metadata,omitempty"`
}

// Events of a batch's stream. What happens to single objects is in their own
// streams (object.extracted, object.failed, each naming batch and attempt).
type (
	// BatchSaved holds a draft, or its changed name and metadata, as it is from now on.
	BatchSaved struct{ Batch }
	// BatchSubmitted starts an attempt: the process manager takes it from here.
	BatchSubmitted struct {
		BatchID       string     `json:"batch_id"`
		BucketID      string     `json:"bucket_id"`
		TaskID        string     `json:"task_id"`
		Attempt       int        `json:"attempt"` // 1, 2, 3, …
		ConfigVersion uint64     `json:"config_version"`
		Tiers         [][]string `json:"tiers"` // collection ids, in the order of their graph
		ObjectIDs     []string   `json:"object_ids"`
		RetryMode     string     `json:"retry_mode,omitempty"` // of a retry: transient_only, all
	}
	// BatchTierCompleted says that every object went through a tier.
	BatchTierCompleted struct {
		BatchID string `json:"batch_id"`
		Attempt int    `json:"attempt"`
		Tier    int    `json:"tier"`
	}
	// BatchCompleted ends an attempt. Status is COMPLETED, COMPLETED_WITH_ERRORS or FAILED.
	BatchCompleted struct {
		BatchID   string `json:"batch_id"`
		BucketID  string `json:"bucket_id"`
		TaskID    string `json:"task_id"`
		Attempt   int    `json:"attempt"`
		Status    string `json:"status"`
		Objects   int    `json:"objects"`
		Failed    int    `json:"failed"`
		Documents int    `json:"documents"`
		Reason    string `json:"reason,omitempty"`
	}
	// BatchCanceled ends a batch; objects that were done stay done.
	BatchCanceled struct {
		BatchID string `json:"batch_id"`
		TaskID  string `json:"task_id,omitempty"`
		Reason  string `json:"reason,omitempty"`
	}
	// BatchDeleted removes a batch from lists; documents stay.
	BatchDeleted struct {
		BatchID string `json:"batch_id"`
	}
)

// EventType is batch.saved.
func (*BatchSaved) EventType() string { return "batch.saved" }

// EventType is batch.submitted.
func (*BatchSubmitted) EventType() string { return "batch.submitted" }

// EventType is batch.tier_completed.
func (*BatchTierCompleted) EventType() string { return "batch.tier_completed" }

// EventType is batch.completed.
func (*BatchCompleted) EventType() string { return "batch.completed" }

// EventType is batch.canceled.
func (*BatchCanceled) EventType() string { return "batch.canceled" }

// EventType is batch.deleted.
func (*BatchDeleted) EventType() string { return "batch.deleted" }

var (
	_ = register[BatchSaved]()
	_ = register[BatchSubmitted]()
	_ = register[BatchTierCompleted]()
	_ = register[BatchCompleted]()
	_ = register[BatchCanceled]()
	_ = register[BatchDeleted]()
)

// Statuses of a batch, and of the task that shows it.
const (
	StatusDraft               = "DRAFT"
	StatusPending             = "PENDING"
	StatusInProgress          = "IN_PROGRESS"
	StatusProcessing          = "PROCESSING"
	StatusCompleted           = "COMPLETED"
	StatusCompletedWithErrors = "COMPLETED_WITH_ERRORS"
	StatusFailed              = "FAILED"
	StatusCanceled            = "CANCELED"
)

// BatchState is the fold of a batch's stream.
type BatchState struct {
	Batch
	Version   uint64
	Exists    bool
	Status    string
	TaskID    string
	Attempt   int
	Tiers     [][]string
	TierDone  int      // tiers completed in this attempt
	Running   []string // objects of this attempt
	RetryMode string
	Reason    string
	Objects   int
	Failed    int
	Documents int
	Created   Stamp
	Updated   Stamp
	Submitted Stamp
}

// Active says whether the process manager has work to do.
func (b BatchState) Active() bool { return b.Exists && b.Status == StatusProcessing }

// Terminal says whether the batch ended.
func (b BatchState) Terminal() bool {
	switch b.Status {
	case StatusCompleted, StatusCompletedWithErrors, StatusFailed, StatusCanceled:
		return true
	}
	return false
}

// Apply gives the batch after one more event.
func (b BatchState) Apply(e EventData, at Stamp) BatchState {
	b.Version, b.Updated = at.Version, at
	switch e := e.(type) {
	case *BatchSaved:
		if !b.Exists {
			b.Created, b.Status = at, StatusDraft
		}
		b.Batch, b.Exists = e.Batch, true
	case *BatchSubmitted:
		b.Status, b.TaskID, b.Attempt, b.Tiers, b.TierDone = StatusProcessing, e.TaskID, e.Attempt, e.Tiers, 0
		b.Running, b.RetryMode, b.Submitted, b.Reason = e.ObjectIDs, e.RetryMode, at, ""
	case *BatchTierCompleted:
		b.TierDone = e.Tier + 1
	case *BatchCompleted:
		b.Status, b.Reason, b.Objects, b.Failed, b.Documents = e.Status, e.Reason, e.Objects, e.Failed, e.Documents
	case *BatchCanceled:
		b.Status, b.Reason = StatusCanceled, e.Reason
	case *BatchDeleted:
		b.Exists = false
	}
	return b
}
