package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
)

// PostgreSQL refuses a NUL in a text, which ids decoded from JSON may hold. In its
// texts the bytes 0 and 1 are written as 1 1 and 1 2, which keeps the order; what
// is JSON holds neither. Every connection of the read models does so, both ways.

var (
	escaping   = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")
	unescaping = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01")
)

func escaped(s string) string {
	if strings.IndexByte(s, 0) < 0 && strings.IndexByte(s, 1) < 0 {
		return s
	}
	return escaping.Replace(s)
}

// connector makes connections that escape.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &connection{inner.(*stdlib.Conn)}, nil
}

type connection struct{ *stdlib.Conn }

// ExecContext runs a statement.
func (c *connection) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, text, escapeAll(args))
}

// QueryContext runs a query.
func (c *connection) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, text, escapeAll(args))
	if err != nil {
		return nil, err
	}
	return &unescapedRows{rows}, nil
}

// PrepareContext refuses: pgx prepares what is run, by itself, and what is prepared
// here would not escape.
func (c *connection) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, errors.New("statements are prepared by being run")
}

func escapeAll(args []driver.NamedValue) []driver.NamedValue {
	for i := range args {
		switch v := args[i].Value.(type) {
		case string:
			args[i].Value = escaped(v)
		case []string:
			v = slices.Clone(v) // the caller's may be run with again
			for j := range v {
				v[j] = escaped(v[j])
			}
			args[i].Value = v
		}
	}
	return args
}

type unescapedRows struct{ driver.Rows }

// Next gives a row.
func (r *unescapedRows) Next(dest []driver.Value) error {
	if err := r.Rows.Next(dest); err != nil {
		return err
	}
	for i, v := range dest {
		if s, ok := v.(string); ok && strings.IndexByte(s, 1) >= 0 {
			dest[i] = unescaping.Replace(s)
		}
	}
	return nil
}
