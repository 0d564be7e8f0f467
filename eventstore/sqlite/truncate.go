package sqlite

import (
	"context"
	"database/sql/driver"
	"math"

	"varve/eventstore"
)

// truncateAtOnce is how many records one transaction of Truncate deletes, so
// that appends get their turn in between.
const truncateAtOnce = 5000

// Truncate deletes a prefix of the feed, piece by piece. A crash in between
// leaves a shorter prefix deleted.
func (e *Engine) Truncate(ctx context.Context, shard int, upTo uint64) error {
	h, err := e.Head(ctx, shard)
	if err != nil {
		return err
	}
	for first := h.First; first <= upTo; {
		if err := ctx.Err(); err != nil {
			return err
		}
		last := min(first+truncateAtOnce-1, upTo)
		if err := e.tx(func() error { return e.cut(shard, first, last, upTo) }); err != nil {
			return err
		}
		first = last + 1
	}
	return nil
}

func (e *Engine) cut(shard int, first, last, upTo uint64) error {
	from, to := eventKey(shard, first), eventKey(shard, last)
	// Streams and logs go on counting from the newest record that goes.
	if _, err := e.w.exec(`UPDATE streams SET base = max(base, n.v) FROM (
		SELECT stream, max(version) AS v FROM events WHERE key BETWEEN ? AND ? GROUP BY stream) AS n
		WHERE streams.stream = n.stream`, from, to); err != nil {
		return err
	}
	if _, err := e.w.exec(`UPDATE logs SET base_position = n.position, base = CAST(substr(n.frame, 49, 40) AS BLOB) FROM (
		SELECT log, max(position) AS position, frame FROM events WHERE key BETWEEN ? AND ? GROUP BY log) AS n
		WHERE logs.log = n.log`, from, to); err != nil {
		return err
	}
	var refs []string
	if err := e.w.query("SELECT key, packed FROM events WHERE key BETWEEN ? AND ? AND packed IS NOT NULL", func(row []driver.Value) (bool, error) {
		r := eventstore.Row{Packed: row[1].([]byte)}
		_, r.Feed = splitKey(row[0].(int64))
		if ref, _, end, ok := eventstore.EngineBlob(&r); ok && end <= upTo && (len(refs) == 0 || refs[len(refs)-1] != ref) {
			refs = append(refs, ref)
		}
		return true, nil
	}, from, to); err != nil {
		return err
	}
	for _, ref := range refs {
		if _, err := e.w.exec("DELETE FROM blobs WHERE ref = ?", ref); err != nil {
			return err
		}
	}
	if _, err := e.w.exec("DELETE FROM events WHERE key BETWEEN ? AND ?", from, to); err != nil {
		return err
	}
	_, err := e.w.exec("UPDATE heads SET first = ? WHERE shard = ?", int64(last+1), int64(shard))
	return err
}

// Changes tells what was committed since a head, in one snapshot.
func (e *Engine) Changes(ctx context.Context, shard int, since eventstore.Head, limit int) (out eventstore.Changes, complete bool, err error) {
	err = e.read(ctx, func(c *conn) error {
		if _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer c.rollback()
		if out.Head, err = head(c, shard); err != nil {
			return err
		}
		if since.Feed > out.Head.Feed || since.Feed+1 < out.Head.First || out.Head.Feed-since.Feed > uint64(limit) {
			return nil
		}
		if err := c.query(logSelect+"l.shard = ? AND l.token > ?", func(row []driver.Value) (bool, error) {
			i, err := e.logInfo(c, row)
			out.Logs = append(out.Logs, i)
			return true, err
		}, int64(shard), int64(since.Token)); err != nil {
			return err
		}
		for after := since.Feed; ; {
			rows, more, err := e.page(c, limit, 64, math.MaxUint64, rowSelect+"e.key > ? AND e.key < ? ORDER BY e.key", eventKey(shard, after), eventKey(shard+1, 0))
			if err != nil {
				return err
			}
			out.Rows = append(out.Rows, rows...)
			if !more || len(rows) == 0 {
				break
			}
			after = rows[len(rows)-1].Feed
		}
		complete = true
		return nil
	})
	return out, complete, err
}
