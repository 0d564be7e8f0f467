package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse reads a DSN as Open does, for whoever keeps other tables in the same
// database. What it says of a wrong one is one line without the password.
func Parse(dsn string) (*pgxpool.Config, error) { return parse(dsn) }

// Explain puts the commonest troubles of a server or the way to it into one line
// that says what would be right; the error itself stays inside.
func Explain(err error) error { return explain(err) }

// SetUp runs fn in a transaction of a connection of its own. Servers that are too
// old and databases that are not UTF-8 are refused before.
func SetUp(ctx context.Context, config *pgx.ConnConfig, fn func(pgx.Tx) error) (err error) {
	c, err := pgx.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	if err := checkServer(c.PgConn().ParameterStatus("server_version"), c.PgConn().ParameterStatus("server_encoding")); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "SET client_encoding = 'UTF8'"); err != nil {
		return explain(err)
	}
	return explain(pgx.BeginFunc(ctx, c, fn))
}

// MakeSchema makes a schema, unless an administrator made it for a user who may not.
func MakeSchema(ctx context.Context, tx pgx.Tx, schema string) error {
	var made bool
	if err := tx.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&made); err != nil || made {
		return err
	}
	_, err := tx.Exec(ctx, "CREATE SCHEMA "+schema)
	return err
}

// PrepareSession sets what the statements of stores and read models rest on, how
// long they may take, and more, which begins with SET or SELECT. Plans are generic
// and every query has an index made for it, so the planner may not be talked out
// of it by tables that were empty when it looked.
func PrepareSession(ctx context.Context, c *pgx.Conn, lock, statement, idle time.Duration, more string) error {
	_, err := c.PgConn().Exec(ctx, fmt.Sprintf(`SET client_encoding = 'UTF8';
		SET plan_cache_mode = force_generic_plan;
		SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
		SET jit = off; SET max_parallel_workers_per_gather = 0;
		SET default_transaction_isolation = 'read committed';
		SET lock_timeout = %d; SET statement_timeout = %d; SET idle_in_transaction_session_timeout = %d;
		%s`, lock.Milliseconds(), statement.Milliseconds(), idle.Milliseconds(), more)).ReadAll()
	return err
}

// Listen makes a connection that hears the notifications of a channel.
func Listen(ctx context.Context, config *pgx.ConnConfig, channel string) (*pgx.Conn, error) {
	config = config.Copy()
	config.OnNotification = nil
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec(ctx, `LISTEN "`+channel+`"`); err != nil {
		_ = c.Close(ctx) // the first error says more
		return nil, err
	}
	return c, nil
}

// echoWithin is how long a notification may take that this process sends itself.
const echoWithin = time.Second

// Hears says whether notifications arrive at a connection of Listen: one is sent,
// by a statement that run executes on another connection, and waited for.
func Hears(ctx context.Context, c *pgx.Conn, channel string, run func(ctx context.Context, statement string, args ...any) error) bool {
	ctx, stop := context.WithTimeout(ctx, echoWithin)
	defer stop()
	payload := "echo " + rand.Text()
	if run(ctx, "SELECT pg_notify($1, $2)", channel, payload) != nil {
		return false
	}
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return false
		}
		if n.Payload == payload {
			return true
		}
	}
}
