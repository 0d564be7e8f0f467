package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	Tier        int // from 0
	Collections []string
	Processed   int // objects done with all of the tier's collections, failed ones included
	Failed      int // failures, over the tier's collections
	Documents   int
	Done        bool
	Completed   time.Time // zero until it is done
}

// BatchRow is a batch with its progress, as of the newest applied event.
type BatchRow struct {
	domain.BatchState
	Log           eventstore.LogID
	Tiers         []TierProgress // of the current attempt
	Processed     int            // objects that need no more work, failed ones included
	Failed        int            // objects that failed
	Documents     int            // written in the current attempt
	Total         int            // objects of the current attempt, or of the draft
	Percent       float64        // of the work of the current attempt
	Completed     time.Time      // zero while it is not ended
	LastActivity  time.Time
	FailedObjects []FailedObject // of the current attempt, oldest first; in answers for one batch
}

// BatchQuery selects and pages batches, newest first.
type BatchQuery struct {
	BucketID     string // empty: all
	CollectionID string // one that an attempt ran or the batch names
	Status       string
	Filter       *domain.Filter // over batch_id, bucket_id, batch_name, status, task_id, created_at, updated_at, metadata, object_ids, collection_ids
	Search       string
	After        string
	Offset       int
	Limit        int // 0 means 100
	Total        bool
}

// View is the batch as filters and searches see it.
func (b *BatchRow) View() map[string]any {
	v := map[string]any{"batch_id": b.BatchID, "bucket_id": b.BucketID, "batch_name": b.Name, "status": b.Status, "task_id": b.TaskID,
		"created_at": stamp(b.Created.Time), "updated_at": stamp(b.Updated.Time), "object_ids": list(b.ObjectIDs), "collection_ids": list(b.collections())}
	addField(v, "metadata", b.Metadata)
	return v
}

func list(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}

func (b *BatchRow) collections() []string {
	all := slices.Clone(b.CollectionIDs)
	for _, tier := range b.BatchState.Tiers {
		for _, id := range tier {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// Batch finds a batch; domain.NotFound where it does not exist or was deleted.
func (b *Batches) Batch(ctx context.Context, log eventstore.LogID, batchID string) (BatchRow, error) {
	rows, err := b.batches(ctx, `WHERE log = ? AND batch_id = ? AND deleted = 0`, string(log), batchID)
	if err != nil {
		return BatchRow{}, err
	}
	if len(rows) == 0 {
		return BatchRow{}, domain.NotFound("batch", batchID)
	}
	row := rows[0]
	if err := b.progress(ctx, &row); err != nil {
		return BatchRow{}, err
	}
	row.FailedObjects, err = b.failures(ctx, log, batchID, row.Attempt)
	return row, err
}

func (b *Batches) failures(ctx context.Context, log eventstore.LogID, batchID string, attempt int) ([]FailedObject, error) {
	var all []FailedObject
	err := b.query(ctx, `SELECT object_id, collection_id, error_type, error, time FROM batch_failures WHERE log = ? AND batch_id = ? AND attempt = ? ORDER BY position`,
		[]any{string(log), batchID, attempt}, func(rows *sql.Rows) error {
			var f FailedObject
			var at int64
			if err := rows.Scan(&f.ObjectID, &f.CollectionID, &f.ErrorType, &f.Error, &at); err != nil {
				return err
			}
			f.Time = micros(at)
			all = append(all, f)
			return nil
		})
	return all, err
}

func (b *Batches) batches(ctx context.Context, where string, args ...any) ([]BatchRow, error) {
	var all []BatchRow
	err := b.query(ctx, `SELECT log, state FROM batches `+where, args, func(rows *sql.Rows) error {
		var row BatchRow
		var state sql.RawBytes
		if err := rows.Scan(&row.Log, &state); err != nil {
			return err
		}
		if err := json.Unmarshal(state, &row.BatchState); err != nil {
			return err
		}
		all = append(all, row)
		return nil
	})
	return all, err
}

// progress fills in what was counted of the current attempt.
func (b *Batches) progress(ctx context.Context, row *BatchRow) error {
	row.Total, row.LastActivity = len(row.Running), row.Updated.Time
	if row.Attempt == 0 {
		row.Total = len(row.ObjectIDs)
		return nil
	}
	counts := map[string]count{}
	err := b.query(ctx, `SELECT collection_id, processed, failed, documents, updated FROM batch_counts WHERE log = ? AND batch_id = ? AND attempt = ?`,
		[]any{string(row.Log), row.BatchID, row.Attempt}, func(rows *sql.Rows) error {
			var id string
			var c count
			if err := rows.Scan(&id, &c.processed, &c.failed, &c.documents, &c.updated); err != nil {
				return err
			}
			counts[id] = c
			if at := micros(c.updated); at.After(row.LastActivity) {
				row.LastActivity = at
			}
			return nil
		})
	if err != nil {
		return err
	}
	failed := 0
	err = b.query(ctx, `SELECT count(DISTINCT object_id) FROM batch_failures WHERE log = ? AND batch_id = ? AND attempt = ?`,
		[]any{string(row.Log), row.BatchID, row.Attempt}, func(rows *sql.Rows) error { return rows.Scan(&failed) })
	if err != nil {
		return err
	}
	completed := map[int]time.Time{}
	err = b.query(ctx, `SELECT tier, completed FROM batch_tiers WHERE log = ? AND batch_id = ? AND attempt = ?`,
		[]any{string(row.Log), row.BatchID, row.Attempt}, func(rows *sql.Rows) error {
			var tier int
			var at int64
			err := rows.Scan(&tier, &at)
			completed[tier] = micros(at)
			return err
		})
	row.sum(counts, failed, completed)
	return err
}

// sum turns counts by collection into progress.
func (b *BatchRow) sum(counts map[string]count, failed int, completed map[int]time.Time) {
	b.Failed, b.Processed, b.Documents = failed, failed, 0
	work := 0.0
	for i, collections := range b.BatchState.Tiers {
		t := TierProgress{Tier: i, Collections: collections, Done: i < b.TierDone, Completed: completed[i]}
		for j, id := range collections {
			c := counts[id]
			t.Failed, t.Documents = t.Failed+int(c.failed), t.Documents+int(c.documents)
			if n := int(c.processed); j == 0 || n < t.Processed {
				t.Processed = n
			}
		}
		if t.Done || b.Status == domain.StatusCompleted {
			t.Processed = b.Total
		}
		t.Processed = min(t.Processed, b.Total)
		if b.Total > 0 {
			work += float64(t.Processed) / float64(b.Total)
		}
		b.Documents += t.Documents
		if i == len(b.BatchState.Tiers)-1 {
			b.Processed = max(t.Processed, failed)
		}
		b.Tiers = append(b.Tiers, t)
	}
	if len(b.Tiers) > 0 {
		b.Percent = 100 * work / float64(len(b.Tiers))
	}
	if !b.Terminal() {
		return
	}
	b.Completed = b.Updated.Time
	if b.Status != domain.StatusCanceled {
		b.Processed, b.Percent = b.Total, 100
		b.Failed, b.Documents = max(b.BatchState.Failed, failed), b.BatchState.Documents
	}
}

// List pages through batches.
func (b *Batches) List(ctx context.Context, log eventstore.LogID, q BatchQuery) (Page[BatchRow], error) {
	page := Page[BatchRow]{At: At{Log: log}}
	c, err := readCursor(q.After, queryDigest("batches", q.BucketID, q.CollectionID, q.Status, q.Filter, q.Search), 0)
	if err != nil {
		return page, err
	}
	where, args := `WHERE log = ? AND deleted = 0`, []any{string(log)}
	if q.BucketID != "" {
		where, args = where+` AND bucket_id = ?`, append(args, q.BucketID)
	}
	if q.Status != "" {
		where, args = where+` AND status = ?`, append(args, q.Status)
	}
	rows, err := b.batches(ctx, where+` ORDER BY created DESC, batch_id DESC`, args...)
	if err != nil {
		return page, err
	}
	words := searchWords(q.Search)
	rows = slices.DeleteFunc(rows, func(r BatchRow) bool {
		if q.CollectionID != "" && !slices.Contains(r.collections(), q.CollectionID) {
			return true
		}
		if q.Filter == nil && len(words) == 0 {
			return false
		}
		view := r.View()
		return !q.Filter.Match(view) || !searched(view, words)
	})
	page.Items, page.Next, page.Total, err = pageByTime(rows, c, q.After != "", q.Offset, q.Limit, q.Total, func(r BatchRow) (int64, string) { return r.Created.Time.UnixMicro(), r.BatchID })
	for i := range page.Items {
		if err == nil {
			err = b.progress(ctx, &page.Items[i])
		}
	}
	return page, err
}

// Active lists batches whose attempt has not ended, in all logs, oldest first.
func (b *Batches) Active(ctx context.Context) ([]BatchRow, error) {
	return b.batches(ctx, `WHERE status = ? AND deleted = 0 ORDER BY created, batch_id`, domain.StatusProcessing)
}

// pageByTime cuts a page out of items ordered by time, newest first, then by id.
// A cursor names the last item seen, so items that came since change nothing.
func pageByTime[T any](all []T, c cursor, going bool, offset, limit int, total bool, key func(T) (int64, string)) (items []T, next string, n *int, err error) {
	if total {
		count := len(all)
		n = &count
	}
	if going {
		at, id, ok := strings.Cut(c.After, "|")
		last, parsed := strconv.ParseInt(at, 10, 64)
		if !ok || parsed != nil {
			return nil, "", nil, domain.Invalid("cursor", "format", "is not a cursor of this list; give the next_cursor of the page before, or none")
		}
		offset = slices.IndexFunc(all, func(v T) bool {
			t, own := key(v)
			return t < last || t == last && own < id
		})
		if offset < 0 {
			offset = len(all)
		}
	}
	items, end := cut(all, offset, limitOf(limit))
	if end < len(all) && len(items) > 0 {
		t, id := key(items[len(items)-1])
		c.After = fmt.Sprintf("%d|%s", t, id)
		next = c.text()
	}
	return items, next, n, nil
}
