package follow

import (
	"context"
	"sync"

	"varve/eventstore"
)

// tray is where the reader puts what the follower takes next, at most a page. What
// comes while something lies there joins it: so a record waits for the page that is
// being applied, and not for one more page of every few records that came before it.
type tray struct {
	size   int
	filled chan struct{} // there may be something to take
	taken  chan struct{} // there may be room

	mu      sync.Mutex
	records []eventstore.Record // they follow each other in the feed
	err     error               // what ended the reader, after the records
}

func newTray(size int) *tray {
	return &tray{size: size, filled: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// put adds records when there is room for them, or gives up when the context ends.
func (t *tray) put(ctx context.Context, records []eventstore.Record) {
	for !t.add(records) {
		select {
		case <-t.taken:
		case <-ctx.Done():
			return
		}
	}
	signal(t.filled)
}

func (t *tray) add(records []eventstore.Record) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.records) == 0:
		t.records = records
	case len(t.records)+len(records) <= t.size:
		t.records = append(t.records, records...)
	default:
		return false
	}
	return true
}

// fail puts an error behind the records.
func (t *tray) fail(err error) {
	t.mu.Lock()
	t.err = err
	t.mu.Unlock()
	signal(t.filled)
}

// take gives all records, or the error where there are none left; neither where they
// were taken already.
func (t *tray) take() (page []eventstore.Record, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	page, t.records = t.records, nil
	if len(page) == 0 {
		return nil, t.err
	}
	if t.err != nil {
		signal(t.filled)
	}
	signal(t.taken)
	return page, nil
}

// signal wakes who waits, now or next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
