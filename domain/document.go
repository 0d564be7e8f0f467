package domain

import "encoding/json"

// Document is what an extractor made of a source, or what a client wrote.
type Document struct {
	DocumentID    string                     `json:"document_id"`
	CollectionID  string                     `json:"collection_id"`
	ConfigVersion uint64                     `json:"config_version"`
	Payload       map[string]json.RawMessage `json:"payload"` // user fields at the root, numbers as written
	Metadata      json.RawMessage            `json:"metadata,omitempty"`
	Features      []FeatureRef               `json:"features,omitempty"` // bytes in attachments named by URI
	Lineage       Lineage                    `json:"lineage"`
	Extractor     string                     `json:"extractor,omitempty"` // name@version
	BatchID       string                     `json:"batch_id,omitempty"`
	ContentHash   string                     `json:"content_hash,omitempty"`
}

// Lineage says what a document was made of.
type Lineage struct {
	SourceType         string   `json:"source_type"` // bucket, collection, direct_upsert
	RootObjectID       string   `json:"root_object_id,omitempty"`
	RootBucketID       string   `json:"root_bucket_id,omitempty"`
	RootVersion        uint64   `json:"root_object_version,omitempty"` // version of the object's stream that was read
	SourceObjectID     string   `json:"source_object_id,omitempty"`
	SourceDocumentID   string   `json:"source_document_id,omitempty"`
	SourceCollectionID string   `json:"source_collection_id,omitempty"`
	Ordinal            int      `json:"ordinal"`
	Path               string   `json:"path,omitempty"`  // bkt_x/col_a/col_b
	Chain              []string `json:"chain,omitempty"` // document ids from the root down, without this one
}

// Events of a document's stream.
type (
	// DocumentWritten holds the document whole, as it is from now on. Features
	// that a change leaves alone are attached again, so that the record is whole.
	DocumentWritten struct{ Document }
	// DocumentDeleted ends it.
	DocumentDeleted struct {
		DocumentID   string `json:"document_id"`
		CollectionID string `json:"collection_id"`
		Reason       string `json:"reason,omitempty"`
		BatchID      string `json:"batch_id,omitempty"`
	}
)

// EventType is document.written.
func (*DocumentWritten) EventType() string { return "document.written" }

// EventType is document.deleted.
func (*DocumentDeleted) EventType() string { return "document.deleted" }

var (
	_ = register[DocumentWritten]()
	_ = register[DocumentDeleted]()
)

// DocumentState is the fold of a document's stream.
type DocumentState struct {
	Document
	Version uint64
	Exists  bool
	Created Stamp
	Updated Stamp
}

// Apply gives the document after one more event.
func (d DocumentState) Apply(e EventData, at Stamp) DocumentState {
	d.Version, d.Updated = at.Version, at
	switch e := e.(type) {
	case *DocumentWritten:
		if !d.Exists {
			d.Created = at
		}
		d.Document, d.Exists = e.Document, true
	case *DocumentDeleted:
		d.Exists = false
	}
	return d
}
