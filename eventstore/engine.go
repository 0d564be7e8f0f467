package eventstore

import (
	"context"
	"math"
	"time"
)

// Engine keeps the bytes of a store: rows, and no rules. The committer above it
// gives out positions, checks versions and computes the chain. Memory, SQLite
// and PostgreSQL implement it; nobody else should call it.
//
// A shard's head carries a token that every commit raises by one. What the
// committer remembers of a shard holds as long as the token does: Commit writes
// all or nothing, and only if the token still is Commit.Old.Token.
type Engine interface {
	// Shards is the number of shards, fixed when the store was created.
	Shards() int
	// Head is the shard's head as last committed.
	Head(ctx context.Context, shard int) (Head, error)
	// Logs describes logs by name, in the order asked; Key 0 where one does not exist.
	Logs(ctx context.Context, names []LogID) ([]LogInfo, error)
	// LogNames lists the shard's logs in the order in which they were made.
	LogNames(ctx context.Context, shard int) ([]LogID, error)
	// Streams finds streams as of their logs' ranges, in the order asked.
	Streams(ctx context.Context, wants []StreamWant) ([]StreamInfo, error)
	// Scope finds an idempotency row, however old; ok is false where there is none.
	Scope(ctx context.Context, name string) (s Scope, ok bool, err error)
	// Scopes lists a shard's idempotency rows with name > after, by name, at most limit.
	Scopes(ctx context.Context, shard int, after string, limit int) ([]Scope, error)
	// Record gives the record at a position of the log with the given key itself
	// (not of its ancestors); ok is false where there is none.
	Record(ctx context.Context, log int64, position uint64) (r Row, ok bool, err error)
	// Changes tells what was committed to the shard since a head, in one
	// snapshot. complete is false where that is more than limit rows or not known
	// any more: then the committer forgets all it remembers. c.Head is always set.
	Changes(ctx context.Context, shard int, since Head, limit int) (c Changes, complete bool, err error)
	// Commit writes everything durably, or nothing. Errors: ErrMoved, ErrStale,
	// ErrUnknownOutcome (wrapped: it may have been written), anything else means
	// that nothing was written.
	Commit(ctx context.Context, c *Commit) error

	// ReadLog, ReadStream and ReadFeed give one page, oldest first: at most limit
	// rows, and fewer where rows are big. more is false where the page certainly
	// is the last. Rows belong to the caller. ReadLog takes rows at positions >
	// after of all pieces of a log, each up to its end.
	ReadLog(ctx context.Context, pieces []Piece, after uint64, limit int) (rows []Row, more bool, err error)
	// ReadStream takes rows with version > after, likewise.
	ReadStream(ctx context.Context, pieces []Piece, stream string, after uint64, limit int) (rows []Row, more bool, err error)
	// ReadFeed answers *TruncatedError when after+1 was cut.
	ReadFeed(ctx context.Context, shard int, after uint64, limit int) (rows []Row, more bool, err error)
	// Blob gives the bytes that a Commit wrote under a reference.
	Blob(ctx context.Context, ref string) ([]byte, error)

	// Erase deletes data, salt and attachments of the rows, replaces attachments
	// of others, writes and deletes blobs, all in one transaction. The deleted
	// bytes are gone from the engine's files when it returns. An erasure without
	// rows finishes what an earlier one could not.
	Erase(ctx context.Context, e *Erasure) error
	// Truncate deletes the shard's rows up to a feed position and remembers the
	// first that is left. Logs and streams go on counting from where they were.
	Truncate(ctx context.Context, shard int, upTo uint64) error
	// Close lets go of everything; nothing is being called any more.
	Close() error
}

// Watched is an engine that hears of commits of other processes.
type Watched interface {
	// Watch calls fn, from any goroutine, after a commit became visible,
	// including this process's own. It may call it late or too often.
	Watch(fn func(shard int, feed uint64))
}

// Locker is an engine with several writing processes, for which a lost race
// costs a round trip. After one, and until some commits met no contest, the
// committer takes the lock first, so that races are waited for instead of lost.
type Locker interface {
	// Lock locks the shard's head for this committer and tells what changed, as
	// Changes does. The next Commit of the shard, which says Held, ends the lock,
	// whatever its outcome, or else Release does.
	Lock(ctx context.Context, shard int, since Head, limit int) (c Changes, complete bool, err error)
	Release(ctx context.Context, shard int) error
}

// Head is the newest state of a shard.
type Head struct {
	Token   uint64 // raised by every commit, also by one without records
	Feed    uint64
	First   uint64 // the first feed position that is still there (1 if nothing was cut)
	Logs    int64  // raised for every log that is made, which has it in its key, or closed
	Streams int64  // keys of streams given out so far
}

// LogInfo is a log as an engine knows it.
type LogInfo struct {
	Key  int64 // 0: does not exist
	Name LogID
	LogHead
	Pieces []Piece // the same as Ranges, with keys
}

// Piece is a range of a log under its key.
type Piece struct {
	Key  int64
	UpTo uint64
}

// StreamWant asks for a stream as a log with these pieces sees it.
type StreamWant struct {
	Pieces []Piece
	Name   string
}

// StreamInfo is the newest state of a stream.
type StreamInfo struct {
	Key     int64 // in the last piece's log itself; 0 where only ancestors have it, or nobody
	Version uint64
}

// Row is a record as an engine keeps it.
type Row struct {
	Record           // without Attachments; Log is where it is stored
	LogKey    int64  // for the engine itself
	StreamKey int64  // set in Changes
	Packed    []byte // attachments, in or beside the row; nil where there are none
}

// NewRow is a row that a commit writes. The record is its caller's.
type NewRow struct {
	*Record
	LogKey    int64
	StreamKey int64
	MetaBytes []byte // AppendMetadata(Meta)
	Packed    []byte
}

// Commit is one group of appends of a shard.
type Commit struct {
	Shard       int
	Held        bool      // under Locker.Lock
	Old, New    Head      // First of New is to be written only where it differs from that of Old
	Logs        []LogInfo // made now; Position, Hash and Time are those of the fork
	Closed      []int64   // keys of logs closed now
	Streams     []NewStream
	Rows        []*NewRow
	Blobs       []Blob
	Scopes      []Scope
	DropScopes  []string  // expired, replaced now
	ScopesUntil time.Time // idempotency rows before this time may be deleted, some thousands at once; zero: none
}

// NewStream is a stream that gets its first record in a log.
type NewStream struct {
	Key, LogKey int64
	Name        string
	Base        uint64 // version before the first own record: the ancestors'
}

// Blob is bytes beside the rows.
type Blob struct {
	Ref   string
	Bytes []byte
}

// Scope is an idempotency row: which records an append gave.
type Scope struct {
	Name   string
	Shard  int
	Digest Hash
	First  uint64 // feed position of the first record
	Count  int
	Time   time.Time
}

// Changes is what happened on a shard since a head.
type Changes struct {
	Head Head
	Logs []LogInfo // made or closed
	Rows []Row     // with StreamKey; data may be missing
}

// Erasure is what Erase does at once.
type Erasure struct {
	Rows    []RowKey
	Repack  map[RowKey][]byte // new Packed of rows that stay
	Put     []Blob
	Deleted []string // blobs
}

// RowKey names a row by its place in the feed.
type RowKey struct {
	Shard int
	Feed  uint64
}

// What an engine's Commit answers besides success.
const (
	// ErrMoved says that another process committed to the shard since Commit.Old.
	ErrMoved = storeError("another process moved the head of the shard")
	// ErrStale says that a name that was thought new exists: load and try again.
	ErrStale = storeError("a log, stream or idempotency key exists already")
)

// own is the last range of every log.
const own = uint64(math.MaxUint64)
