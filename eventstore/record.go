package eventstore

import (
	"encoding/json"
	"time"
)

// LogID is the internal id of a log: one per organization, one per namespace.
// Case matters. It is never shown to a client and never stands in event data.
type LogID string

// ID identifies a record for good: a UUIDv7, so ids order by time.
type ID [16]byte

// Hash is a SHA-256.
type Hash [32]byte

// Metadata says who caused a record and in which connection. It is hashed with
// the record and is kept when the record's data are erased.
type Metadata struct {
	Actor       string `json:"actor,omitempty"`       // user, principal or process: "usr_x", "system:batch"
	Key         string `json:"key,omitempty"`         // API key id, never the key
	Correlation string `json:"correlation,omitempty"` // request id
	Causation   string `json:"causation,omitempty"`   // id of the record that led to this one
	TraceParent string `json:"trace_parent,omitempty"`
	Origin      string `json:"origin,omitempty"` // "http", "cli", "batch", …
	Reason      string `json:"reason,omitempty"` // X-Change-Reason
}

// Record is one committed event.
type Record struct {
	ID       ID
	Log      LogID  // the log that was read: on a branch, the branch, also for records of its prefix
	Position uint64 // in the log: 1, 2, 3, … without gaps, in commit order
	Shard    int
	Feed     uint64 // in the shard: 1, 2, 3, … without gaps, in commit order
	Stream   string
	Version  uint64 // in the stream: 1, 2, 3, …
	Type     string // "noun.past_participle"
	Schema   int    // version of the type's data, from 1
	Data     json.RawMessage
	Meta     Metadata
	// Attachments carry what is not JSON, in the order they were given.
	// Nil where there are none, and when the record was erased.
	Attachments []Attachment
	Time        time.Time // UTC, microseconds; never before the time of the record before it in the log
	Salt        [16]byte  // of the digest of data and attachments; zero when erased
	Digest      Hash      // SHA-256(salt ‖ length-prefixed data ‖ digests of attachments); kept when erased
	Hash        Hash      // chain: see ChainHash
	Erased      bool      // data, attachments and salt were deleted; everything else stays
}

// Attachment is a named piece of binary data beside an event's JSON: first of
// all vectors. Names are unique in one event.
type Attachment struct {
	Name  string // for features: the feature URI
	Bytes []byte
}
