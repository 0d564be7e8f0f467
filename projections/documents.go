package projections

import (
	"context"
	"time"

	"varve/domain"
	"varve/eventstore"
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

// DocumentQuery selects, orders and pages documents.
type DocumentQuery struct {
	Collections []string       // ids; none: all
	Filter      *domain.Filter // nil: all
	Search      string         // words that some text of the document must hold, each; case is folded
	Sort        []Sort         // then by document id
	After       string         // cursor of the page before
	Offset      int
	Limit       int  // 0 means 100
	Total       bool // count all that match
}

// ValueCount is a value and how many documents have it.
type ValueCount struct {
	Value any // as domain.DecodeValue gives it
	Count int
}

// Documents is the read model of documents: every version with the positions
// between which it holds, and what each was made of.
type Documents struct{}

// NewDocuments makes the projection.
func NewDocuments() *Documents { return &Documents{} }

// Document finds one document; domain.NotFound where it does not exist at the position.
func (d *Documents) Document(ctx context.Context, at At, id string) (DocumentRow, error) {
	return DocumentRow{}, errNotYet
}

// Documents finds documents in the order given; ids that do not exist are left out.
func (d *Documents) Documents(ctx context.Context, at At, ids []string) ([]DocumentRow, error) {
	return nil, errNotYet
}

// List pages through documents.
func (d *Documents) List(ctx context.Context, at At, q DocumentQuery) (Page[DocumentRow], error) {
	return Page[DocumentRow]{}, errNotYet
}

// Count counts what a query selects; its order and paging are ignored.
func (d *Documents) Count(ctx context.Context, at At, q DocumentQuery) (int, error) {
	return 0, errNotYet
}

// Distinct counts the values of a field over what a query selects, the most
// frequent first, at most limit (0: all); total is how many distinct values there are.
func (d *Documents) Distinct(ctx context.Context, at At, q DocumentQuery, field string, limit int) (values []ValueCount, total int, err error) {
	return nil, 0, errNotYet
}

// Children lists documents that were made of a document directly, by collection
// and ordinal, at most limit (0: all).
func (d *Documents) Children(ctx context.Context, at At, documentID string, limit int) ([]DocumentRow, error) {
	return nil, errNotYet
}

// Ancestors gives the documents that a document was made of, the root's first,
// without itself. Those that do not exist any more are left out.
func (d *Documents) Ancestors(ctx context.Context, at At, documentID string) ([]DocumentRow, error) {
	return nil, errNotYet
}

// ByObject lists the documents that were made of an object, directly or through
// other documents, in the given collections (none: all), by collection and ordinal.
func (d *Documents) ByObject(ctx context.Context, at At, objectID string, collections []string) ([]DocumentRow, error) {
	return nil, errNotYet
}

// History lists all versions of a document, oldest first.
func (d *Documents) History(ctx context.Context, log eventstore.LogID, documentID string) ([]DocumentRow, error) {
	return nil, errNotYet
}
