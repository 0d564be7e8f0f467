package state

import (
	"slices"
	"sync"
)

// work is who works on what, in one process: everything that is held is held by
// this process, which lives.
type work struct {
	mu    sync.Mutex
	items map[string]map[string]bool // work → item → done
}

func (w *work) take(name string, items []string, most int) (taken, left []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.items == nil {
		w.items = map[string]map[string]bool{}
	}
	held := w.items[name]
	if held == nil {
		held = map[string]bool{}
		w.items[name] = held
	}
	for _, item := range items {
		done, known := held[item]
		switch {
		case done:
		case !known && len(taken) < most && !slices.Contains(taken, item):
			taken = append(taken, item)
		default:
			left = append(left, item)
		}
	}
	for _, item := range taken {
		held[item] = false
	}
	return taken, left
}

func (w *work) finish(name string, items []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, item := range items {
		if w.items[name] != nil {
			w.items[name][item] = true
		}
	}
}

func (w *work) giveBack(name string, items []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, item := range items {
		if !w.items[name][item] {
			delete(w.items[name], item)
		}
	}
}

func (w *work) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.items, name)
}
