package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"varve/eventstore"
)

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

const dsnExample = "postgres://USER:PASSWORD@HOST:5432/DATABASE"

// parse reads a DSN. What the parser says is not repeated where it may quote a
// piece of the password.
func parse(dsn string) (*pgxpool.Config, error) {
	isURL := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
	if !isURL && (!strings.Contains(dsn, "=") || strings.Contains(dsn, "://")) {
		return nil, fmt.Errorf("the DSN is no PostgreSQL address: it must look like %s", dsnExample)
	}
	password := ""
	if isURL {
		u, err := url.Parse(dsn)
		if err != nil {
			return nil, fmt.Errorf("the DSN is no valid URL: it must look like %s, with special characters of the password percent-encoded", dsnExample)
		}
		password, _ = u.User.Password()
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err == nil {
		return config, nil
	}
	var parser *pgconn.ParseConfigError
	reason := ""
	if isURL && errors.As(err, &parser) && parser.Unwrap() != nil {
		if cause := oneLine(parser.Unwrap().Error()); password == "" || !strings.Contains(cause, password) {
			reason = " (" + cause + ")"
		}
	}
	return nil, fmt.Errorf("the DSN has a setting that PostgreSQL does not know or whose value is wrong%s: it must look like %s", reason, dsnExample)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func code(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

const (
	uniqueViolation = "23505"
	diskFull        = "53100"
)

// advice says for PostgreSQL's error codes what would be right.
var advice = map[string]string{
	"28P01":  "the user or the password is wrong",
	"28000":  "the server does not let this user in from here: see its pg_hba.conf",
	"3D000":  "the database does not exist: create it first",
	"42501":  "this user lacks a right on the database: GRANT CREATE ON DATABASE, or let the schema's owner open the store",
	diskFull: "the server's disk is full, nothing was written",
	"53300":  "the server has no connection left: raise max_connections, or use fewer processes",
	"55P03":  "another process holds the head of the shard for too long, nothing was written",
	"57014":  "the statement took too long and was canceled",
	"57P03":  "the server is starting up or shutting down: try again",
	"25006":  "the server is read-only, as a standby is: give the address of the primary",
}

// explained has the server's own error in it, for code, and a line for people.
type explained struct {
	line  string
	cause error
	away  bool // the server, not what was asked of it
}

func (e *explained) Error() string { return e.line }
func (e *explained) Unwrap() error { return e.cause }

// Is makes it one of eventstore.ErrUnavailable where the server is away.
func (e *explained) Is(target error) bool { return e.away && target == eventstore.ErrUnavailable }

// away are the classes and codes of servers that cannot serve at the moment: no
// connection, no resources, an operator's intervention, a lock or a time that ran
// out, a transaction that another one's end rolled back, a standby.
var away = []string{"08", "53", "57", "55P03", "40", "25006"}

func isAway(code string) bool {
	return slices.ContainsFunc(away, func(class string) bool { return strings.HasPrefix(code, class) })
}

// explain puts PostgreSQL's and the network's commonest troubles into one line.
func explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var done *explained
	if errors.As(err, &done) {
		return err
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		line := oneLine(server.Message) + " (SQLSTATE " + server.Code + ")"
		if a := advice[server.Code]; a != "" {
			line = a + ": " + line
		}
		if server.Code == diskFull {
			err = fmt.Errorf("%w: %w", eventstore.ErrNoSpace, err)
		}
		return &explained{line, err, isAway(server.Code)}
	}
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) {
		address := net.JoinHostPort(connecting.Config.Host, fmt.Sprint(connecting.Config.Port))
		return &explained{fmt.Sprintf("no PostgreSQL answers at %s: start it, or correct host and port (%s)", address, rootCause(err)), err, true}
	}
	var network net.Error
	if errors.As(err, &network) && !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) {
		return &explained{"the connection to PostgreSQL was lost (" + rootCause(err) + ")", err, true}
	}
	return err
}

// rootCause is the innermost text, in which no address and no user is repeated.
func rootCause(err error) string {
	var network *net.OpError
	if errors.As(err, &network) && network.Err != nil {
		err = network.Err
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	first, _, _ := strings.Cut(err.Error(), "\n") // the others are the same for further addresses
	return oneLine(first)
}
