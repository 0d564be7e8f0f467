// Package failpoint names places in the append path at which a test may fail,
// stop or kill the process. Switched off, a point costs one atomic load.
package failpoint

import (
	"sync"
	"sync/atomic"
)

var (
	on     atomic.Bool
	mu     sync.Mutex
	action func(name string, hit int) error
	hits   map[string]int
)

// Hit is called at the place called name. It gives the error that the test's
// action wants to happen there; always nil when switched off.
func Hit(name string) error {
	if !on.Load() {
		return nil
	}
	mu.Lock()
	if hits == nil {
		mu.Unlock()
		return nil
	}
	hits[name]++
	n, act := hits[name], action
	mu.Unlock()
	if act == nil {
		return nil
	}
	return act(name, n)
}

// Enable switches all points on: act is called at each with its name and how
// often it was hit (from 1); nil only counts. The function given back switches
// them off again. Only one test at a time may have them on.
func Enable(act func(name string, hit int) error) (disable func()) {
	mu.Lock()
	action, hits = act, map[string]int{}
	mu.Unlock()
	on.Store(true)
	return func() {
		on.Store(false)
		mu.Lock()
		action, hits = nil, nil
		mu.Unlock()
	}
}

// Hits tells how often each point was hit since Enable.
func Hits() map[string]int {
	mu.Lock()
	defer mu.Unlock()
	out := make(map[string]int, len(hits))
	for k, v := range hits {
		out[k] = v
	}
	return out
}
