package domain

import (
	"encoding/json"
	"slices"
)

// Object is a source object: user fields and blobs. Its stream holds it whole
// at every change, and what was derived from it.
type Object struct {
	ObjectID       string                     `json:"object_id"`
	BucketID       string                     `json:"bucket_id"`
	ConfigVersion  uint64                     `json:"config_version"`
	KeyPrefix      string                     `json:"key_prefix,omitempty"`
	Fields         map[string]json.RawMessage `json:"fields,omitempty"` // user fields, as written
	Metadata       json.RawMessage            `json:"metadata,omitempty"`
	Blobs          []Blob                     `json:"blobs,omitempty"`
	Edges          json.RawMessage            `json:"edges,omitempty"`
	IdempotencyKey string                     `json:"idempotency_key,omitempty"`
}

// Blob is one source of an object. Data that are JSON, text or base64 are
// either inline or in the blob store; a URL is fetched when the object is written.
type Blob struct {
	BlobID    string          `json:"blob_id"`
	Property  string          `json:"property"`
	Type      string          `json:"type"`             // text, json, image, … as in the reference
	Inline    json.RawMessage `json:"inline,omitempty"` // JSON value, up to 64 KiB
	Digest    string          `json:"digest,omitempty"` // "sha256:…" of bytes in the blob store
	Size      int64           `json:"size,omitempty"`   // bytes
	MimeType  string          `json:"mime_type,omitempty"`
	SourceURL string          `json:"source_url,omitempty"` // where it was fetched, without credentials
	Metadata  json.RawMessage `json:"metadata,omitempty"`
}

// Events of an object's stream.
type (
	// ObjectSaved holds the object as it is from now on.
	ObjectSaved struct{ Object }
	// ObjectDeleted ends it.
	ObjectDeleted struct {
		ObjectID string `json:"object_id"`
		BucketID string `json:"bucket_id"`
		Reason   string `json:"reason,omitempty"`
	}
	// ObjectExtracted says that a collection's documents of this version of the
	// object are complete. For a collection that reads another collection, the
	// object is the root object and SourceDocuments tells which documents were read.
	ObjectExtracted struct {
		ObjectID      string   `json:"object_id"`
		BucketID      string   `json:"bucket_id"`
		ObjectVersion uint64   `json:"object_version"` // version of the stream that was read
		BatchID       string   `json:"batch_id"`
		Attempt       int      `json:"attempt"` // of the batch, from 1
		CollectionID  string   `json:"collection_id"`
		ConfigVersion uint64   `json:"config_version"`
		Extractor     string   `json:"extractor"` // name@version
		Documents     []string `json:"documents"` // written, in order
		Removed       []string `json:"removed,omitempty"`
	}
	// ObjectPartExtracted says which documents are there of an extraction that is
	// too large for one append. Until object.extracted follows they may belong to a
	// version of the object that is not the newest any more.
	ObjectPartExtracted struct {
		ObjectID      string   `json:"object_id"`
		BucketID      string   `json:"bucket_id"`
		ObjectVersion uint64   `json:"object_version"`
		BatchID       string   `json:"batch_id"`
		Attempt       int      `json:"attempt"`
		CollectionID  string   `json:"collection_id"`
		Documents     []string `json:"documents"` // written now
	}
	// ObjectFailed says that a collection could not be made from this version.
	ObjectFailed struct {
		ObjectID      string `json:"object_id"`
		BucketID      string `json:"bucket_id"`
		ObjectVersion uint64 `json:"object_version"`
		BatchID       string `json:"batch_id"`
		Attempt       int    `json:"attempt"`
		CollectionID  string `json:"collection_id"`
		ErrorType     string `json:"error_type"` // transient, permanent, resource
		Error         string `json:"error"`
	}
)

// EventType is object.saved.
func (*ObjectSaved) EventType() string { return "object.saved" }

// EventType is object.deleted.
func (*ObjectDeleted) EventType() string { return "object.deleted" }

// EventType is object.extracted.
func (*ObjectExtracted) EventType() string { return "object.extracted" }

// EventType is object.part_extracted.
func (*ObjectPartExtracted) EventType() string { return "object.part_extracted" }

// EventType is object.failed.
func (*ObjectFailed) EventType() string { return "object.failed" }

var (
	_ = register[ObjectSaved]()
	_ = register[ObjectDeleted]()
	_ = register[ObjectExtracted]()
	_ = register[ObjectPartExtracted]()
	_ = register[ObjectFailed]()
)

// ObjectState is the fold of an object's stream. The zero value is an object
// that was never written.
type ObjectState struct {
	Object
	Version      uint64 // of the stream
	SavedVersion uint64 // of the stream, when the object itself last changed
	Exists       bool
	Created      Stamp
	Updated      Stamp
	Extracted    map[string][]string // collection id → documents of the newest extraction
	Parts        map[string][]string // collection id → documents of extractions that were begun since
	Outcomes     map[string]Outcome  // collection id → how the newest attempt ended
}

// Apply gives the object after one more event; it changes its receiver's maps never.
func (o ObjectState) Apply(e EventData, at Stamp) ObjectState {
	o.Version = at.Version
	switch e := e.(type) {
	case *ObjectSaved:
		if !o.Exists {
			o.Created, o.Extracted, o.Parts, o.Outcomes = at, nil, nil, nil
		}
		o.Object, o.Exists, o.SavedVersion, o.Updated = e.Object, true, at.Version, at
	case *ObjectDeleted:
		o.Exists, o.Updated = false, at
	case *ObjectExtracted:
		o.Extracted, o.Parts = with(o.Extracted, e.CollectionID, e.Documents), without(o.Parts, e.CollectionID)
		o.Outcomes = with(o.Outcomes, e.CollectionID, Outcome{e.BatchID, e.Attempt, e.ObjectVersion, false, "", "", len(e.Documents)})
	case *ObjectPartExtracted:
		o.Parts = with(o.Parts, e.CollectionID, slices.Concat(o.Parts[e.CollectionID], e.Documents))
	case *ObjectFailed:
		o.Outcomes = with(o.Outcomes, e.CollectionID, Outcome{e.BatchID, e.Attempt, e.ObjectVersion, true, e.ErrorType, e.Error, 0})
	}
	return o
}

// Derived gives the collections with documents of the object, and these, each once.
func (o ObjectState) Derived() map[string][]string {
	all := o.Extracted
	for collection, ids := range o.Parts {
		list := slices.Concat(all[collection], ids)
		slices.Sort(list)
		all = with(all, collection, slices.Compact(list))
	}
	return all
}

// Declares says whether the bucket's schema has a field.
func (b Bucket) Declares(field string) bool {
	if b.Schema == nil {
		return false
	}
	schema, err := ParseBucketSchema("bucket_schema", b.Schema)
	return err == nil && schema.Has(field)
}

// WithDefaults gives the object with the schema's defaults in the place of top
// level fields that are missing or null; what was written stays as it was written.
func (b Bucket) WithDefaults(o Object) Object {
	schema, err := ParseBucketSchema("bucket_schema", b.Schema)
	if b.Schema == nil || err != nil {
		return o
	}
	given := map[string]any{}
	for name, raw := range o.Fields {
		if string(raw) != "null" {
			given[name] = raw
		}
	}
	for _, blob := range o.Blobs {
		given[blob.Property] = BlobValue
	}
	for name, v := range schema.ApplyDefaults(given) {
		if _, there := given[name]; !there {
			o.Fields = with(o.Fields, name, EncodeValue(v))
		}
	}
	return o
}

// CheckObject says what of an object does not fit the bucket's schema. Blobs
// count as the field that their property names.
func (b Bucket) CheckObject(o Object) error {
	if b.Schema == nil {
		return nil
	}
	schema, err := ParseBucketSchema("bucket_schema", b.Schema)
	if err != nil {
		return err
	}
	fields := make(map[string]any, len(o.Fields))
	for name, raw := range o.Fields {
		v, err := DecodeValue(raw)
		if err != nil {
			return Invalid(name, "value", "%v", err)
		}
		fields[name] = v
	}
	for i, blob := range o.Blobs {
		if !schema.Has(blob.Property) {
			return Invalid(indexed("blobs", i)+".property", "reference", "the bucket's schema has no field %q; it has %s", blob.Property, schema.Names())
		}
		if _, given := fields[blob.Property]; !given {
			fields[blob.Property] = BlobValue
		}
	}
	if violations := schema.Check("", fields); len(violations) > 0 {
		return &Error{Code: CodeInvalid, Message: violations[0].Path + ": " + violations[0].Message, Violations: violations}
	}
	return nil
}

// Outcome is how a collection's last extraction of an object ended.
type Outcome struct {
	BatchID       string
	Attempt       int
	ObjectVersion uint64
	Failed        bool
	ErrorType     string
	Error         string
	Documents     int
}
