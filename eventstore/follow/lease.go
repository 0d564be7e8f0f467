package follow

import (
	"context"
	"sync"
)

// Lease lets one follower of a name work at a time.
type Lease interface {
	// Acquire waits until the name is free or the context ends. The context it
	// gives back ends when the lease is lost; release lets go of it.
	Acquire(ctx context.Context, name string) (held context.Context, release func(), err error)
}

// Process is the lease of the embedded server: it holds within this process,
// which a lock file keeps the only one. The zero value is ready.
type Process struct {
	mu    sync.Mutex
	names map[string]chan struct{}
}

// Acquire waits for the name.
func (p *Process) Acquire(ctx context.Context, name string) (context.Context, func(), error) {
	p.mu.Lock()
	if p.names == nil {
		p.names = map[string]chan struct{}{}
	}
	slot, ok := p.names[name]
	if !ok {
		slot = make(chan struct{}, 1)
		p.names[name] = slot
	}
	p.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return ctx, sync.OnceFunc(func() { <-slot }), nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}
