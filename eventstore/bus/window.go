package bus

import (
	"sync"

	"varve/eventstore"
)

// window holds the newest records of a shard that came by Kafka: a run of feed
// positions without gaps. Followers at different places read it without taking
// anything out.
type window struct {
	mu      sync.Mutex
	run     []decoded
	bytes   int
	max     int
	live    bool          // messages are coming in
	known   uint64        // feed position that the store is known to have beyond the run
	changed chan struct{} // closed and replaced when something comes in, or live changes
}

// windowBytes bounds a shard's window beside its number of records.
const windowBytes = 16 << 20

type arrival uint8

const (
	arrivedNext   arrival = iota // it continues the run
	arrivedAgain                 // it is not beyond the run
	arrivedBeyond                // it leaves a gap
)

func newWindow(size int) *window { return &window{max: size, changed: make(chan struct{})} }

// last is the newest position, 0 where there is none.
func (w *window) last() uint64 {
	if len(w.run) == 0 {
		return 0
	}
	return w.run[len(w.run)-1].Feed
}

// judge tells how a position stands to the run.
func (w *window) judge(feed uint64) arrival {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch last := w.last(); {
	case len(w.run) > 0 && feed <= last:
		return arrivedAgain
	case len(w.run) > 0 && feed == last+1:
		return arrivedNext
	}
	return arrivedBeyond
}

// add takes a record beyond the run; where it leaves a gap, the run begins anew.
func (w *window) add(d decoded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.Feed != w.last()+1 {
		w.run, w.bytes = nil, 0
	}
	w.run = append(w.run, d)
	w.bytes += size(&d)
	for len(w.run) > w.max || w.bytes > windowBytes && len(w.run) > 1 {
		w.bytes -= size(&w.run[0])
		w.run[0] = decoded{}
		w.run = w.run[1:]
	}
	w.live = true
	w.wake()
}

func size(d *decoded) int { return 512 + len(d.Data) }

// wake is called with the lock.
func (w *window) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *window) setLive(live bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live != live {
		w.live = live
		w.wake()
	}
}

// know notes that the store has something that may never come by Kafka.
func (w *window) know(head uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = max(w.known, head)
}

// after gives what follows a position exactly, at most limit (0: all), and the
// position of the next whole record behind a gap, 0 where there is none. idle
// says that what comes next should come by Kafka: a reader may be ahead of the
// messages, and waits for them as long as Wait's patience lasts.
func (w *window) after(feed uint64, limit int) (records []eventstore.Record, next uint64, idle bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.run) == 0 {
		return nil, 0, false
	}
	first := w.run[0].Feed
	if feed >= w.last() {
		return nil, 0, w.live && w.known <= feed
	}
	i := 0
	if feed >= first {
		i = int(feed + 1 - first)
	}
	if feed+1 >= first {
		for i < len(w.run) && !w.run[i].partial && (limit == 0 || len(records) < limit) {
			records = append(records, w.run[i].Record)
			i++
		}
	}
	for i < len(w.run) && w.run[i].partial {
		i++
	}
	if i < len(w.run) {
		next = w.run[i].Feed
	}
	return records, next, false
}

// state is what a waiting follower looks at; before the first message nothing is
// to be expected of Kafka yet.
func (w *window) state(feed uint64) (beyond, live bool, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last() > feed || w.known > feed, w.live && len(w.run) > 0, w.changed
}

func (w *window) newest() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last()
}
