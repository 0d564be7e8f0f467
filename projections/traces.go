package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// Traces is the read model of the executions store: where each execution's
// record lies, and its header.
type Traces struct{ reader }

// NewTraces makes the projection; it belongs to the executions store's runner.
func NewTraces() *Traces { return &Traces{} }

// Name is traces.
func (*Traces) Name() string { return "traces" }

// Version of tables and fold.
func (*Traces) Version() int { return 1 }

// Schema makes the table.
func (*Traces) Schema() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS executions (log TEXT NOT NULL, execution_id TEXT NOT NULL, position BIGINT NOT NULL, record TEXT NOT NULL, time BIGINT NOT NULL,
			mode TEXT NOT NULL, retriever_id TEXT NOT NULL, status TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (log, execution_id))`,
		`CREATE INDEX IF NOT EXISTS executions_time ON executions (log, position)`,
		`CREATE INDEX IF NOT EXISTS executions_retriever ON executions (log, retriever_id, position)`,
	}
}

// Handles is the one event of the executions store.
func (*Traces) Handles() []string { return []string{"execution.recorded"} }

var traceRows = bulk{before: `INSERT INTO executions (log, execution_id, position, record, time, mode, retriever_id, status, data) VALUES `, width: 9,
	after: ` ON CONFLICT (log, execution_id) DO NOTHING`}

// Apply folds a page. An erased record shows nothing.
func (*Traces) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	rows := make([]any, 0, len(page)*traceRows.width)
	for i := range page {
		r := &page[i]
		if r.Erased || len(r.Data) == 0 {
			continue
		}
		var id, mode, retriever, status string
		err := eachMember(r.Data, func(key, value []byte) (err error) {
			switch string(key) {
			case "execution_id":
				id, err = text(value)
			case "mode":
				mode, err = text(value)
			case "retriever_id":
				retriever, err = text(value)
			case "status":
				status, err = text(value)
			}
			return err
		})
		if err == nil && id == "" {
			err = errors.New("the event names no execution")
		}
		if err != nil {
			return fmt.Errorf("%s at position %d of log %s: %w", r.Type, r.Position, r.Log, err)
		}
		rows = append(rows, string(r.Log), id, int64(r.Position), r.ID.String(), r.Time.UnixMicro(), mode, retriever, status, string(r.Data))
	}
	return traceRows.write(ctx, tx, rows)
}

// TraceRow is an execution's header and where its record lies: the record at
// Position of Log in the executions store has the attachment.
type TraceRow struct {
	domain.ExecutionRecorded
	Log      eventstore.LogID
	Position uint64 // in the executions store; ExecutionRecorded.Position is the namespace's
	Record   eventstore.ID
	Time     time.Time // when it was recorded
}

// TraceQuery selects and pages executions, newest first.
type TraceQuery struct {
	RetrieverID string         // empty: all
	Mode        string         // retriever, adhoc; empty: both
	Status      string         // empty: all
	Filter      *domain.Filter // over the header's members
	Sort        []Sort         // none: newest first
	After       string         // goes on at the position of the first page
	Offset      int
	Limit       int // 0 means 100
	Total       bool
}

const traceColumns = `SELECT position, record, time, data FROM executions `

func scanTrace(rows *sql.Rows, log eventstore.LogID) (TraceRow, error) {
	t := TraceRow{Log: log}
	var position, at int64
	var record string
	var data sql.RawBytes
	err := rows.Scan(&position, &record, &at, &data)
	if err != nil {
		return t, err
	}
	if t.Record, err = eventstore.ParseID(record); err != nil {
		return t, err
	}
	t.Position, t.Time = uint64(position), micros(at)
	return t, json.Unmarshal(data, &t.ExecutionRecorded)
}

// Execution finds an execution by id in a log of the executions store.
func (t *Traces) Execution(ctx context.Context, at At, executionID string) (TraceRow, error) {
	var row TraceRow
	err := t.query(ctx, traceColumns+`WHERE log = ? AND execution_id = ? AND position <= ?`, []any{string(at.Log), executionID, int64(at.Position)}, func(rows *sql.Rows) (err error) {
		row, err = scanTrace(rows, at.Log)
		return err
	})
	if err == nil && row.Position == 0 {
		err = domain.NotFound("execution", executionID)
	}
	return row, err
}

// View is the execution's header as filters see it, with created_at beside it.
func (r *TraceRow) View() map[string]any {
	v := map[string]any{}
	if b, err := json.Marshal(r.ExecutionRecorded); err == nil {
		if m, err := domain.DecodeObject(b); err == nil {
			v = m
		}
	}
	v["created_at"], v["duration_ms"] = stamp(r.Time), json.Number(fmt.Sprintf("%g", float64(r.DurationMicros)/1000))
	return v
}

// List pages through the executions of a log.
func (t *Traces) List(ctx context.Context, at At, q TraceQuery) (Page[TraceRow], error) {
	page := Page[TraceRow]{At: at}
	c, err := readCursor(q.After, queryDigest("executions", q.RetrieverID, q.Mode, q.Status, q.Filter, q.Sort), at.Position)
	if err != nil {
		return page, err
	}
	page.At.Position = c.Position
	where, args := `WHERE log = ? AND position <= ?`, []any{string(at.Log), int64(c.Position)}
	for _, is := range [...][2]string{{"retriever_id", q.RetrieverID}, {"mode", q.Mode}, {"status", q.Status}} {
		if is[1] != "" {
			where, args = where+` AND `+is[0]+` = ?`, append(args, is[1])
		}
	}
	limit, offset := limitOf(q.Limit), c.Skip
	if q.After == "" {
		offset = q.Offset
	}
	if q.Filter != nil || len(q.Sort) > 0 {
		return page, t.listFiltered(ctx, &page, &q, c, where, args, offset, limit)
	}
	if q.Total {
		n := 0
		if err := t.query(ctx, `SELECT count(*) FROM executions `+where, args, func(rows *sql.Rows) error { return rows.Scan(&n) }); err != nil {
			return page, err
		}
		page.Total = &n
	}
	err = t.query(ctx, traceColumns+where+` ORDER BY position DESC LIMIT ? OFFSET ?`, append(args, limit+1, offset), func(rows *sql.Rows) error {
		if len(page.Items) == limit {
			c.Skip = offset + limit
			page.Next = c.text()
			return errEnough
		}
		row, err := scanTrace(rows, at.Log)
		page.Items = append(page.Items, row)
		return err
	})
	return page, err
}

func (t *Traces) listFiltered(ctx context.Context, page *Page[TraceRow], q *TraceQuery, c cursor, where string, args []any, offset, limit int) error {
	var keys []sortKey
	rowsByID := map[string]TraceRow{}
	err := t.query(ctx, traceColumns+where+` ORDER BY position DESC`, args, func(rows *sql.Rows) error {
		row, err := scanTrace(rows, page.At.Log)
		if err != nil {
			return err
		}
		view := row.View()
		if !q.Filter.Match(view) {
			return nil
		}
		id := fmt.Sprintf("%020d", ^row.Position) // newest first among equals
		keys, rowsByID[id] = append(keys, keysOf(view, q.Sort, id)), row
		return nil
	})
	if err != nil {
		return err
	}
	sortKeys(keys, q.Sort)
	if q.Total {
		n := len(keys)
		page.Total = &n
	}
	part, end := cut(keys, offset, limit)
	for _, k := range part {
		page.Items = append(page.Items, rowsByID[k.id])
	}
	if end < len(keys) {
		c.Skip = end
		page.Next = c.text()
	}
	return nil
}
