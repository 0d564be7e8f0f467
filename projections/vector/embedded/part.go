package embedded

import (
	"math"

	"github.com/RoaringBitmap/roaring/v2"

	"varve/domain"
)

// forever is the end of a row that holds until something ends it.
const forever = math.MaxUint64

// part is a piece of a log's index: a segment, or the head as it was when a view
// was made. Rows are document versions, numbered from 0. All methods are safe
// for concurrent use; what they say of a position that was applied never changes.
type part interface {
	serial() uint64 // names the part in the cache
	rows() int
	id(row uint32) string
	collection(row uint32) string
	span(row uint32) (from, to uint64)
	// fields is what a filter sees of the row. Not to be changed.
	fields(row uint32) map[string]any
	// raw is fields as canonical JSON.
	raw(row uint32) []byte
	// find gives the row of a document that holds at a position.
	find(id string, position uint64) (row uint32, ok bool)
	// valid gives the rows of the collections (nil: all) that hold at a position.
	valid(collections map[string]bool, position uint64) *roaring.Bitmap
	// matching gives all rows for which the condition holds; ok is false where
	// only their fields can tell.
	matching(c *domain.Condition) (rows *roaring.Bitmap, ok bool)
	// after gives the first n of the rows whose ids come after the given one, by id.
	after(rows *roaring.Bitmap, id string, n int) []uint32
	endCollection(id string, position uint64)

	features() (dense, sparse []string) // URIs
	dense(uri string) []denseBlock      // one per dimension
	sparse(uri string) sparseBlock      // nil where no row has the feature
}

// sparseBlock holds one sparse feature of the rows of a part that have it.
type sparseBlock interface {
	// statistics counts the rows that have the feature, and their lengths.
	statistics(rows *roaring.Bitmap) (documents, length uint64)
	// lengths are those of the rows' texts: 0 for a row without the feature, else the
	// length + 1. Rows after the last have none.
	lengths() []uint32
	// postings gives the rows that have the term, ascending; either in the buffer,
	// which it makes larger where it must, or in memory that is not to be changed.
	postings(term string, buffer *[]posting) []posting
	// terms gives all terms, in order.
	terms() []string
}

// posting is one document of a term: its row, and how often it has the term.
type posting struct{ row, count uint32 }
