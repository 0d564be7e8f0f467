package sqlite

// format is the version of the file's layout; another one is refused.
const format = 1

// schema is the whole layout. Ordinary rowid tables; logs and streams have
// integer keys; the key of an event is shard<<40 | feed, so the table itself is
// in feed order. No table repeats what the events say: the version of a stream,
// and position, hash and time of a log, are those of the newest event, or the
// base where there is none (a fork, or after a truncation).
const schema = `
CREATE TABLE store (
	format INTEGER NOT NULL,
	shards INTEGER NOT NULL
);
CREATE TABLE heads (
	shard   INTEGER PRIMARY KEY,
	token   INTEGER NOT NULL,
	feed    INTEGER NOT NULL,
	first   INTEGER NOT NULL,
	logs    INTEGER NOT NULL,
	streams INTEGER NOT NULL
);
CREATE TABLE logs (
	log           INTEGER PRIMARY KEY,
	name          TEXT    NOT NULL UNIQUE,
	shard         INTEGER NOT NULL,
	token         INTEGER NOT NULL, -- of the commit that made or closed it
	closed        INTEGER NOT NULL DEFAULT 0,
	pieces        TEXT    NOT NULL, -- "key:upto key:upto …", the log's own last range left out
	base_position INTEGER NOT NULL,
	base          BLOB    NOT NULL  -- hash and time, as in a frame
);
CREATE INDEX logs_token ON logs (shard, token);
CREATE TABLE streams (
	stream INTEGER PRIMARY KEY,
	log    INTEGER NOT NULL,
	name   TEXT    NOT NULL,
	base   INTEGER NOT NULL
);
CREATE UNIQUE INDEX streams_name ON streams (log, name);
CREATE TABLE events (
	key      INTEGER PRIMARY KEY,
	log      INTEGER NOT NULL,
	position INTEGER NOT NULL,
	stream   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	type     TEXT    NOT NULL,
	frame    BLOB    NOT NULL, -- see eventstore/frame.go: a column costs more than its bytes
	data     BLOB,             -- JSON as given; NULL when erased
	packed   BLOB              -- attachments, or where they lie
);
CREATE UNIQUE INDEX events_position ON events (log, position);
CREATE UNIQUE INDEX events_version ON events (stream, version);
CREATE TABLE scopes (
	name   TEXT    NOT NULL UNIQUE,
	shard  INTEGER NOT NULL,
	digest BLOB    NOT NULL,
	first  INTEGER NOT NULL,
	count  INTEGER NOT NULL,
	time   INTEGER NOT NULL
);
CREATE TABLE blobs (
	ref   TEXT PRIMARY KEY,
	bytes BLOB NOT NULL
);
`

// shardBits is where the shard begins in the key of an event.
const shardBits = 40

const maxShards = 1 << 16

func eventKey(shard int, feed uint64) int64 { return int64(shard)<<shardBits | int64(feed) }

func splitKey(key int64) (shard int, feed uint64) {
	return int(key >> shardBits), uint64(key & (1<<shardBits - 1))
}
