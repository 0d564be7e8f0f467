package domain

import (
	"encoding/json"
	"slices"
)

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

// SaveBucket decides a bucket's creation or change. A name in use by another
// bucket is a conflict; a schema must be readable; a change that breaks objects
// already written is refused unless forced.
func (c Config) SaveBucket(b Bucket, force bool) (*BucketSaved, error) {
	if err := CheckName("bucket_name", b.Name, 1, 100); err != nil {
		return nil, err
	}
	if other, ok := c.Bucket(b.Name); ok && other.BucketID != b.BucketID {
		return nil, &Error{Code: CodeConflict, Reason: "bucket_name_taken", Message: "a bucket named " + b.Name + " exists in this namespace"}
	}
	var schema *BucketSchema
	if b.Schema != nil {
		var err error
		if schema, err = ParseBucketSchema("bucket_schema", b.Schema); err != nil {
			return nil, err
		}
	}
	if b.UniqueKey != nil {
		if len(b.UniqueKey.Fields) == 0 {
			return nil, Invalid("unique_key.fields", "length", "name at least one field")
		}
		for i, f := range b.UniqueKey.Fields {
			if !schema.Has(f) {
				return nil, Invalid(indexed("unique_key.fields", i), "reference", "the schema has no field %q; it has: %s", f, schema.Names())
			}
		}
		if b.UniqueKey.DefaultPolicy == "" {
			b.UniqueKey = &UniqueKey{Fields: b.UniqueKey.Fields, DefaultPolicy: "insert"}
		}
		if err := CheckEnum("unique_key.default_policy", b.UniqueKey.DefaultPolicy, "insert", "update", "upsert"); err != nil {
			return nil, err
		}
	}
	if before, ok := c.Buckets[b.BucketID]; ok && !force && !sameKey(before.UniqueKey, b.UniqueKey) {
		e := Invalid("unique_key.fields", "immutable", "objects already written are known by the fields of the unique key; pass force_schema_break=true to change them all the same")
		e.Reason = "breaking_schema_change"
		return nil, e
	}
	if before, ok := c.Buckets[b.BucketID]; ok && before.Schema != nil && !force {
		old, err := ParseBucketSchema("bucket_schema", before.Schema)
		if err == nil {
			if broken := BreakingChanges(old, schema); len(broken) > 0 {
				return nil, &Error{Code: CodeInvalid, Reason: "breaking_schema_change", Message: "the new schema does not fit objects already written; pass force_schema_break=true to change it all the same", Violations: broken}
			}
		}
	}
	return &BucketSaved{Bucket: b}, nil
}

func sameKey(a, b *UniqueKey) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Fields, b.Fields)
}

// DeleteBucket decides a bucket's deletion; collections that read it stay and
// simply get nothing more from it.
func (c Config) DeleteBucket(identifier string) (*BucketDeleted, error) {
	b, ok := c.Bucket(identifier)
	if !ok {
		return nil, NotFound("bucket", identifier)
	}
	return &BucketDeleted{BucketID: b.BucketID}, nil
}
