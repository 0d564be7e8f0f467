package projections

import (
	"context"
	"database/sql"
	"fmt"
)

// endedTable remembers deletions of collections or buckets: a data record that
// was checked against a configuration before one is void, in whichever order the
// two come.
const endedTable = `CREATE TABLE IF NOT EXISTS ended (log TEXT NOT NULL, id TEXT NOT NULL, version BIGINT NOT NULL, position BIGINT NOT NULL,
	PRIMARY KEY (log, id, version))`

// ending is a deletion: the version of the configuration, and the position.
type ending struct{ version, position int64 }

// endings are the deletions of the logs that a page touches.
type endings map[string]map[string][]ending // log → id

// read adds a log's deletions, once.
func (e endings) read(ctx context.Context, tx *sql.Tx, log string) error {
	if _, ok := e[log]; ok {
		return nil
	}
	e[log] = nil
	rows, err := tx.QueryContext(ctx, `SELECT id, version, position FROM ended WHERE log = $1`, log)
	if err != nil {
		return fmt.Errorf("read deletions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var d ending
		if err := rows.Scan(&id, &d.version, &d.position); err != nil {
			return fmt.Errorf("read deletions: %w", err)
		}
		e.put(log, id, d)
	}
	return rows.Err()
}

func (e endings) put(log, id string, d ending) {
	if e[log] == nil {
		e[log] = map[string][]ending{}
	}
	e[log][id] = append(e[log][id], d)
}

// add remembers the deletion of a group in the table, too.
func (e endings) add(ctx context.Context, tx *sql.Tx, c *change) error {
	e.put(c.log, c.id, ending{c.version, c.position})
	_, err := tx.ExecContext(ctx, `INSERT INTO ended (log, id, version, position) VALUES ($1, $2, $3, $4) ON CONFLICT (log, id, version) DO NOTHING`,
		c.log, c.id, c.version, c.position)
	return err
}

// end is the position at which something that was checked against a version of
// the configuration ends: open where nothing deleted it since.
func (e endings) end(log, id string, checked uint64) int64 {
	end := open
	for _, d := range e[log][id] {
		if d.version > int64(checked) {
			end = min(end, d.position)
		}
	}
	return end
}
