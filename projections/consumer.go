package projections

import (
	"context"
	"fmt"
	"slices"
	"time"

	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/follow"
)

// sqlConsumer gives a follower's pages to a projection: rows, checkpoint and
// what is parked change in one transaction.
type sqlConsumer struct {
	f *tables
	p Projection
}

// applyPage is how many records Apply gets at most. Where a model is far behind,
// several such pages are one transaction: pages of indexes that many events
// touch are then written once.
const (
	applyPage       = 1000
	transactionPage = 16_000
)

// Load reads checkpoint and parked streams.
func (c *sqlConsumer) Load(ctx context.Context, shard int) (follow.State, error) {
	at, err := c.f.checkpoint(ctx, shard)
	if err != nil {
		return follow.State{}, err
	}
	rows, err := c.f.write.QueryContext(ctx, c.f.text(`SELECT log, stream, version, position, feed, record, type, error, held, tries, since
		FROM varve_parked WHERE shard = $1`), shard)
	if err != nil {
		return follow.State{}, fmt.Errorf("read parked streams: %w", err)
	}
	defer rows.Close()
	s := follow.State{Checkpoint: at}
	for rows.Next() {
		p := follow.Parked{Shard: shard}
		var record string
		var since int64
		if err := rows.Scan(&p.Log, &p.Stream, &p.Version, &p.Position, &p.Feed, &record, &p.Type, &p.Error, &p.Held, &p.Tries, &since); err != nil {
			return follow.State{}, fmt.Errorf("read parked streams: %w", err)
		}
		if p.Record, err = eventstore.ParseID(record); err != nil {
			return follow.State{}, err
		}
		p.Since = time.UnixMicro(since).UTC()
		s.Parked = append(s.Parked, p)
	}
	return s, rows.Err()
}

// Take applies a move.
func (c *sqlConsumer) Take(ctx context.Context, m follow.Move) error {
	tx, err := c.f.begin(ctx)
	if err != nil {
		if c.f.database != nil {
			forgetIdle(c.f.write)
		}
		return follow.Unavailable(fmt.Errorf("begin page of %s: %w", c.p.Name(), err))
	}
	defer rollback(tx)
	if err := moveCheckpoint(ctx, tx, m); err != nil {
		return err
	}
	if err := failpoint.Hit("projection.moved"); err != nil {
		return follow.Unavailable(err)
	}
	for page := range slices.Chunk(m.Records, applyPage) {
		if err := c.p.Apply(ctx, tx, page); err != nil {
			err = fmt.Errorf("apply to %s: %w", c.p.Name(), err)
			if isStorage(err) {
				return follow.Unavailable(err)
			}
			return err
		}
	}
	if err := c.park(ctx, tx, m); err != nil {
		return follow.Unavailable(fmt.Errorf("park in %s: %w", c.p.Name(), err))
	}
	if c.f.database != nil {
		if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, c.f.database.prefix, moved(c.f.path, m)); err != nil {
			return follow.Unavailable(fmt.Errorf("tell of a page of %s: %w", c.p.Name(), err))
		}
	}
	if err := failpoint.Hit("projection.applied"); err != nil {
		return follow.Unavailable(err)
	}
	if err := tx.Commit(); err != nil {
		return follow.Unavailable(fmt.Errorf("commit page of %s: %w", c.p.Name(), err))
	}
	if err := failpoint.Hit("projection.committed"); err != nil {
		return follow.Unavailable(err)
	}
	return nil
}

// moveCheckpoint moves a shard's checkpoint if it still is where the move starts.
func moveCheckpoint(ctx context.Context, tx *Tx, m follow.Move) error {
	res, err := tx.ExecContext(ctx, `UPDATE varve_checkpoint SET feed = $1, record = $2, hash = $3 WHERE shard = $4 AND feed = $5 AND record = $6`,
		int64(m.To.Feed), m.To.Record.String(), m.To.Hash.String(), m.Shard, int64(m.From.Feed), m.From.Record.String())
	if err == nil && m.From == (follow.Checkpoint{}) {
		if n, _ := res.RowsAffected(); n == 0 {
			res, err = tx.ExecContext(ctx, `INSERT INTO varve_checkpoint (shard, feed, record, hash) VALUES ($1, $2, $3, $4) ON CONFLICT (shard) DO NOTHING`,
				m.Shard, int64(m.To.Feed), m.To.Record.String(), m.To.Hash.String())
		}
	}
	if err != nil {
		return follow.Unavailable(fmt.Errorf("move checkpoint: %w", err))
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return follow.ErrMoved
	}
	return nil
}

func (c *sqlConsumer) park(ctx context.Context, tx *Tx, m follow.Move) error {
	for _, k := range m.Unpark {
		if _, err := tx.ExecContext(ctx, `DELETE FROM varve_parked WHERE shard = $1 AND log = $2 AND stream = $3`, m.Shard, string(k.Log), k.Stream); err != nil {
			return err
		}
	}
	insert := func(table, conflict string, p follow.Parked) error {
		held := 0
		if p.Held {
			held = 1
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO `+table+` (shard, log, stream, version, position, feed, record, type, error, held, tries, since)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`+conflict,
			m.Shard, string(p.Log), p.Stream, int64(p.Version), int64(p.Position), int64(p.Feed), p.Record.String(), p.Type, p.Error, held, p.Tries, p.Since.UnixMicro())
		return err
	}
	for _, p := range m.Park {
		if err := insert("varve_parked", ` ON CONFLICT (shard, log, stream) DO UPDATE SET version = excluded.version, position = excluded.position,
			feed = excluded.feed, record = excluded.record, type = excluded.type, error = excluded.error, held = excluded.held,
			tries = excluded.tries, since = excluded.since`, p); err != nil {
			return err
		}
	}
	for _, p := range m.Skipped {
		if err := insert("varve_skipped", "", p); err != nil {
			return err
		}
	}
	return nil
}

// indexConsumer gives a follower's pages to an index, which keeps its own place.
// What is parked is forgotten with the process: then the events are tried again.
type indexConsumer struct{ ix Index }

// Load asks the index where it is. Its checkpoint names no record.
func (c *indexConsumer) Load(_ context.Context, shard int) (follow.State, error) {
	return follow.State{Checkpoint: follow.Checkpoint{Feed: c.ix.Applied(shard)}}, nil
}

// Take applies a move's records.
func (c *indexConsumer) Take(ctx context.Context, m follow.Move) error {
	if len(m.Records) == 0 {
		return nil
	}
	return c.ix.Apply(ctx, m.Shard, m.Records)
}
