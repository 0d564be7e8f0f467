package projections

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// TaskTypeBatch is the reference's type of the tasks that run batches.
const TaskTypeBatch = "api_buckets_batches_process"

// TaskRow is a task as the reference shows it: one per attempt of a batch.
type TaskRow struct {
	TaskID    string
	TaskType  string
	Log       eventstore.LogID
	Status    string
	BatchID   string
	BucketID  string
	Attempt   int
	Created   time.Time
	Updated   time.Time
	Completed time.Time // zero while it runs
	Total     int       // objects
	Processed int       // objects that need no more work
	Failed    int
	Documents int
	Tiers     int
	TierDone  int
	Percent   float64
	Error     string
}

// TaskQuery selects and pages tasks, newest first.
type TaskQuery struct {
	Status   string
	TaskType string
	BatchID  string
	Filter   *domain.Filter // over the members of the view
	Search   string
	After    string
	Offset   int
	Limit    int // 0 means 100
	Total    bool
}

// View is the task as filters and searches see it.
func (t *TaskRow) View() map[string]any {
	return map[string]any{"task_id": t.TaskID, "task_type": t.TaskType, "status": t.Status, "batch_id": t.BatchID, "bucket_id": t.BucketID,
		"created_at": stamp(t.Created), "updated_at": stamp(t.Updated), "error": t.Error}
}

// FindTask finds a task in any of the given logs; domain.NotFound where it is in none.
func (b *Batches) FindTask(ctx context.Context, logs []eventstore.LogID, taskID string) (TaskRow, error) {
	rows, err := b.tasks(ctx, `WHERE task_id = ?`, taskID)
	if err != nil {
		return TaskRow{}, err
	}
	for _, t := range rows {
		if slices.Contains(logs, t.Log) {
			return t, b.taskProgress(ctx, &t)
		}
	}
	return TaskRow{}, domain.NotFound("task", taskID)
}

func (b *Batches) tasks(ctx context.Context, where string, args ...any) ([]TaskRow, error) {
	var all []TaskRow
	err := b.query(ctx, `SELECT log, task_id, batch_id, bucket_id, attempt, status, created, updated, completed, total, tiers, failed, documents, error FROM tasks `+where, args, func(rows *sql.Rows) error {
		t := TaskRow{TaskType: TaskTypeBatch}
		var created, updated, completed int64
		if err := rows.Scan(&t.Log, &t.TaskID, &t.BatchID, &t.BucketID, &t.Attempt, &t.Status, &created, &updated, &completed, &t.Total, &t.Tiers, &t.Failed, &t.Documents, &t.Error); err != nil {
			return err
		}
		t.Created, t.Updated, t.Completed = micros(created), micros(updated), micros(completed)
		all = append(all, t)
		return nil
	})
	return all, err
}

// taskProgress fills in what was counted of the task's attempt.
func (b *Batches) taskProgress(ctx context.Context, t *TaskRow) error {
	rows, err := b.batches(ctx, `WHERE log = ? AND batch_id = ?`, string(t.Log), t.BatchID)
	if err != nil || len(rows) == 0 || rows[0].Attempt != t.Attempt {
		t.settle()
		return err
	}
	row := rows[0]
	if err := b.progress(ctx, &row); err != nil {
		return err
	}
	t.Processed, t.Failed, t.Documents, t.TierDone, t.Percent = row.Processed, row.Failed, row.Documents, row.TierDone, row.Percent
	if row.LastActivity.After(t.Updated) {
		t.Updated = row.LastActivity
	}
	return nil
}

// settle is the progress of a task that a later attempt followed.
func (t *TaskRow) settle() {
	if t.Status != domain.StatusCanceled && !t.Completed.IsZero() {
		t.Processed, t.TierDone, t.Percent = t.Total, t.Tiers, 100
	}
}

// Tasks pages through tasks of the given logs.
func (b *Batches) Tasks(ctx context.Context, logs []eventstore.LogID, q TaskQuery) (Page[TaskRow], error) {
	var page Page[TaskRow]
	c, err := readCursor(q.After, queryDigest("tasks", q.Status, q.TaskType, q.BatchID, q.Filter, q.Search), 0)
	if err != nil {
		return page, err
	}
	var all []TaskRow
	for _, log := range logs {
		where, args := `WHERE log = ?`, []any{string(log)}
		if q.Status != "" {
			where, args = where+` AND status = ?`, append(args, q.Status)
		}
		if q.BatchID != "" {
			where, args = where+` AND batch_id = ?`, append(args, q.BatchID)
		}
		rows, err := b.tasks(ctx, where, args...)
		if err != nil {
			return page, err
		}
		all = append(all, rows...)
	}
	words := searchWords(q.Search)
	all = slices.DeleteFunc(all, func(t TaskRow) bool {
		if q.TaskType != "" && q.TaskType != t.TaskType {
			return true
		}
		view := t.View()
		return q.Filter != nil && !q.Filter.Match(view) || !searched(view, words)
	})
	slices.SortFunc(all, func(a, b TaskRow) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(b.TaskID, a.TaskID)
	})
	page.Items, page.Next, page.Total, err = pageByTime(all, c, q.After != "", q.Offset, q.Limit, q.Total, func(t TaskRow) (int64, string) { return t.Created.UnixMicro(), t.TaskID })
	for i := range page.Items {
		if err == nil {
			err = b.taskProgress(ctx, &page.Items[i])
		}
	}
	return page, err
}
