package domain

import "encoding/json"

// Bucket is a place for source objects of one shape.
type Bucket struct {
	BucketID    string          `json:"bucket_id"`
	Name        string          `json:"bucket_name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"bucket_schema,omitempty"` // {"properties": {…}} as in the reference
	UniqueKey   *UniqueKey      `json:"unique_key,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Created     Stamp           `json:"-"`
	Updated     Stamp           `json:"-"`
}

// UniqueKey says which fields identify an object and what a second object with
// the same values does: insert (refused), update (the object must exist) or upsert.
type UniqueKey struct {
	Fields        []string `json:"fields"`
	DefaultPolicy string   `json:"default_policy,omitempty"`
}

// Events about buckets, in the configuration stream.
type (
	// BucketSaved holds a bucket as it is from now on.
	BucketSaved struct{ Bucket }
	// BucketDeleted ends a bucket and, by position, its objects.
	BucketDeleted struct {
		BucketID string `json:"bucket_id"`
	}
)

// EventType is bucket.saved.
func (*BucketSaved) EventType() string { return "bucket.saved" }

// EventType is bucket.deleted.
func (*BucketDeleted) EventType() string { return "bucket.deleted" }

var (
	_ = register[BucketSaved]()
	_ = register[BucketDeleted]()
)
