package projections

import (
	"context"
	"fmt"
	"strings"

	"varve/domain"
	"varve/eventstore"
)

// An object is PENDING when it was saved, PROCESSING when a batch with it was
// submitted, COMPLETED when all collections of the attempt are done or the
// attempt ended, and FAILED when one of them could not be made. The attempt that
// was submitted last counts.

var newStatus = bulk{before: `INSERT INTO object_status (log, object_id, bucket_id, status, error, batch_id, attempt, wanted, done) VALUES `, width: 9,
	after: ` ON CONFLICT (log, object_id) DO UPDATE SET bucket_id = excluded.bucket_id, status = excluded.status, error = excluded.error,
		batch_id = CASE WHEN excluded.batch_id = '' THEN object_status.batch_id ELSE excluded.batch_id END,
		attempt = CASE WHEN excluded.batch_id = '' THEN object_status.attempt ELSE excluded.attempt END, wanted = excluded.wanted, done = excluded.done`}

// statusFold gathers rows that set a status, and writes them before anything that reads it.
type statusFold struct {
	tx   *Tx
	rows []any
	seen map[statusKey]bool // one statement may not set a row twice
}

type statusKey struct {
	log    int64
	object string
}

func (s *statusFold) set(ctx context.Context, log int64, object, bucket, status, batch string, attempt, wanted int) error {
	k := statusKey{log, object}
	if s.seen[k] {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	s.seen[k] = true
	s.rows = append(s.rows, log, object, bucket, status, "", batch, attempt, wanted, 0)
	return nil
}

func (s *statusFold) flush(ctx context.Context) error {
	err := newStatus.write(ctx, s.tx, s.rows)
	s.rows = s.rows[:0]
	clear(s.seen)
	return err
}

func (s *statusFold) exec(ctx context.Context, text string, args ...any) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	_, err := s.tx.ExecContext(ctx, text, args...)
	return err
}

func applyStatus(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	s := &statusFold{tx: tx, seen: map[statusKey]bool{}}
	for i := range page {
		r := &page[i]
		if err := s.apply(ctx, r); err != nil {
			return fmt.Errorf("%s at position %d of log %s: %w", r.Type, r.Position, r.Log, err)
		}
	}
	return s.flush(ctx)
}

func (s *statusFold) apply(ctx context.Context, r *eventstore.Record) error {
	if r.Erased {
		return nil
	}
	e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
	if err != nil {
		return err
	}
	log := logKey(r.Log)
	switch e := e.(type) {
	case *domain.ObjectSaved:
		return s.set(ctx, log, e.ObjectID, e.BucketID, domain.StatusPending, "", 0, 0)
	case *domain.ObjectDeleted:
		return s.exec(ctx, `DELETE FROM object_status WHERE log = $1 AND object_id = $2`, log, strings.TrimPrefix(r.Stream, domain.ObjectStream("")))
	case *domain.BucketDeleted:
		return s.exec(ctx, `DELETE FROM object_status WHERE log = $1 AND bucket_id = $2`, log, e.BucketID)
	case *domain.BatchSubmitted:
		wanted := 0
		for _, tier := range e.Tiers {
			wanted += len(tier)
		}
		for _, id := range e.ObjectIDs {
			if err := s.set(ctx, log, id, e.BucketID, domain.StatusProcessing, e.BatchID, e.Attempt, wanted); err != nil {
				return err
			}
		}
		return nil
	case *domain.ObjectExtracted:
		return s.exec(ctx, `UPDATE object_status SET done = done + 1, status = CASE WHEN status = 'PROCESSING' AND done + 1 >= wanted THEN 'COMPLETED' ELSE status END
			WHERE log = $1 AND object_id = $2 AND batch_id = $3 AND attempt = $4`, log, e.ObjectID, e.BatchID, e.Attempt)
	case *domain.ObjectFailed:
		return s.exec(ctx, `UPDATE object_status SET status = 'FAILED', error = $1 WHERE log = $2 AND object_id = $3 AND batch_id = $4 AND attempt = $5`,
			e.Error, log, e.ObjectID, e.BatchID, e.Attempt)
	case *domain.BatchCompleted:
		return s.exec(ctx, `UPDATE object_status SET status = $1 WHERE log = $2 AND batch_id = $3 AND attempt = $4 AND status = 'PROCESSING'`,
			endStatus(e.Status), log, e.BatchID, e.Attempt)
	case *domain.BatchCanceled:
		return s.exec(ctx, `UPDATE object_status SET status = CASE WHEN done > 0 THEN 'COMPLETED' ELSE 'PENDING' END
			WHERE log = $1 AND batch_id = $2 AND status = 'PROCESSING'`, log, e.BatchID)
	}
	return nil
}

// endStatus is what an object is that was neither done nor failed when its attempt ended.
func endStatus(batch string) string {
	if batch == domain.StatusFailed {
		return domain.StatusFailed
	}
	return domain.StatusCompleted
}
