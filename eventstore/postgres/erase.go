package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
)

// Erase empties rows and replaces or deletes what lies beside them.
func (e *Engine) Erase(ctx context.Context, x *eventstore.Erasure) error {
	if len(x.Rows) == 0 {
		return nil // nothing that an earlier erasure left over: each is one transaction
	}
	return e.change(ctx, func(tx pgx.Tx, in func(string) string) error {
		keys := make([]int64, len(x.Rows))
		for i, k := range x.Rows {
			keys[i] = eventKey(k.Shard, k.Feed)
		}
		if _, err := tx.Exec(ctx, in(fmt.Sprintf(`UPDATE $S.events SET data = NULL, packed = NULL,
			frame = overlay(frame PLACING '\x%s'::bytea FROM %d) WHERE key = ANY($1::bigint[])`, strings.Repeat("00", eventstore.FrameMeta-eventstore.FrameSalt), eventstore.FrameSalt+1)), keys); err != nil {
			return err
		}
		for _, b := range x.Put {
			if _, err := tx.Exec(ctx, in("INSERT INTO $S.blobs VALUES ($1, $2)"), b.Ref, b.Bytes); err != nil {
				return err
			}
		}
		for k, packed := range x.Repack {
			if _, err := tx.Exec(ctx, in("UPDATE $S.events SET packed = $1 WHERE key = $2"), packed, eventKey(k.Shard, k.Feed)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, in("DELETE FROM $S.blobs WHERE ref = ANY($1::text[])"), x.Deleted)
		return err
	})
}

// change runs a transaction beside the commits; fn's second parameter puts the
// schema into a statement. Doing it twice must change nothing: after a lost
// connection it is not known whether it was done, and the caller asks again.
func (e *Engine) change(ctx context.Context, fn func(tx pgx.Tx, in func(string) string) error) error {
	return explain(pgx.BeginFunc(ctx, e.writes, func(tx pgx.Tx) error {
		return fn(tx, func(sql string) string { return in(e.opts.Schema, sql) })
	}))
}

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
	for first := h.First; first <= upTo; first += truncateAtOnce {
		last := min(first+truncateAtOnce-1, upTo)
		if err := e.change(ctx, func(tx pgx.Tx, in func(string) string) error { return cut(ctx, tx, in, shard, last, upTo) }); err != nil {
			return err
		}
	}
	return nil
}

func cut(ctx context.Context, tx pgx.Tx, in func(string) string, shard int, last, upTo uint64) error {
	from, to := eventKey(shard, 0), eventKey(shard, last)
	// Streams and logs go on counting from the newest record that goes. An insert
	// that becomes an update has no join that could be planned as a scan.
	if _, err := tx.Exec(ctx, in(`INSERT INTO $S.streams SELECT n.stream, s.log, s.name, n.version FROM (
			SELECT stream, max(version) AS version FROM $S.events WHERE key BETWEEN $1 AND $2 GROUP BY stream) n
		CROSS JOIN LATERAL (SELECT log, name FROM $S.streams WHERE stream = n.stream LIMIT 1) s
		ON CONFLICT (stream) DO UPDATE SET base = greatest(streams.base, excluded.base)`), from, to); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, in(fmt.Sprintf(`INSERT INTO $S.logs SELECT l.log, l.name, l.shard, l.token, l.closed, l.pieces, n.position, substr(n.frame, %d, %d) FROM (
			SELECT DISTINCT ON (log) log, position, frame FROM $S.events WHERE key BETWEEN $1 AND $2 ORDER BY log, position DESC) n
		CROSS JOIN LATERAL (SELECT * FROM $S.logs WHERE log = n.log LIMIT 1) l
		ON CONFLICT (log) DO UPDATE SET base_position = excluded.base_position, base = excluded.base`, eventstore.FrameHash+1, eventstore.FrameSchema-eventstore.FrameHash)), from, to); err != nil {
		return err
	}
	var refs []string
	if err := each(ctx, tx.Conn(), func(v [][]byte) error {
		r := eventstore.Row{Packed: v[1]}
		_, r.Feed = splitKey(toInt(v[0]))
		if ref, _, end, ok := eventstore.EngineBlob(&r); ok && end <= upTo && (len(refs) == 0 || refs[len(refs)-1] != ref) {
			refs = append(refs, ref)
		}
		return nil
	}, in("SELECT key, packed FROM $S.events WHERE key BETWEEN $1 AND $2 AND packed IS NOT NULL"), from, to); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, in("DELETE FROM $S.blobs WHERE ref = ANY($1::text[])"), refs); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, in("DELETE FROM $S.events WHERE key BETWEEN $1 AND $2"), from, to); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, in("UPDATE $S.heads SET first = greatest(first, $2::bigint) WHERE shard = $1"), int64(shard), int64(last+1))
	return err
}
