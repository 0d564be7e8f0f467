package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"varve/eventstore"
)

// endedTable remembers deletions of collections or buckets: a data record that
// was checked against a configuration before one is void, in whichever order the
// two come.
const endedTable = `CREATE TABLE IF NOT EXISTS ended (log BIGINT NOT NULL, id TEXT NOT NULL, version BIGINT NOT NULL, position BIGINT NOT NULL,
	PRIMARY KEY (log, id, version))`

// ending is a deletion: the version of the configuration, and the position.
type ending struct{ version, position int64 }

// logsTable names the logs whose keys stand in the big tables.
const logsTable = `CREATE TABLE IF NOT EXISTS logs (key BIGINT NOT NULL PRIMARY KEY, log TEXT NOT NULL)`

// logKey stands for a log in big tables and their indexes: 64 bits of a hash
// (FNV-1a), which take a third of the space and time of a name. Two logs of one
// key would be mixed up: the second is refused (endings.read).
func logKey(log eventstore.LogID) int64 {
	h := uint64(14695981039346656037)
	for i := range len(log) {
		h = (h ^ uint64(log[i])) * 1099511628211
	}
	return int64(h)
}

// endings are the deletions of the logs that a page touches.
type endings map[int64]map[string][]ending // key of the log → id

// read adds a log's deletions, once, and keeps its key.
func (e endings) read(ctx context.Context, tx *Tx, log int64, name eventstore.LogID) error {
	if _, ok := e[log]; ok {
		return nil
	}
	var known string
	switch err := tx.QueryRowContext(ctx, `SELECT log FROM logs WHERE key = $1`, log).Scan(&known); {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := tx.ExecContext(ctx, `INSERT INTO logs (key, log) VALUES ($1, $2)`, log, string(name)); err != nil {
			return fmt.Errorf("keep key of log %s: %w", name, err)
		}
	case err != nil:
		return fmt.Errorf("read key of log %s: %w", name, err)
	case known != string(name):
		return fmt.Errorf("log %s has the key of log %s", name, known)
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

func (e endings) put(log int64, id string, d ending) {
	if e[log] == nil {
		e[log] = map[string][]ending{}
	}
	e[log][id] = append(e[log][id], d)
}

// endedRows and newLogs write the two tables.
var (
	endedRows = bulk{before: `INSERT INTO ended (log, id, version, position) VALUES `, width: 4, after: ` ON CONFLICT (log, id, version) DO NOTHING`}
	newLogs   = bulk{before: `INSERT INTO logs (key, log) VALUES `, width: 2}
)

// ended is the row of a group's deletion.
func (c *change) ended() []any { return []any{c.log, c.id, c.version, c.position} }

// end is the position at which something that was checked against a version of
// the configuration ends: open where nothing deleted it since.
func (e endings) end(log int64, id string, checked uint64) int64 {
	end := open
	for _, d := range e[log][id] {
		if d.version > int64(checked) {
			end = min(end, d.position)
		}
	}
	return end
}
