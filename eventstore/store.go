// Package eventstore keeps append-only logs: records with gapless positions per
// log, a gapless feed per shard, streams with versions, branches, a hash chain,
// and group commit. Engines (memory, sqlite, postgres) hold the bytes; the
// committer in this package gives out positions and computes the chain, so that
// equal logs have equal hashes on every engine.
package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// Event is what a command wants appended; the store makes a Record of it.
type Event struct {
	ID          ID              // zero: the store makes one
	Type        string          // required
	Schema      int             // 0 means 1
	Data        json.RawMessage // valid JSON, kept exactly as given
	Attachments []Attachment
}

// Expect is the version a stream must have for a batch to be appended.
type Expect struct {
	kind    uint8
	version uint64
}

// Any accepts whatever version the stream has.
func Any() Expect { return Expect{} }

// New expects that the stream has no events.
func New() Expect { return Expect{kind: 1} }

// Exactly expects the given version; Exactly(0) is New().
func Exactly(version uint64) Expect { return Expect{kind: 1, version: version} }

// IsAny says whether every version is accepted; otherwise Version must match.
func (e Expect) IsAny() bool { return e.kind == 0 }

// Version is the expected version where IsAny is false.
func (e Expect) Version() uint64 { return e.version }

// Batch is the events for one stream. A batch without events only checks the
// expected version.
type Batch struct {
	Log    LogID
	Stream string
	Expect Expect
	Events []Event
	Meta   Metadata
	// Fork, where set, makes Log continue another log: only in the first append
	// of a log that does not exist yet. A batch with Fork may have no events.
	Fork *Fork
	// Close, where true, makes this append the log's last: later appends to it
	// are refused with ErrClosed.
	Close bool
}

// Fork says of which log, and up to which position inclusive, a new log is the
// continuation. Both must be on the same shard.
type Fork struct {
	From LogID
	UpTo uint64
}

// Idempotency makes an append happen at most once per scope. A second append
// with the same Scope and Digest appends nothing and gives the first one's
// records (Appended.Replayed); another Digest is ErrIdempotency.
type Idempotency struct {
	Scope  string // organization, principal, operation and key, joined unambiguously
	Digest Hash   // of the request
}

// Append is one atomic change of one shard: all batches or none.
type Append struct {
	Shard       int
	Batches     []Batch
	Idempotency *Idempotency
}

// Appended is what an append gave: the records as committed, batch by batch,
// in the order of the batches.
type Appended struct {
	Records  []Record
	Feed     uint64 // feed position of the shard after the append
	Replayed bool   // the records are those of an earlier append under the same idempotency scope
}

// Store is what everyone sees of a store. All methods are safe for concurrent use.
type Store interface {
	// Append commits all batches in one transaction or none, and returns when
	// they are durable. Errors: *ConflictError (names stream, expected and
	// actual version), *OverloadedError (nothing was written; says when to try
	// again), ErrClosed, ErrIdempotency, ErrUnknownOutcome (the commit may have
	// happened; look for the events' ids), the context's error (then nothing was
	// written, unless it is wrapped in ErrUnknownOutcome).
	Append(ctx context.Context, a Append) (Appended, error)
	// ReadStream gives the stream's records with version > after, oldest first.
	// On a branch it includes the prefix. A log or stream that does not exist gives nothing.
	ReadStream(ctx context.Context, log LogID, stream string, after uint64) iter.Seq2[Record, error]
	// Read gives the log's records with position > after, oldest first, at most
	// limit (0: all).
	Read(ctx context.Context, log LogID, after uint64, limit int) iter.Seq2[Record, error]
	// Feed gives the shard's records with feed position > after, oldest first,
	// at most limit (0: all). Records of a branch's prefix are not repeated.
	// Below a truncated prefix: *TruncatedError.
	Feed(ctx context.Context, shard int, after uint64, limit int) iter.Seq2[Record, error]
}

// Follower is what followers of a feed need besides Store.
type Follower interface {
	Store
	// Shards is the number of shards, fixed when the store was created.
	Shards() int
	// Head is the feed position of the shard's newest durable record, 0 when empty.
	Head(ctx context.Context, shard int) (uint64, error)
	// LogHead describes a log; Exists is false for a log that has no append.
	LogHead(ctx context.Context, log LogID) (LogHead, error)
	// Replay gives what an append under this idempotency scope gave; false where
	// there was none in the last 7 days. Another digest is ErrIdempotency.
	Replay(ctx context.Context, shard int, i Idempotency) (Appended, bool, error)
	// Wait returns when the shard's head is beyond after, or with the context's error.
	Wait(ctx context.Context, shard int, after uint64) error
}

// LogHead is the newest state of a log.
type LogHead struct {
	Exists   bool
	Shard    int
	Position uint64
	Feed     uint64 // feed position of the record at Position, where it is the log's own; else 0
	Hash     Hash
	Time     time.Time
	Closed   bool
	Ranges   []Range // flat: first the oldest ancestor's, last the log's own
}

// Range is a piece of a log: positions up to and including UpTo are stored under Log.
type Range struct {
	Log  LogID
	UpTo uint64 // the log's own, last range: math.MaxUint64
}

// Owner is what the owner of a store may do beyond appending.
type Owner interface {
	Follower
	// Erase deletes data, attachments and salt of records of one log (positions
	// as in the log). Rows, digests and hashes stay. Erasing twice changes nothing.
	Erase(ctx context.Context, log LogID, positions ...uint64) error
	// Truncate cuts the shard's feed up to and including a feed position; Feed
	// below answers *TruncatedError. Only for stores of execution records.
	Truncate(ctx context.Context, shard int, upTo uint64) error
	// Import writes records with their positions, times, salts and hashes as
	// given, in feed order from the shard's head on.
	Import(ctx context.Context, records []Record) error
	// Close waits for what is being committed, refuses the rest, and lets go of everything.
	Close() error
}

// ConflictError says that a stream had another version than expected.
type ConflictError struct {
	Log      LogID
	Stream   string
	Expected uint64
	Actual   uint64
}

// Error names stream, expected and actual version.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s is at version %d, not at the expected %d", e.Stream, e.Actual, e.Expected)
}

// OverloadedError says that the queue of appends is full; nothing was written.
type OverloadedError struct{ RetryAfter time.Duration }

// Error says when to try again.
func (e *OverloadedError) Error() string {
	return fmt.Sprintf("too many appends are waiting: try again in %s", e.RetryAfter)
}

// TruncatedError says that a feed's prefix was cut.
type TruncatedError struct {
	Shard int
	First uint64 // the first feed position that is still there
}

// Error names the first position that is left.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("the feed of shard %d begins at %d: what was before was removed by retention", e.Shard, e.First)
}

type storeError string

func (e storeError) Error() string { return string(e) }

// Errors without further facts.
const (
	ErrClosed         = storeError("the log is closed: its namespace was deleted")
	ErrIdempotency    = storeError("the idempotency key was used before with another request")
	ErrUnknownOutcome = storeError("the outcome of the commit is not known")
	ErrLogExists      = storeError("the log exists already: only a log's first append can fork")
	ErrStoreClosed    = storeError("the store is closed")
	// ErrBlobsUnavailable says that the service that keeps attachments outside the
	// store does not answer, or refuses; trying again later helps. Of an append nothing was written.
	ErrBlobsUnavailable = storeError("the blob store is not available")
	// ErrUnavailable says that the server that keeps the log cannot serve at the
	// moment; nothing was written.
	ErrUnavailable = storeError("the store is not available")
	ErrNoSpace     = storeError("the disk is full") // nothing was written; appends succeed again once there is space
)
