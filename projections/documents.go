package projections

import (
	"time"

	"varve/domain"
)

// DocumentRow is one version of a document.
type DocumentRow struct {
	domain.Document
	Created  time.Time // of the document: survives updates
	Updated  time.Time // of this version
	Position uint64    // from which this version holds
	Ended    uint64    // position at which it ended; 0 while it holds
	Version  uint64    // of the document's stream
}

// Documents is the read model of documents: every version with the positions
// between which it holds, and what each was made of.
//
// A document whose configuration version is older than the deletion of its
// collection is void: it ends at the deletion, and is not there at all where it
// was written after it. An erased version ends the one before and shows nothing.
type Documents struct{ reader }

// NewDocuments makes the projection.
func NewDocuments() *Documents { return &Documents{} }

// Name is documents.
func (*Documents) Name() string { return "documents" }

// Version of tables and fold.
func (*Documents) Version() int { return 2 }

// Schema makes the tables. A row holds at positions from valid_from up to, not
// including, valid_to. root_object_id and source_document_id are the edges of
// lineage, valid as long as their row. Indexes begin with what tells rows apart:
// log first, the same in all of a namespace's, costs a fifth of the time to make them.
func (*Documents) Schema() []string {
	return append(documentHistory.schema(`root_object_id TEXT NOT NULL, source_document_id TEXT NOT NULL, ordinal BIGINT NOT NULL`),
		`CREATE UNIQUE INDEX IF NOT EXISTS documents_key ON documents (document_id, log, valid_from)`,
		`CREATE INDEX IF NOT EXISTS documents_collection ON documents (log, collection_id, valid_from, valid_to)`,
		`CREATE INDEX IF NOT EXISTS documents_object ON documents (root_object_id, log) WHERE root_object_id <> ''`,
		`CREATE INDEX IF NOT EXISTS documents_source ON documents (source_document_id, log) WHERE source_document_id <> ''`,
	)
}

// Handles are the events of documents, and the deletions of collections.
func (*Documents) Handles() []string {
	return []string{"document.written", "document.deleted", "collection.deleted"}
}
