package eventstore

import (
	"context"
	"sort"
)

// SearchLog gives the newest position of a log, at most head, whose record is
// not beyond; 0 where all are. Once a record is beyond, all after it must be: it
// finds by halving, with one read a step.
func SearchLog(ctx context.Context, s Store, log LogID, head uint64, beyond func(Record) bool) (uint64, error) {
	var failed error
	n := sort.Search(int(head), func(i int) bool { // the first position, less one, whose record is beyond
		for r, err := range s.Read(ctx, log, uint64(i), 1) {
			if err != nil {
				failed = err
				return true
			}
			return beyond(r)
		}
		return true
	})
	return uint64(n), failed
}
