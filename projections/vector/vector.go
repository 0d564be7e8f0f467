// Package vector says what a search backend must do. A backend proposes
// candidates from a pinned view; filters it cannot express, access and final
// scores are Varve's, by one kernel, so that a document has the same score in
// every tier. embedded is the in-process index; others follow.
package vector

import (
	"context"

	"varve/domain"
	"varve/eventstore"
)

// Index holds the features of documents of many logs. It is a projection: it
// is filled by following the feed, and can be dropped and rebuilt.
type Index interface {
	// View pins the index at a position of a log that it has applied; at a
	// position that it has not, the error has code unavailable. Views are safe
	// for concurrent use and must be closed.
	View(ctx context.Context, log eventstore.LogID, position uint64) (View, error)
}

// View is the index as of one position.
type View interface {
	// Allow selects the documents of collections (ids; none: all) that were valid at the
	// view's position and match the filter (nil: no filter). The set is made before scoring.
	Allow(ctx context.Context, collections []string, filter *domain.Filter) (Set, error)
	// Dense gives the k documents of the set with the highest cosine to the
	// query, exactly: scores by one scalar kernel, equal scores by document id.
	// Documents without the feature, or whose vector is all zeros, are not scored.
	// A query of another dimension is an error of code invalid.
	Dense(ctx context.Context, set Set, uri string, query []float32, k int) (Result, error)
	// Sparse gives the k documents of the set with the highest BM25 score
	// (k1 1.2, b 0.75; idf = ln(1 + (N − n + 0.5)/(n + 0.5)); statistics are
	// integers over all valid documents of the set's collections that have the feature, not over
	// the filter). Documents without any query term are not scored.
	Sparse(ctx context.Context, set Set, uri string, query []domain.TermCount, k int) (Result, error)
	// Vector gives a document's dense feature, nil where it has none.
	Vector(ctx context.Context, documentID, uri string) ([]float32, error)
	// Segments lists the digests of the immutable pieces that the view reads.
	Segments() []string
	Close()
}

// Set is a selection of documents in one view.
type Set interface {
	// Len counts the documents.
	Len() int
	// Contains says whether a document is in it.
	Contains(documentID string) bool
	// All gives the first n documents by id, of those after the given id ("" from the start).
	All(after string, n int) []Hit
	// Candidates counts valid documents of the collections before the filter.
	Candidates() int
}

// Hit is one scored document.
type Hit struct {
	ID         string
	Collection string
	Position   uint64  // of the log: which version of the document
	Score      float32 // cosine, or BM25
}

// Result is what a search gave, best first.
type Result struct {
	Hits   []Hit
	Scored int     // documents that had a score
	Cutoff float32 // score of the last hit where there were more than k
	Plan   string  // "exact" or "index"
}
