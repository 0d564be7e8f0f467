package projections

import (
	"context"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// TraceRow is an execution's header and where its record lies: the record at
// Position of Log in the executions store has the attachment.
type TraceRow struct {
	domain.ExecutionRecorded
	Log      eventstore.LogID
	Position uint64
	Record   eventstore.ID
	Time     time.Time
}

// TraceQuery selects and pages executions, newest first.
type TraceQuery struct {
	RetrieverID string // empty: all
	Mode        string // retriever, adhoc; empty: both
	Status      string
	Filter      *domain.Filter // over the header's members
	After       string
	Offset      int
	Limit       int
	Total       bool
}

// Traces is the read model of the executions store.
type Traces struct{}

// NewTraces makes the projection; it belongs to the executions store's runner.
func NewTraces() *Traces { return &Traces{} }

// Execution finds an execution by id in a log of the executions store.
func (t *Traces) Execution(ctx context.Context, at At, executionID string) (TraceRow, error) {
	return TraceRow{}, errNotYet
}

// List pages through the executions of a log.
func (t *Traces) List(ctx context.Context, at At, q TraceQuery) (Page[TraceRow], error) {
	return Page[TraceRow]{}, errNotYet
}
