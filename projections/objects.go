package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// ObjectRow is one version of an object. Status and Error are the newest known,
// whatever the position of the read.
type ObjectRow struct {
	domain.Object
	Created  time.Time // of the object: survives updates
	Updated  time.Time // of this version
	Status   string    // PENDING, PROCESSING, COMPLETED, FAILED
	Error    string
	Position uint64 // from which this version holds
	Ended    uint64 // position at which it ended; 0 while it holds
	Version  uint64 // of the object's stream
}

// Objects is the read model of source objects: every version with the positions
// between which it holds, and how far its processing is.
type Objects struct{ reader }

// NewObjects makes the projection.
func NewObjects() *Objects { return &Objects{} }

// Name is objects.
func (*Objects) Name() string { return "objects" }

// Version of tables and fold.
func (*Objects) Version() int { return 2 }

var objectHistory = &history{table: "objects", id: "object_id", group: "bucket_id", more: []string{"size"}}

// Schema makes the tables. object_status is the newest state of processing: the
// batch that has the object, and for how many of its collections it is done.
func (*Objects) Schema() []string {
	return append(objectHistory.schema(`size BIGINT NOT NULL`),
		`CREATE UNIQUE INDEX IF NOT EXISTS objects_key ON objects (object_id, log, valid_from)`,
		`CREATE INDEX IF NOT EXISTS objects_bucket ON objects (log, bucket_id, object_id, valid_from, valid_to, size, updated)`,
		`CREATE TABLE IF NOT EXISTS object_status (log BIGINT NOT NULL, object_id TEXT NOT NULL, bucket_id TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL,
			batch_id TEXT NOT NULL, attempt BIGINT NOT NULL, wanted BIGINT NOT NULL, done BIGINT NOT NULL, PRIMARY KEY (log, object_id))`,
		`CREATE INDEX IF NOT EXISTS object_status_batch ON object_status (log, batch_id)`,
		`CREATE INDEX IF NOT EXISTS object_status_bucket ON object_status (log, bucket_id, status)`,
	)
}

// Handles are the events of objects and batches, and the deletions of buckets.
func (*Objects) Handles() []string {
	return []string{"object.saved", "object.deleted", "object.extracted", "object.failed", "bucket.deleted",
		"batch.submitted", "batch.completed", "batch.canceled"}
}

// Apply folds a page.
func (*Objects) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	changes, err := objectChanges(page)
	if err != nil {
		return err
	}
	if err := objectHistory.applyPage(ctx, tx, changes); err != nil {
		return err
	}
	return applyStatus(ctx, tx, page)
}

func objectChanges(page []eventstore.Record) ([]change, error) {
	changes := make([]change, 0, len(page))
	for i := range page {
		r := &page[i]
		c, ok, err := objectChange(r)
		if err != nil {
			return nil, fmt.Errorf("%s at position %d of log %s: %w", r.Type, r.Position, r.Log, err)
		}
		if ok {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

func objectChange(r *eventstore.Record) (c change, ok bool, err error) {
	c = changeOf(r)
	switch r.Type {
	case "object.saved", "object.deleted", "bucket.deleted":
	default:
		return c, false, nil
	}
	e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
	if err != nil {
		return c, false, err
	}
	switch e := e.(type) {
	case *domain.BucketDeleted:
		c.kind, c.id = ends, e.BucketID
	case *domain.ObjectSaved:
		if r.Erased || len(r.Data) == 0 {
			c.kind = deletes
			break
		}
		if e.ObjectID == "" {
			return c, false, errors.New("the event names no object")
		}
		c.id, c.group, c.checked = e.ObjectID, e.BucketID, e.ConfigVersion
		c.more, c.data = []any{objectSize(&e.Object)}, string(r.Data)
	case *domain.ObjectDeleted:
		c.kind = deletes
	}
	if c.kind == deletes {
		c.id = strings.TrimPrefix(r.Stream, domain.ObjectStream(""))
	}
	return c, true, nil
}

// objectSize is how many bytes an object's blobs have.
func objectSize(o *domain.Object) int64 {
	var n int64
	for _, b := range o.Blobs {
		if b.Size > 0 {
			n += b.Size
		} else {
			n += int64(len(b.Inline))
		}
	}
	return n
}
