package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"varve/eventstore/follow"
	"varve/eventstore/state"
)

// StateOptions of an installation's state. The zero value is good.
type StateOptions struct {
	Schema string // "": varve_state
	// Alive is for how long a process is believed to live after it said so last (0:
	// 3 s): what it held is free after that.
	Alive  time.Duration
	Logger *slog.Logger // nil: slog.Default
}

// State is a state.Store of many processes. Each is a member that says every
// Alive/4 that it lives; leases and work are a member's, so one statement renews
// all of them. A member that did not say so in time is dead for good: the process
// loses its leases and becomes another member. The server's clock decides.
type State struct {
	pool   *pgxpool.Pool
	marks  *pgxpool.Pool // for work, which need not be on the disk to be answered
	where  string
	schema string
	alive  time.Duration
	log    *slog.Logger
	leases leases
	stop   context.CancelFunc
	ended  chan struct{}
}

var _ state.Store = (*State)(nil)

// stateSteps make the schema, as steps make a store's.
var stateSteps = []string{`
CREATE TABLE $S.members (
	member bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	until  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE $S.leases (
	name   text COLLATE "C" PRIMARY KEY,
	member bigint NOT NULL
);
CREATE TABLE $S.places (
	consumer text COLLATE "C" NOT NULL,
	shard    bigint NOT NULL,
	place    text NOT NULL, -- follow.Checkpoint as JSON: what Save compares
	state    text NOT NULL, -- follow.State as JSON
	PRIMARY KEY (consumer, shard)
) WITH (fillfactor = 50);
CREATE TABLE $S.secrets (
	name  text COLLATE "C" PRIMARY KEY,
	bytes bytea NOT NULL
);
CREATE TABLE $S.work (
	work   text COLLATE "C" NOT NULL,
	item   text COLLATE "C" NOT NULL,
	member bigint NOT NULL,
	done   boolean NOT NULL,
	PRIMARY KEY (work, item)
);
`, `
ALTER TABLE $S.leases ADD COLUMN claim bigint NOT NULL DEFAULT 0;
`}

// OpenState opens the state that lies in a database, and makes its tables where
// there are none. Errors are one line each and never have the password in them.
func OpenState(ctx context.Context, dsn string, opts StateOptions) (*State, error) {
	if opts.Schema == "" {
		opts.Schema = defaultSchema + "_state"
	}
	opts.Alive = orElse(opts.Alive, 3*time.Second)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	e, err := newEngine(dsn, Options{Schema: opts.Schema}, stateSteps)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	s := &State{where: e.where(), schema: opts.Schema, alive: opts.Alive, log: opts.Logger, ended: make(chan struct{})}
	fail := func(err error) (*State, error) { return nil, fmt.Errorf("open state %s: %w", s.where, explain(err)) }
	if err := e.setUp(ctx); err != nil {
		return fail(err)
	}
	if s.pool, err = e.pool(ctx, 4); err != nil {
		return fail(err)
	}
	session := e.config.AfterConnect
	e.config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		if err := session(ctx, c); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "SET synchronous_commit = off")
		return err
	}
	if s.marks, err = e.pool(ctx, 4); err != nil {
		s.pool.Close()
		return fail(err)
	}
	s.leases.init()
	if err := s.join(ctx); err != nil {
		s.pool.Close()
		s.marks.Close()
		return fail(err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.beat(run)
	return s, nil
}

func (s *State) in(text string) string { return strings.ReplaceAll(text, "$S", s.schema) }

// exec runs one statement; err names what it was for.
func (s *State) exec(ctx context.Context, what, text string, args ...any) (int64, error) {
	tag, err := s.pool.Exec(ctx, s.in(text), args...)
	if err != nil {
		return 0, s.fault(what, err)
	}
	return tag.RowsAffected(), nil
}

func (s *State) fault(what string, err error) error {
	return fmt.Errorf("%s in %s: %w", what, s.where, explain(err))
}

// Load reads a place.
func (s *State) Load(ctx context.Context, consumer string, shard int) (follow.State, error) {
	var text string
	var kept follow.State
	err := s.pool.QueryRow(ctx, s.in(`SELECT state FROM $S.places WHERE consumer = $1 AND shard = $2`), consumer, shard).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &kept)
	}
	if err != nil {
		return follow.State{}, s.fault("read the place of "+consumer, err)
	}
	return kept, nil
}

// Save moves a place with one statement that compares it.
func (s *State) Save(ctx context.Context, consumer string, shard int, from follow.Checkpoint, next follow.State) error {
	was, place, text, err := placeTexts(from, next)
	if err != nil {
		return err
	}
	statement := `UPDATE $S.places SET place = $3, state = $4 WHERE consumer = $1 AND shard = $2 AND place = $5`
	if from == (follow.Checkpoint{}) {
		statement = `INSERT INTO $S.places (consumer, shard, place, state) VALUES ($1, $2, $3, $4)
			ON CONFLICT (consumer, shard) DO UPDATE SET place = excluded.place, state = excluded.state WHERE $S.places.place = $5`
	}
	n, err := s.exec(ctx, "keep the place of "+consumer, statement, consumer, shard, place, text, was)
	if err == nil && n == 0 {
		return follow.ErrMoved
	}
	return err
}

func placeTexts(from follow.Checkpoint, next follow.State) (was, place, text string, err error) {
	var out [3][]byte
	for i, v := range []any{from, next.Checkpoint, next} {
		if out[i], err = json.Marshal(v); err != nil {
			return "", "", "", fmt.Errorf("encode place: %w", err)
		}
	}
	return string(out[0]), string(out[1]), string(out[2]), nil
}

// Secret makes a secret, unless another process was first.
func (s *State) Secret(ctx context.Context, name string) ([]byte, error) {
	var b [32]byte
	rand.Read(b[:])
	if _, err := s.exec(ctx, "keep secret "+name, `INSERT INTO $S.secrets (name, bytes) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, b[:]); err != nil {
		return nil, err
	}
	var kept []byte
	if err := s.pool.QueryRow(ctx, s.in(`SELECT bytes FROM $S.secrets WHERE name = $1`), name).Scan(&kept); err != nil {
		return nil, s.fault("read secret "+name, err)
	}
	if len(kept) != len(b) {
		return nil, fmt.Errorf("secret %s in %s has %d bytes, not %d: restore it from a backup", name, s.where, len(kept), len(b))
	}
	return kept, nil
}

// Export reads secrets and places in one snapshot.
func (s *State) Export(ctx context.Context) (state.Moved, error) {
	m := state.Moved{Secrets: map[string][]byte{}, Places: map[string]map[int]follow.State{}}
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.in(`SELECT name, bytes FROM $S.secrets`))
		if err != nil {
			return err
		}
		var name string
		var bytes []byte
		if _, err := pgx.ForEachRow(rows, []any{&name, &bytes}, func() error { m.Secrets[name] = append([]byte{}, bytes...); return nil }); err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, s.in(`SELECT consumer, shard, state FROM $S.places`)); err != nil {
			return err
		}
		var text string
		var shard int
		_, err = pgx.ForEachRow(rows, []any{&name, &shard, &text}, func() error {
			var kept follow.State
			if err := json.Unmarshal([]byte(text), &kept); err != nil {
				return err
			}
			if m.Places[name] == nil {
				m.Places[name] = map[int]follow.State{}
			}
			m.Places[name][shard] = kept
			return nil
		})
		return err
	})
	if err != nil {
		return state.Moved{}, s.fault("read state", err)
	}
	return m, nil
}

// Import writes secrets and places in one transaction.
func (s *State) Import(ctx context.Context, m state.Moved) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for name, b := range m.Secrets {
			if _, err := tx.Exec(ctx, s.in(`INSERT INTO $S.secrets (name, bytes) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes`), name, b); err != nil {
				return err
			}
		}
		for consumer, shards := range m.Places {
			for shard, next := range shards {
				_, place, text, err := placeTexts(follow.Checkpoint{}, next)
				if err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, s.in(`INSERT INTO $S.places (consumer, shard, place, state) VALUES ($1, $2, $3, $4)
					ON CONFLICT (consumer, shard) DO UPDATE SET place = excluded.place, state = excluded.state`), consumer, shard, place, text); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return s.fault("write state", err)
	}
	return nil
}

// Close lets go of everything that this process holds.
func (s *State) Close() error {
	s.stop()
	<-s.ended
	ctx, cancel := context.WithTimeout(context.Background(), s.alive)
	defer cancel()
	err := s.leave(ctx)
	s.pool.Close()
	s.marks.Close()
	return err
}

// leases is what beat, Acquire and release share.
type leases struct {
	mu      sync.Mutex
	member  int64
	held    map[string]context.CancelFunc
	waiting map[string][]chan grant
	doubt   map[claim]time.Time // rows that may be there, since when, though nobody here holds them
	kick    chan struct{}       // somebody waits for a name
}

// claim is one statement's row for a lease: what another statement wrote is not it.
type claim struct {
	name   string
	number int64
}

// grant is a lease that was given.
type grant struct {
	ctx     context.Context
	release func()
}

func (l *leases) init() {
	l.held, l.waiting, l.doubt, l.kick = map[string]context.CancelFunc{}, map[string][]chan grant{}, map[claim]time.Time{}, make(chan struct{}, 1)
}
