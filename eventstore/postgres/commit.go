package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"varve/eventstore"
	"varve/eventstore/failpoint"
)

// Commit writes a group in one statement. Where the connection is lost meanwhile,
// it finds out what became of it.
func (e *Engine) Commit(ctx context.Context, c *eventstore.Commit) error {
	conn := e.unhold(c)
	if conn == nil {
		var err error
		if conn, err = e.acquire(ctx); err != nil {
			return explain(err)
		}
	}
	err := e.write(ctx, conn, c)
	lost := err != nil && conn.Conn().IsClosed()
	if err != nil && c.Held {
		e.rollback(conn)
	}
	conn.Release() // which gives a broken connection up
	if lost {
		err = e.outcome(ctx, c, err)
	}
	switch {
	case err == nil:
		e.announcer.announce(c.Shard, c.New.Feed)
		return nil
	case lost:
		return err
	case code(err) == uniqueViolation:
		return fmt.Errorf("%w: %w", eventstore.ErrStale, explain(err))
	}
	return explain(err) // from a server that is still there: nothing was written
}

// unhold takes the connection that holds the shard's lock for this commit.
func (e *Engine) unhold(c *eventstore.Commit) *pgxpool.Conn {
	if !c.Held {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	conn := e.held[c.Shard]
	delete(e.held, c.Shard)
	return conn
}

// rollback ends a transaction that failed; where that fails too, the connection
// is of no use and the server ends the transaction with it.
func (e *Engine) rollback(conn *pgxpool.Conn) {
	ctx, stop := context.WithTimeout(context.Background(), e.opts.StatementTimeout)
	defer stop()
	if conn.Conn().IsClosed() {
		return
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = conn.Conn().Close(ctx) // what is wrong with it is known
	}
}

func (e *Engine) write(ctx context.Context, conn *pgxpool.Conn, c *eventstore.Commit) error {
	// The server gives up first; this is for a server that does not answer at all.
	ctx, stop := context.WithTimeout(ctx, e.opts.StatementTimeout+e.opts.LockTimeout)
	defer stop()
	if err := e.dropScopes(ctx, conn, c); err != nil {
		return err
	}
	p := newParameters()
	defer p.done()
	with := e.params(p, c)
	name := e.sql.names[with]
	if _, err := conn.Conn().Prepare(ctx, name, e.sql.commit[with]); err != nil {
		return err
	}
	if err := failpoint.Hit("postgres.before-commit"); err != nil {
		return err
	}
	moved, err := execCommit(ctx, conn.Conn().PgConn(), name, p.list, c.Held)
	if err != nil {
		return err
	}
	if !moved {
		return eventstore.ErrMoved
	}
	return failpoint.Hit("postgres.after-commit")
}

// execCommit says whether the head moved; the transaction that holds the lock is
// ended in the same round trip.
func execCommit(ctx context.Context, c *pgconn.PgConn, name string, params [][]byte, held bool) (moved bool, err error) {
	binary := []int16{pgx.BinaryFormatCode}
	if !held {
		r := c.ExecPrepared(ctx, name, params, binary, nil).Read()
		return r.CommandTag.RowsAffected() > 0, r.Err
	}
	var batch pgconn.Batch
	batch.ExecPrepared(name, params, binary, nil)
	batch.ExecParams("COMMIT", nil, nil, nil, nil)
	results, err := c.ExecBatch(ctx, &batch).ReadAll()
	if err != nil {
		return false, err
	}
	for _, r := range results {
		if r.Err != nil {
			return false, r.Err
		}
	}
	return results[0].CommandTag.RowsAffected() > 0, nil
}

// dropScopes deletes idempotency rows that do not count any more, so it need not
// be part of the commit. A name that is replaced is deleted under the head's
// token: afterwards only a commit that moves it can write the name again.
func (e *Engine) dropScopes(ctx context.Context, conn *pgxpool.Conn, c *eventstore.Commit) error {
	if !c.ScopesUntil.IsZero() {
		if _, err := conn.Exec(ctx, in(e.opts.Schema, `DELETE FROM $S.scopes WHERE id = ANY(ARRAY(
			SELECT id FROM $S.scopes WHERE time < $1 ORDER BY time LIMIT 2000 FOR UPDATE SKIP LOCKED))`),
			eventstore.Micros(c.ScopesUntil)); err != nil {
			return err
		}
	}
	if len(c.DropScopes) == 0 {
		return nil
	}
	ids := make([][]byte, len(c.DropScopes))
	for i, name := range c.DropScopes {
		ids[i] = scopeID(name)
	}
	_, err := conn.Exec(ctx, in(e.opts.Schema, `WITH h AS (SELECT 1 FROM $S.heads WHERE shard = $1 AND token = $2 FOR UPDATE)
		DELETE FROM $S.scopes WHERE id = ANY($3::bytea[]) AND EXISTS (SELECT 1 FROM h)`),
		int64(c.Shard), int64(c.Old.Token), ids)
	return err
}

func scopeID(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

// params writes the parameters of a commit's statement and gives its parts.
func (e *Engine) params(p *parameters, c *eventstore.Commit) (with int) {
	h := &c.New
	first := uint64(0)
	if h.First != c.Old.First {
		first = h.First
	}
	number(p, c.Shard)
	number(p, c.Old.Token)
	number(p, h.Token)
	number(p, h.Feed)
	number(p, h.Logs)
	number(p, h.Streams)
	number(p, first)
	number(p, e.writer)
	if len(c.Streams) > 0 {
		with |= withStreams
		p.streams(c.Streams)
	}
	if len(c.Rows) > 0 {
		with |= withEvents
		p.events(c.Rows)
	}
	if len(c.Logs) > 0 {
		with |= withLogs
		type log = eventstore.LogInfo
		numbers(p, c.Logs, func(l *log) int64 { return l.Key })
		texts(p, c.Logs, func(l *log) eventstore.LogID { return l.Name })
		numbers(p, c.Logs, func(l *log) int { return l.Shard })
		numbers(p, c.Logs, func(*log) uint64 { return h.Token })
		p.array(len(c.Logs), pgtype.BoolOID, func(b []byte, i int) ([]byte, bool) {
			if slices.Contains(c.Closed, c.Logs[i].Key) {
				return append(b, 1), true
			}
			return append(b, 0), true
		})
		texts(p, c.Logs, pieces)
		numbers(p, c.Logs, func(l *log) uint64 { return l.Position })
		raw(p, c.Logs, pgtype.ByteaOID, func(l *log) []byte { return eventstore.AppendBase(nil, l.Hash, l.Time) })
	}
	if len(c.Closed) > 0 { // the part does not see the rows that the one before makes
		with |= withClosed
		numbers(p, c.Closed, func(key *int64) int64 { return *key })
	}
	if len(c.Scopes) > 0 {
		with |= withScopes
		type scope = eventstore.Scope
		raw(p, c.Scopes, pgtype.ByteaOID, func(s *scope) []byte { return scopeID(s.Name) })
		texts(p, c.Scopes, func(s *scope) string { return s.Name })
		numbers(p, c.Scopes, func(s *scope) int { return s.Shard })
		raw(p, c.Scopes, pgtype.ByteaOID, func(s *scope) []byte { return s.Digest[:] })
		numbers(p, c.Scopes, func(s *scope) uint64 { return s.First })
		numbers(p, c.Scopes, func(s *scope) int { return s.Count })
		numbers(p, c.Scopes, func(s *scope) int64 { return eventstore.Micros(s.Time) })
	}
	if len(c.Blobs) > 0 {
		with |= withBlobs
		texts(p, c.Blobs, func(b *eventstore.Blob) string { return b.Ref })
		raw(p, c.Blobs, pgtype.ByteaOID, func(b *eventstore.Blob) []byte { return b.Bytes })
	}
	return with
}

func pieces(l *eventstore.LogInfo) string {
	list := make([]string, 0, len(l.Pieces))
	for _, p := range l.Pieces[:len(l.Pieces)-1] {
		list = append(list, fmt.Sprintf("%d:%d", p.Key, p.UpTo))
	}
	return strings.Join(list, " ")
}

// outcomeWithin is how long the outcome of a commit is looked for, as while a
// server is restarted.
const outcomeWithin = 15 * time.Second

// outcome finds out what became of a commit whose connection was lost. The head
// is locked, so a commit that still runs is waited for; and where the head has
// not moved, it is moved, so that a statement which only arrives later finds
// another token and writes nothing.
func (e *Engine) outcome(ctx context.Context, c *eventstore.Commit, cause error) error {
	ctx, stop := context.WithTimeout(ctx, outcomeWithin)
	defer stop()
	e.writes.Reset()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second/2) {
		verdict, err := e.look(ctx, c)
		if err == nil {
			return verdict
		}
		if pause(ctx, wait) != nil {
			return unknown("%s; for %s afterwards: %s", explain(cause), outcomeWithin, explain(err))
		}
	}
}

// unknown is ErrUnknownOutcome with another text, as the committer says that one itself.
func unknown(format string, args ...any) error {
	return &explained{"the connection was lost: " + fmt.Sprintf(format, args...), eventstore.ErrUnknownOutcome, false}
}

// look gives the outcome: nil where the commit happened, ErrMoved where it never
// will, ErrUnknownOutcome where others' commits cover its traces.
func (e *Engine) look(ctx context.Context, c *eventstore.Commit) (verdict, err error) {
	err = pgx.BeginFunc(ctx, e.writes, func(tx pgx.Tx) error {
		h, writer, err := scanHead(tx.QueryRow(ctx, e.sql.headFor, int64(c.Shard)))
		if err != nil {
			return err
		}
		mine := h.Token == c.New.Token && writer == e.writer
		switch {
		case h.Token == c.Old.Token:
			verdict = eventstore.ErrMoved
			_, err = tx.Exec(ctx, "UPDATE "+e.opts.Schema+".heads SET token = token + 1, writer = 0 WHERE shard = $1", int64(c.Shard))
			return err
		case mine:
			verdict = nil
		case h.Token == c.New.Token:
			verdict = eventstore.ErrMoved
		case len(c.Rows) == 0 || h.First > c.Rows[0].Feed:
			verdict = unknown("other processes committed since")
		default:
			rows, err := e.rows(ctx, tx.Conn(), 1, e.sql.feed.sized, int64(1), eventKey(c.Shard, c.Rows[0].Feed-1), eventKey(c.Shard, c.Rows[0].Feed+1))
			if err != nil {
				return err
			}
			verdict = eventstore.ErrMoved
			if len(rows) == 1 && rows[0].ID == c.Rows[0].ID && rows[0].Hash == c.Rows[0].Hash {
				verdict = nil
			}
		}
		return nil
	})
	return verdict, err
}
