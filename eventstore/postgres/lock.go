package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
)

// Lock locks the head and reads what changed, in one round trip. The transaction
// stays open until the shard's next commit or Release.
func (e *Engine) Lock(ctx context.Context, shard int, since eventstore.Head, limit int) (c eventstore.Changes, complete bool, err error) {
	for attempt := range attempts {
		conn, err := e.acquire(ctx)
		if err != nil {
			return c, false, explain(err)
		}
		bounded, stop := context.WithTimeout(ctx, e.opts.StatementTimeout+e.opts.LockTimeout)
		c, complete, err = e.changes(bounded, conn.Conn(), shard, since, limit, "BEGIN ISOLATION LEVEL READ COMMITTED", e.sql.headFor)
		stop()
		if err == nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.held[shard] = conn
			return c, complete, nil
		}
		broken := conn.Conn().IsClosed()
		e.rollback(conn)
		conn.Release()
		if !broken || attempt == attempts-1 {
			return c, false, explain(err)
		}
	}
	return c, false, nil // not reached
}

// Release gives the lock back.
func (e *Engine) Release(_ context.Context, shard int) error {
	if conn := e.unhold(&eventstore.Commit{Shard: shard, Held: true}); conn != nil {
		e.rollback(conn)
		conn.Release()
	}
	return nil
}

// Changes tells what was committed since a head, in one snapshot.
func (e *Engine) Changes(ctx context.Context, shard int, since eventstore.Head, limit int) (c eventstore.Changes, complete bool, err error) {
	err = e.read(ctx, func(conn *pgx.Conn) error {
		c, complete, err = e.changes(ctx, conn, shard, since, limit, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e.sql.head)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "COMMIT")
		return err
	})
	return c, complete, err
}

// changes begins a transaction and reads a head and what came after another one.
// More rows than limit are not read.
func (e *Engine) changes(ctx context.Context, conn *pgx.Conn, shard int, since eventstore.Head, limit int, begin, headSQL string) (c eventstore.Changes, complete bool, err error) {
	var batch pgx.Batch
	batch.Queue(begin)
	batch.Queue(headSQL, int64(shard)).QueryRow(func(r pgx.Row) error {
		c.Head, _, err = scanHead(r)
		return err
	})
	feed := min(since.Feed, 1<<shardBits-1)
	var rows []eventstore.Row
	batch.Queue(e.sql.since, eventKey(shard, feed), eventKey(shard+1, 0), int64(limit)+1).Query(func(r pgx.Rows) error {
		rows, err = scanRows(r, 64)
		return err
	})
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		return c, false, err
	}
	if since.Feed > c.Head.Feed || since.Feed+1 < c.Head.First || len(rows) > limit {
		return c, false, nil
	}
	var logs []eventstore.LogInfo
	if c.Head.Logs != since.Logs {
		if err := each(ctx, conn, func(v [][]byte) error {
			i, err := logInfo(v)
			logs = append(logs, i)
			return err
		}, e.sql.changed, int64(shard), int64(min(since.Token, math.MaxInt64))); err != nil {
			return c, false, err
		}
	}
	for i := range logs {
		if err := e.nameRanges(ctx, conn, &logs[i]); err != nil {
			return c, false, err
		}
	}
	if err := e.nameRows(ctx, conn, rows); err != nil {
		return c, false, err
	}
	c.Logs, c.Rows = logs, rows
	return c, true, nil
}
