package blob

import (
	"container/list"
	"sync"
)

// recentBytes bounds the packed attachments that a store keeps in memory.
const recentBytes = 64 << 20

// recent keeps the packed attachments that were put or read last, checked: several
// consumers read what was just appended, and each would fetch it from the service.
type recent struct {
	mu    sync.Mutex
	found map[string]*list.Element
	order list.List // of held, the youngest first
	size  int
}

type held struct {
	name  string
	bytes []byte
}

// add keeps bytes, which are not changed afterwards.
func (r *recent) add(name string, b []byte) {
	if len(b) > recentBytes/4 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.found[name] != nil {
		return
	}
	if r.found == nil {
		r.found = map[string]*list.Element{}
	}
	r.found[name] = r.order.PushFront(held{name, b})
	for r.size += len(b); r.size > recentBytes; {
		r.drop(r.order.Back())
	}
}

func (r *recent) take(name string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.found[name]
	if e == nil {
		return nil, false
	}
	r.order.MoveToFront(e)
	return e.Value.(held).bytes, true
}

func (r *recent) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.found[name]; e != nil {
		r.drop(e)
	}
}

func (r *recent) drop(e *list.Element) {
	h := r.order.Remove(e).(held)
	delete(r.found, h.name)
	r.size -= len(h.bytes)
}
