package projections

import (
	"context"
	"fmt"
	"strings"
)

// In PostgreSQL a history is loaded into bare tables: without keys, and with the
// ends of rows that were written before in a table of their own, since changing a
// row costs more there than writing two. What was loaded is put together when it
// is finished, which also leaves no dead rows behind.

// loadsBare is a loader whose tables are a history's.
type loadsBare interface {
	loader
	history() *history
}

func (*Documents) history() *history { return documentHistory }

// endsTable is the table of ends, while a history is loaded.
func (h *history) endsTable() string {
	return `CREATE TABLE IF NOT EXISTS ` + h.table + `_ends (row BIGINT NOT NULL, until BIGINT NOT NULL)`
}

// bare is a statement of a history's schema without its key.
func (h *history) bare(statement string) string {
	if m := created.FindStringSubmatch(statement); m != nil && (m[1] == h.table || m[1] == h.table+"_data") {
		return strings.Replace(statement, " PRIMARY KEY", "", 1)
	}
	return statement
}

// ends is how rows are ended while a history is loaded bare.
func (h *history) ends() bulk {
	return bulk{before: `INSERT INTO ` + h.table + `_ends (row, until) VALUES `, width: 2}
}

// stillOpen is the condition of rows that no later one ended, while a history is loaded bare.
func (h *history) stillOpen() string {
	return ` AND NOT EXISTS (SELECT 1 FROM ` + h.table + `_ends WHERE ` + h.table + `_ends.row = ` + h.table + `.row)`
}

// assemble makes a history's tables of what was loaded.
func (t *Tx) assemble(ctx context.Context, p Projection) error {
	h, schema := t.tables.loading, t.tables.path
	columns := h.columns()
	run := func(statements ...string) error {
		for _, statement := range statements {
			if _, err := t.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("put %s together: %w", h.table, err)
			}
		}
		return nil
	}
	if err := run(`ALTER TABLE ` + schema + `.` + h.table + ` RENAME TO ` + h.table + `_loaded`); err != nil {
		return err
	}
	for _, s := range p.Schema() {
		if m := created.FindStringSubmatch(s); m != nil && m[1] == h.table {
			if err := t.make(ctx, p, []string{h.bare(s)}); err != nil {
				return err
			}
		}
	}
	return run(
		`INSERT INTO `+h.table+` (`+columns+`) SELECT `+strings.Replace("l."+strings.ReplaceAll(columns, ", ", ", l."), "l.valid_to", "coalesce(e.until, l.valid_to)", 1)+
			` FROM `+schema+`.`+h.table+`_loaded l LEFT JOIN (SELECT row, min(until) AS until FROM `+h.table+`_ends GROUP BY row) e ON e.row = l.row`,
		`DROP TABLE `+schema+`.`+h.table+`_loaded, `+schema+`.`+h.table+`_ends`,
		`ALTER TABLE `+schema+`.`+h.table+` ADD PRIMARY KEY (row)`,
		`ALTER TABLE `+schema+`.`+h.table+`_data ADD PRIMARY KEY (row)`,
	)
}
