package projections

import (
	"context"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// FailedObject is an object that a batch could not process.
type FailedObject struct {
	ObjectID     string
	CollectionID string
	ErrorType    string // transient, permanent, resource
	Error        string
	Time         time.Time
}

// TierProgress is how far a tier of the current attempt is.
type TierProgress struct {
	Tier        int
	Collections []string
	Processed   int // objects done with all of the tier's collections, failed ones included
	Failed      int
	Documents   int
	Done        bool
	CompletedAt time.Time
}

// BatchRow is a batch with its progress, as of the newest applied event.
type BatchRow struct {
	domain.Batch
	Created       time.Time
	Updated       time.Time
	Submitted     time.Time // of the current attempt
	Completed     time.Time
	Status        string
	Reason        string
	TaskID        string
	Attempt       int
	RetryMode     string
	Tiers         []TierProgress
	TierDone      int
	Running       []string // objects of the current attempt
	Processed     int      // objects that need no more work, failed ones included
	Failed        int
	Documents     int            // written in the current attempt
	FailedObjects []FailedObject // of the current attempt, oldest first; only where asked for one batch
	Version       uint64
}

// BatchQuery selects and pages batches, newest first.
type BatchQuery struct {
	BucketID     string // empty: all
	CollectionID string
	Status       string
	Filter       *domain.Filter
	Search       string
	After        string
	Offset       int
	Limit        int
	Total        bool
}

// TaskRow is a task as the reference shows it: one per attempt of a batch.
type TaskRow struct {
	TaskID    string
	TaskType  string // api_buckets_batches_process
	Status    string
	BatchID   string
	BucketID  string
	Attempt   int
	Created   time.Time
	Updated   time.Time
	Completed time.Time
	Total     int // objects
	Processed int
	Failed    int
	Documents int
	Tiers     int
	TierDone  int
	Error     string
}

// TaskQuery selects and pages tasks, newest first.
type TaskQuery struct {
	Status   string
	TaskType string
	BatchID  string
	Filter   *domain.Filter
	Search   string
	After    string
	Offset   int
	Limit    int
	Total    bool
}

// Batches is the read model of batches and their tasks, as of the newest event.
type Batches struct{}

// NewBatches makes the projection.
func NewBatches() *Batches { return &Batches{} }

// Batch finds a batch; domain.NotFound where it does not exist or was deleted.
func (b *Batches) Batch(ctx context.Context, log eventstore.LogID, batchID string) (BatchRow, error) {
	return BatchRow{}, errNotYet
}

// List pages through batches.
func (b *Batches) List(ctx context.Context, log eventstore.LogID, q BatchQuery) (Page[BatchRow], error) {
	return Page[BatchRow]{}, errNotYet
}

// Active lists batches whose attempt has not ended, in all logs, oldest first.
func (b *Batches) Active(ctx context.Context) ([]BatchRow, []eventstore.LogID, error) {
	return nil, nil, errNotYet
}

// Task finds a task; domain.NotFound where it does not exist.
func (b *Batches) Task(ctx context.Context, log eventstore.LogID, taskID string) (TaskRow, error) {
	return TaskRow{}, errNotYet
}

// FindTask finds a task in any of the given logs, with the log that it is in.
func (b *Batches) FindTask(ctx context.Context, logs []eventstore.LogID, taskID string) (TaskRow, eventstore.LogID, error) {
	return TaskRow{}, "", errNotYet
}

// Tasks pages through tasks of the given logs.
func (b *Batches) Tasks(ctx context.Context, logs []eventstore.LogID, q TaskQuery) (Page[TaskRow], error) {
	return Page[TaskRow]{}, errNotYet
}
