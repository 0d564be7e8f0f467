// Package projections holds the read models: each is a fold of the feed into
// tables of its own, and its queries. Every query is as of a position.
package projections

import (
	"context"

	"varve/eventstore"
)

// Projection is a name, a version, tables, the event types it handles, and a
// fold. Raising Version rebuilds it at the next start. Apply must be a
// function of the records and the tables alone: the same fold serves live and
// rebuild, and applying a page again is prevented by the checkpoint that the
// runner moves in the same transaction.
type Projection interface {
	Name() string
	Version() int
	// Schema gives the statements that make the tables. Texts use $1, $2, … for
	// arguments, and no type or function that SQLite or PostgreSQL lacks.
	Schema() []string
	// Handles lists event types; none means all.
	Handles() []string
	// Apply folds a page (at most 1,000 records of one shard, in feed order, of
	// handled types only) with as few statements as it can.
	Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error
}

// At is where a read looks: a log as of a position.
type At struct {
	Log      eventstore.LogID
	Position uint64
}
