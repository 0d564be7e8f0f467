package projections

import (
	"context"

	"varve/eventstore/follow"
)

// ModelStatus is where one model is on one shard.
type ModelStatus struct {
	Model      string
	Shard      int
	Applied    uint64 // feed position
	Head       uint64
	Lag        uint64  // events
	LagSeconds float64 // age of the oldest event that is not applied
	Parked     []follow.Parked
	Err        string  // why it stands still; empty where it runs
	Filling    bool    // it is being filled for the first time
	Rate       float64 // events a second, while it is being filled or rebuilt
	Rebuilding bool    // it is being built anew beside what serves
	Built      float64 // part of the events that are in what is being filled or rebuilt, of all shards; 1 where nothing is
}

// Status tells where every model is, by model and shard.
func (r *Runner) Status() []ModelStatus {
	ctx := context.Background()
	heads := make([]uint64, r.store.Shards())
	failed := make([]error, len(heads))
	for shard := range heads {
		heads[shard], failed[shard] = r.store.Head(ctx, shard)
	}
	var out []ModelStatus
	for _, m := range r.models {
		for shard := range heads {
			s := ModelStatus{Model: m.name, Shard: shard, Applied: m.applied(shard), Head: heads[shard], Built: 1}
			err := m.failure()
			if fs := m.followers(); shard < len(fs) {
				s.Parked = fs[shard].Parked()
				if err == nil {
					err = fs[shard].Err()
				}
			}
			s.Filling = m.p != nil && r.database != nil && m.current() == nil // here or by another process
			if p := m.filling.Load(); p != nil {
				s.Filling, s.Rate = true, p.rate
				s.Built = p.part()
				if len(heads) == 1 {
					s.Applied = p.done
				}
			}
			if p := m.rebuilding.Load(); p != nil {
				s.Rebuilding, s.Rate, s.Built = true, p.rate, p.part()
			}
			if err == nil {
				err = failed[shard]
			}
			if err != nil {
				s.Err = err.Error()
			}
			if s.Lag = s.Head - min(s.Head, s.Applied); s.Lag > 0 {
				for rec, err := range r.store.Feed(ctx, shard, s.Applied, 1) {
					if err == nil {
						s.LagSeconds = max(0, r.o.Now().Sub(rec.Time).Seconds())
					}
				}
			}
			out = append(out, s)
		}
	}
	return out
}
