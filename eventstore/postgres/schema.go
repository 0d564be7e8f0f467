package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// steps make the schema; the number of steps taken stands in its table store.
// A step that was released never changes: what comes later is a further one.
// $S stands for the schema.
//
// Logs and streams have integer keys; the key of an event is shard<<40 | feed, so
// its primary key is in feed order. No table repeats what the events say: the
// version of a stream, and position, hash and time of a log, are those of the
// newest event, or the base where there is none (a fork, or after a truncation).
var steps = []string{`
CREATE TABLE $S.heads (
	shard   bigint PRIMARY KEY,
	token   bigint NOT NULL,
	feed    bigint NOT NULL,
	first   bigint NOT NULL,
	logs    bigint NOT NULL,
	streams bigint NOT NULL,
	writer  bigint NOT NULL -- the process that moved the head last
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE TABLE $S.logs (
	log           bigint PRIMARY KEY,
	name          text COLLATE "C" NOT NULL UNIQUE,
	shard         bigint  NOT NULL,
	token         bigint  NOT NULL, -- of the commit that made or closed it
	closed        boolean NOT NULL,
	pieces        text    NOT NULL, -- "key:upto key:upto …", the log's own last range left out
	base_position bigint  NOT NULL,
	base          bytea   NOT NULL  -- hash and time, as in a frame
);
CREATE INDEX logs_token ON $S.logs (shard, token);
CREATE TABLE $S.streams (
	stream bigint PRIMARY KEY,
	log    bigint NOT NULL,
	name   text COLLATE "C" NOT NULL,
	base   bigint NOT NULL
);
CREATE UNIQUE INDEX streams_name ON $S.streams (log, name);
CREATE TABLE $S.events (
	key      bigint PRIMARY KEY,
	log      bigint NOT NULL,
	position bigint NOT NULL,
	stream   bigint NOT NULL,
	version  bigint NOT NULL,
	type     text   NOT NULL,
	frame    bytea  NOT NULL, -- see eventstore/frame.go
	data     text,            -- JSON as given; NULL when erased
	packed   bytea            -- attachments, or where they lie
);
CREATE UNIQUE INDEX events_position ON $S.events (log, position);
CREATE UNIQUE INDEX events_version ON $S.events (stream, version);
CREATE TABLE $S.scopes (
	id     bytea PRIMARY KEY, -- SHA-256 of the name, which may be too long for an index
	name   text COLLATE "C" NOT NULL,
	shard  bigint NOT NULL,
	digest bytea  NOT NULL,
	first  bigint NOT NULL,
	count  bigint NOT NULL,
	time   bigint NOT NULL
);
CREATE INDEX scopes_time ON $S.scopes (time);
CREATE INDEX scopes_name ON $S.scopes (shard, left(name, 128));
CREATE TABLE $S.blobs (
	ref   text COLLATE "C" PRIMARY KEY,
	bytes bytea NOT NULL
);
ALTER TABLE $S.blobs ALTER bytes SET STORAGE EXTERNAL;
INSERT INTO $S.heads SELECT i, 0, 0, 1, 0, 0, 0 FROM generate_series(0, (SELECT shards FROM $S.store) - 1) AS i;
`}

const (
	maxShards    = 1 << 16
	oldestServer = 14 // the oldest major version that is tested and has what the plans need
)

// shardBits is where the shard begins in the key of an event.
const shardBits = 40

func eventKey(shard int, feed uint64) int64 { return int64(shard)<<shardBits | int64(feed) }

func splitKey(key int64) (shard int, feed uint64) {
	return int(key >> shardBits), uint64(key & (1<<shardBits - 1))
}

// setUp checks the server and brings the schema to this program's step, in a
// connection and a transaction of its own.
func (e *Engine) setUp(ctx context.Context) error {
	if e.opts.Shards < 0 || e.opts.Shards > maxShards {
		return fmt.Errorf("%d shards: at most %d are possible", e.opts.Shards, maxShards)
	}
	return SetUp(ctx, e.config.ConnConfig, func(tx pgx.Tx) error { return e.migrate(ctx, tx) })
}

func checkServer(version, encoding string) error {
	digits := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	if n, err := strconv.Atoi(digits); err != nil || n < oldestServer {
		return fmt.Errorf("the server is PostgreSQL %s: %d or newer is needed", version, oldestServer)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s: it must be UTF8; create it with ENCODING 'UTF8'", encoding)
	}
	return nil
}

// migrate takes the steps that are missing. Of several processes that open an
// empty database one makes the tables, and the others wait for it.
func (e *Engine) migrate(ctx context.Context, tx pgx.Tx) error {
	schema := e.opts.Schema
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "varve "+schema); err != nil {
		return err
	}
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", schema+".store").Scan(&exists); err != nil {
		return err
	}
	taken, shards := 0, max(e.opts.Shards, 1)
	if exists {
		if err := tx.QueryRow(ctx, "SELECT format, shards FROM "+schema+".store").Scan(&taken, &shards); err != nil {
			return err
		}
	}
	switch {
	case taken > len(e.steps):
		return fmt.Errorf("a newer Varve made this store (format %d, this program knows %d): use that one", taken, len(e.steps))
	case e.opts.Shards > 0 && shards != e.opts.Shards:
		return fmt.Errorf("the store was made with %d shards, not %d: the number is fixed", shards, e.opts.Shards)
	}
	e.shards = shards
	if taken == len(e.steps) {
		return nil
	}
	if !exists {
		if err := MakeSchema(ctx, tx, schema); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE "+schema+".store (format bigint NOT NULL, shards bigint NOT NULL)"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+schema+".store VALUES (0, $1)", shards); err != nil {
			return err
		}
	}
	for _, step := range e.steps[taken:] {
		if _, err := tx.Conn().PgConn().Exec(ctx, in(schema, step)).ReadAll(); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "UPDATE "+schema+".store SET format = $1", len(e.steps))
	return err
}
