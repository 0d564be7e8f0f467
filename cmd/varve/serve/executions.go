package serve

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/state"
	"varve/projections"
)

// executionShards is the number of shards of every store of execution records:
// so many processes can answer queries without contending for one.
const executionShards = 16

// recorder writes execution records. Its process leases a shard, so that no other
// one writes there. Until it has one, and where all are taken, it writes to a shard
// of another: that costs lost races, and no record.
type recorder struct {
	store eventstore.Store
	shard atomic.Int32
}

// patience is how long a process waits for a shard that another one has before it
// asks for the next.
const patience = 300 * time.Millisecond

// lease holds a shard that nobody else has, until the context ends: the first that
// is free, so that a process alone always writes to shard 0.
func (r *recorder) lease(ctx context.Context, s state.Store) {
	for shard := 0; ctx.Err() == nil; shard = (shard + 1) % executionShards {
		asking, giveUp := context.WithCancel(ctx)
		impatient := time.AfterFunc(patience, giveUp)
		held, release, err := s.Acquire(asking, fmt.Sprintf("executions/%d", shard))
		if err == nil && impatient.Stop() {
			r.shard.Store(int32(shard))
			<-held.Done()
		}
		if err == nil {
			release()
		}
		giveUp()
	}
}

// record keeps an execution: one event in the second store.
func (r *recorder) record(ctx context.Context, log eventstore.LogID, header *domain.ExecutionRecorded, trace []byte) error {
	data, err := domain.EncodeEvent(header)
	if err != nil {
		return err
	}
	stream := "adhoc"
	if header.RetrieverID != "" {
		stream = "retriever-" + header.RetrieverID
	}
	shard := int(r.shard.Load())
	_, err = r.store.Append(ctx, eventstore.Append{Shard: shard, Batches: []eventstore.Batch{{Log: projections.ExecutionLog(log, shard), Stream: stream, Expect: eventstore.Any(),
		Events: []eventstore.Event{{Type: header.EventType(), Data: data, Attachments: []eventstore.Attachment{{Name: "trace", Bytes: trace}}}},
		Meta:   eventstore.Metadata{Actor: header.Principal, Key: header.KeyID, Correlation: header.TraceID, Origin: "http"}}}})
	return err
}
