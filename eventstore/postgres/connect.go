package postgres

import "github.com/jackc/pgx/v5/pgxpool"

// Parse reads a DSN as Open does, for whoever keeps other tables in the same
// database. What it says of a wrong one is one line without the password.
func Parse(dsn string) (*pgxpool.Config, error) { return parse(dsn) }

// Explain puts the commonest troubles of a server or the way to it into one line
// that says what would be right; the error itself stays inside.
func Explain(err error) error { return explain(err) }

// CheckServer refuses servers that are too old and databases that are not UTF-8.
func CheckServer(version, encoding string) error { return checkServer(version, encoding) }
