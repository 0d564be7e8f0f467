package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// Schema makes the table. Rows are the namespace's, whichever log they are stored in.
func (*Traces) Schema() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS executions (log TEXT NOT NULL, execution_id TEXT NOT NULL, stored TEXT NOT NULL, position BIGINT NOT NULL, record TEXT NOT NULL, time BIGINT NOT NULL,
			mode TEXT NOT NULL, retriever_id TEXT NOT NULL, status TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (log, execution_id))`,
		`CREATE INDEX IF NOT EXISTS executions_time ON executions (log, time, execution_id)`,
		`CREATE INDEX IF NOT EXISTS executions_retriever ON executions (log, retriever_id, time, execution_id)`,
	}
}

// Handles is the one event of the executions store.
func (*Traces) Handles() []string { return []string{"execution.recorded"} }

var traceRows = bulk{before: `INSERT INTO executions (log, execution_id, stored, position, record, time, mode, retriever_id, status, data) VALUES `, width: 10,
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
		rows = append(rows, string(NamespaceLog(r.Log)), id, string(r.Log), int64(r.Position), r.ID.String(), r.Time.UnixMicro(), mode, retriever, status, string(r.Data))
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

const traceColumns = `SELECT stored, position, record, time, data FROM executions `

func scanTrace(rows *sql.Rows) (t TraceRow, err error) {
	var position, at int64
	var record string
	var data sql.RawBytes
	if err := rows.Scan(&t.Log, &position, &record, &at, &data); err != nil {
		return t, err
	}
	if t.Record, err = eventstore.ParseID(record); err != nil {
		return t, err
	}
	t.Position, t.Time = uint64(position), micros(at)
	return t, json.Unmarshal(data, &t.ExecutionRecorded)
}

// Execution finds an execution of a namespace, by the name of its log and by id.
func (t *Traces) Execution(ctx context.Context, log eventstore.LogID, executionID string) (TraceRow, error) {
	var row TraceRow
	err := t.query(ctx, traceColumns+`WHERE log = ? AND execution_id = ?`, []any{string(log), executionID}, func(rows *sql.Rows) (err error) {
		row, err = scanTrace(rows)
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

// tracePlace is where a list goes on that has no order of its own: after the
// execution that was shown last.
type tracePlace struct {
	Time int64  `json:"t"` // microseconds
	ID   string `json:"i"`
}

// List pages through the executions of a namespace, newest first. Its cursors pin
// the time of the first page's first row.
func (t *Traces) List(ctx context.Context, log eventstore.LogID, q TraceQuery) (Page[TraceRow], error) {
	page := Page[TraceRow]{At: At{Log: log}}
	c, err := readCursor(q.After, queryDigest("executions", q.RetrieverID, q.Mode, q.Status, q.Filter, q.Sort), math.MaxInt64)
	if err != nil {
		return page, err
	}
	where, args := `WHERE log = ? AND time <= ?`, []any{string(log), int64(c.Position)}
	for _, is := range [...][2]string{{"retriever_id", q.RetrieverID}, {"mode", q.Mode}, {"status", q.Status}} {
		if is[1] != "" {
			where, args = where+` AND `+is[0]+` = ?`, append(args, is[1])
		}
	}
	if q.Filter != nil || len(q.Sort) > 0 {
		return page, t.listFiltered(ctx, &page, &q, c, where, args)
	}
	if q.Total {
		n := 0
		if err := t.query(ctx, `SELECT count(*) FROM executions `+where, args, func(rows *sql.Rows) error { return rows.Scan(&n) }); err != nil {
			return page, err
		}
		page.Total = &n
	}
	limit, offset := limitOf(q.Limit), q.Offset
	if q.After != "" {
		var after tracePlace
		if err := json.Unmarshal([]byte(c.After), &after); err != nil {
			return page, domain.Invalid("cursor", "format", "is not a cursor of this list; give the next_cursor of the page before, or none")
		}
		offset = 0
		where, args = where+` AND (time, execution_id) < (?, ?)`, append(args, after.Time, after.ID)
	}
	err = t.query(ctx, traceColumns+where+` ORDER BY time DESC, execution_id DESC LIMIT ? OFFSET ?`, append(args, limit+1, offset), func(rows *sql.Rows) error {
		if len(page.Items) == limit {
			last := page.Items[limit-1]
			after, err := json.Marshal(tracePlace{last.Time.UnixMicro(), last.ExecutionID})
			c.After, c.Position = string(after), min(c.Position, uint64(page.Items[0].Time.UnixMicro()))
			page.Next = c.text()
			return errors.Join(err, errEnough)
		}
		row, err := scanTrace(rows)
		page.Items = append(page.Items, row)
		return err
	})
	return page, err
}

func (t *Traces) listFiltered(ctx context.Context, page *Page[TraceRow], q *TraceQuery, c cursor, where string, args []any) error {
	var keys []sortKey
	rowsByID := map[string]TraceRow{}
	err := t.query(ctx, traceColumns+where+` ORDER BY time DESC, execution_id DESC`, args, func(rows *sql.Rows) error {
		row, err := scanTrace(rows)
		if err != nil {
			return err
		}
		view := row.View()
		if !q.Filter.Match(view) {
			return nil
		}
		if len(keys) == 0 { // the newest
			c.Position = min(c.Position, uint64(row.Time.UnixMicro()))
		}
		id := fmt.Sprintf("%020d", len(keys)) // newest first among equals
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
	skip, limit := c.Skip, limitOf(q.Limit)
	if q.After == "" {
		skip = q.Offset
	}
	part, end := cut(keys, skip, limit)
	for _, k := range part {
		page.Items = append(page.Items, rowsByID[k.id])
	}
	if end < len(keys) {
		c.Skip = end
		page.Next = c.text()
	}
	return nil
}
