package projections

import (
	"context"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Pin is where a request reads: one position of one log that every model it
// touches has applied.
type Pin struct {
	At
	// Lag is how many events of the shard were not applied when waiting ran out; 0
	// where the pin is the log's head as of the request's arrival.
	Lag uint64
	// Parked lists the streams of the log of which events are missing.
	Parked []ParkedStream
}

// ParkedStream is a parked stream of one model.
type ParkedStream struct {
	Model string
	follow.Parked
}

// Pin waits, at most 2 s, until all the named models (none: all) have applied
// what the log held when the request arrived, and pins that position. Where
// they have not by then, it pins the newest position that all have applied and
// says how far that is behind. A log that does not exist is pinned at 0.
func (r *Runner) Pin(ctx context.Context, log eventstore.LogID, models ...string) (Pin, error) {
	return r.pin(ctx, log, models)
}
