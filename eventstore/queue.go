package eventstore

import (
	"runtime"
	"sync"
	"time"
)

// queue holds the appends that wait for a shard's committer.
type queue struct {
	mu       sync.Mutex
	items    []*request
	bytes    int
	closed   bool
	wake     chan struct{} // capacity 1
	maxItems int
	maxBytes int
	// pace is how long one append took lately, for OverloadedError.RetryAfter.
	pace time.Duration
}

// put adds a request, or says why not.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrStoreClosed
	}
	if len(q.items) >= q.maxItems || len(q.items) > 0 && q.bytes+r.bytes > q.maxBytes {
		wait := max(time.Duration(len(q.items))*q.pace, time.Millisecond)
		q.mu.Unlock()
		return &OverloadedError{RetryAfter: wait}
	}
	q.items = append(q.items, r)
	q.bytes += r.bytes
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// close refuses what comes later; what is queued is still taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Limits of one group, so that a commit stays short: events and bytes.
const (
	groupEvents = 4000
	groupBytes  = 16 << 20
)

// enough is how many appends are not kept waiting for more: what a commit costs by
// itself is little beside them, and those that were just answered prepare their
// next ones while it runs.
const enough = 64

// take waits until there is something and takes the next group, in the order of
// arrival. While the queue is short and still grows it yields up to four times,
// without a timer: closed-loop writers that were just answered get to ask again, instead
// of falling into two halves. done is true when the queue is closed and empty.
func (q *queue) take(into []*request) (group []*request, done bool) {
	for {
		n := q.len()
		if n == 0 {
			q.mu.Lock()
			closed := q.closed
			q.mu.Unlock()
			if closed {
				return nil, true
			}
			<-q.wake
			continue
		}
		for i := 0; i < 4 && n < enough; i++ {
			runtime.Gosched()
			m := q.len()
			if m == n {
				break
			}
			n = m
		}
		if group = q.cut(into); len(group) > 0 {
			return group, false
		}
	}
}

// cut takes what belongs to one group, besides what is in it already.
func (q *queue) cut(into []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, bytes, n := 0, 0, 0
	for _, r := range into {
		events += len(r.rows)
		bytes += r.bytes
	}
	for _, r := range q.items {
		if len(into)+n > 0 && (r.exec != nil || q.items[0].exec != nil || events+len(r.rows) > groupEvents || bytes+r.bytes > groupBytes) {
			break
		}
		n++
		events += len(r.rows)
		bytes += r.bytes
		q.bytes -= r.bytes
		if r.state.CompareAndSwap(waiting, taken) {
			into = append(into, r)
		}
	}
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	return into
}

// paced notes how long an append of the last group took.
func (q *queue) paced(each time.Duration) {
	q.mu.Lock()
	q.pace = (3*q.pace + each) / 4
	q.mu.Unlock()
}
