package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"varve/domain"
	"varve/eventstore"
)

// Batches is the read model of batches and their tasks, as of the newest event.
type Batches struct{ reader }

// NewBatches makes the projection.
func NewBatches() *Batches { return &Batches{} }

// Name is batches.
func (*Batches) Name() string { return "batches" }

// Version of tables and fold.
func (*Batches) Version() int { return 1 }

// Schema makes the tables: the fold of each batch's stream as JSON, what was
// counted of the objects of an attempt by collection, what failed, and a task
// per attempt.
func (*Batches) Schema() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS batches (log TEXT NOT NULL, batch_id TEXT NOT NULL, bucket_id TEXT NOT NULL, status TEXT NOT NULL, created BIGINT NOT NULL,
			deleted BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (log, batch_id))`,
		`CREATE INDEX IF NOT EXISTS batches_created ON batches (log, created, batch_id)`,
		`CREATE INDEX IF NOT EXISTS batches_status ON batches (status)`,
		`CREATE TABLE IF NOT EXISTS batch_counts (log TEXT NOT NULL, batch_id TEXT NOT NULL, attempt BIGINT NOT NULL, collection_id TEXT NOT NULL,
			processed BIGINT NOT NULL, failed BIGINT NOT NULL, documents BIGINT NOT NULL, updated BIGINT NOT NULL, PRIMARY KEY (log, batch_id, attempt, collection_id))`,
		`CREATE TABLE IF NOT EXISTS batch_failures (log TEXT NOT NULL, batch_id TEXT NOT NULL, attempt BIGINT NOT NULL, object_id TEXT NOT NULL, collection_id TEXT NOT NULL,
			error_type TEXT NOT NULL, error TEXT NOT NULL, time BIGINT NOT NULL, position BIGINT NOT NULL, PRIMARY KEY (log, batch_id, attempt, object_id, collection_id))`,
		`CREATE TABLE IF NOT EXISTS batch_tiers (log TEXT NOT NULL, batch_id TEXT NOT NULL, attempt BIGINT NOT NULL, tier BIGINT NOT NULL, completed BIGINT NOT NULL,
			PRIMARY KEY (log, batch_id, attempt, tier))`,
		`CREATE TABLE IF NOT EXISTS tasks (log TEXT NOT NULL, task_id TEXT NOT NULL, batch_id TEXT NOT NULL, bucket_id TEXT NOT NULL, attempt BIGINT NOT NULL, status TEXT NOT NULL,
			created BIGINT NOT NULL, updated BIGINT NOT NULL, completed BIGINT NOT NULL, total BIGINT NOT NULL, tiers BIGINT NOT NULL, failed BIGINT NOT NULL, documents BIGINT NOT NULL,
			error TEXT NOT NULL, PRIMARY KEY (log, task_id))`,
		`CREATE INDEX IF NOT EXISTS tasks_created ON tasks (log, created, task_id)`,
		`CREATE INDEX IF NOT EXISTS tasks_batch ON tasks (log, batch_id)`,
		`CREATE INDEX IF NOT EXISTS tasks_id ON tasks (task_id)`,
	}
}

// Handles are the events of batches, and what their attempts did to objects.
func (*Batches) Handles() []string {
	return []string{"batch.saved", "batch.submitted", "batch.tier_completed", "batch.completed", "batch.canceled", "batch.deleted",
		"object.extracted", "object.failed"}
}

// countKey and count gather what a page says of an attempt's collection.
type countKey struct {
	log, batch, collection string
	attempt                int
}

type count struct{ processed, failed, documents, updated int64 }

type batchFold struct {
	tx     *Tx
	states map[[2]string]*domain.BatchState
	counts map[countKey]*count
	order  []countKey
}

// Apply folds a page: batches one by one, which are few, objects by collection.
func (*Batches) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	f := &batchFold{tx: tx, states: map[[2]string]*domain.BatchState{}, counts: map[countKey]*count{}}
	for i := range page {
		r := &page[i]
		if r.Erased {
			continue
		}
		if err := f.apply(ctx, r); err != nil {
			return fmt.Errorf("%s at position %d of log %s: %w", r.Type, r.Position, r.Log, err)
		}
	}
	return f.flush(ctx)
}

func (f *batchFold) apply(ctx context.Context, r *eventstore.Record) error {
	e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
	if err != nil {
		return err
	}
	log, now := string(r.Log), r.Time.UnixMicro()
	switch e := e.(type) {
	case *domain.ObjectExtracted:
		c := f.count(countKey{log, e.BatchID, e.CollectionID, e.Attempt}, now)
		c.processed++
		c.documents += int64(len(e.Documents))
		return nil
	case *domain.ObjectFailed:
		c := f.count(countKey{log, e.BatchID, e.CollectionID, e.Attempt}, now)
		c.processed++
		c.failed++
		return f.exec(ctx, `INSERT INTO batch_failures (log, batch_id, attempt, object_id, collection_id, error_type, error, time, position)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (log, batch_id, attempt, object_id, collection_id)
			DO UPDATE SET error_type = excluded.error_type, error = excluded.error, time = excluded.time, position = excluded.position`,
			log, e.BatchID, e.Attempt, e.ObjectID, e.CollectionID, e.ErrorType, e.Error, now, int64(r.Position))
	}
	id, err := f.fold(ctx, r, e)
	if err != nil {
		return err
	}
	return f.task(ctx, log, id, now, e)
}

// fold applies an event to its batch's state.
func (f *batchFold) fold(ctx context.Context, r *eventstore.Record, e domain.EventData) (id string, err error) {
	switch e := e.(type) {
	case *domain.BatchSaved:
		id = e.BatchID
	case *domain.BatchSubmitted:
		id = e.BatchID
	case *domain.BatchTierCompleted:
		id = e.BatchID
	case *domain.BatchCompleted:
		id = e.BatchID
	case *domain.BatchCanceled:
		id = e.BatchID
	case *domain.BatchDeleted:
		id = e.BatchID
	}
	if id == "" {
		return "", errors.New("the event names no batch")
	}
	k := [2]string{string(r.Log), id}
	b := f.states[k]
	if b == nil {
		b = &domain.BatchState{}
		var state string
		err := f.tx.QueryRowContext(ctx, `SELECT state FROM batches WHERE log = $1 AND batch_id = $2`, k[0], id).Scan(&state)
		if err == nil {
			err = json.Unmarshal([]byte(state), b)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return "", err
		}
		f.states[k] = b
	}
	*b = b.Apply(e, domain.Stamp{Position: r.Position, Version: r.Version, Time: r.Time, Actor: r.Meta.Actor})
	if b.BatchID == "" {
		b.BatchID = id
	}
	return id, nil
}

// task keeps the tasks table and the times of tiers.
func (f *batchFold) task(ctx context.Context, log, id string, now int64, e domain.EventData) error {
	b := f.states[[2]string{log, id}]
	switch e := e.(type) {
	case *domain.BatchSubmitted:
		return f.exec(ctx, `INSERT INTO tasks (log, task_id, batch_id, bucket_id, attempt, status, created, updated, completed, total, tiers, failed, documents, error)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 0, $8, $9, 0, 0, '') ON CONFLICT (log, task_id) DO UPDATE SET attempt = excluded.attempt, status = excluded.status,
			updated = excluded.updated, completed = 0, total = excluded.total, tiers = excluded.tiers, failed = 0, documents = 0, error = ''`,
			log, e.TaskID, id, e.BucketID, e.Attempt, domain.StatusProcessing, now, len(e.ObjectIDs), len(e.Tiers))
	case *domain.BatchTierCompleted:
		return f.exec(ctx, `INSERT INTO batch_tiers (log, batch_id, attempt, tier, completed) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (log, batch_id, attempt, tier) DO UPDATE SET completed = excluded.completed`, log, id, e.Attempt, e.Tier, now)
	case *domain.BatchCompleted:
		return f.exec(ctx, `UPDATE tasks SET status = $1, updated = $2, completed = $2, failed = $3, documents = $4, error = $5 WHERE log = $6 AND task_id = $7`,
			e.Status, now, e.Failed, e.Documents, e.Reason, log, e.TaskID)
	case *domain.BatchCanceled:
		return f.exec(ctx, `UPDATE tasks SET status = $1, updated = $2, completed = $2, error = $3 WHERE log = $4 AND task_id = $5 AND completed = 0`,
			domain.StatusCanceled, now, e.Reason, log, b.TaskID)
	}
	return nil
}

func (f *batchFold) exec(ctx context.Context, text string, args ...any) error {
	_, err := f.tx.ExecContext(ctx, text, args...)
	return err
}

func (f *batchFold) count(k countKey, now int64) *count {
	c := f.counts[k]
	if c == nil {
		c = &count{}
		f.counts[k] = c
		f.order = append(f.order, k)
	}
	c.updated = now
	return c
}

var batchCounts = bulk{before: `INSERT INTO batch_counts (log, batch_id, attempt, collection_id, processed, failed, documents, updated) VALUES `, width: 8,
	after: ` ON CONFLICT (log, batch_id, attempt, collection_id) DO UPDATE SET processed = batch_counts.processed + excluded.processed,
		failed = batch_counts.failed + excluded.failed, documents = batch_counts.documents + excluded.documents, updated = excluded.updated`}

var batchStates = bulk{before: `INSERT INTO batches (log, batch_id, bucket_id, status, created, deleted, state) VALUES `, width: 7,
	after: ` ON CONFLICT (log, batch_id) DO UPDATE SET bucket_id = excluded.bucket_id, status = excluded.status, created = excluded.created,
		deleted = excluded.deleted, state = excluded.state`}

func (f *batchFold) flush(ctx context.Context) error {
	var rows []any
	for _, k := range f.order {
		c := f.counts[k]
		rows = append(rows, k.log, k.batch, k.attempt, k.collection, c.processed, c.failed, c.documents, c.updated)
	}
	if err := batchCounts.write(ctx, f.tx, rows); err != nil {
		return err
	}
	rows = rows[:0]
	for k, b := range f.states {
		state, err := json.Marshal(b)
		if err != nil {
			return err
		}
		deleted := 0
		if !b.Exists {
			deleted = 1
		}
		rows = append(rows, k[0], k[1], b.BucketID, b.Status, b.Created.Time.UnixMicro(), deleted, string(state))
	}
	return batchStates.write(ctx, f.tx, rows)
}
