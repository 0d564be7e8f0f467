package http

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"varve/domain"
)

// Dependency is a part without which a server cannot answer, or only with less.
type Dependency struct {
	Name string
	// Check says what is wrong. It is asked at most once at a time and given up
	// after two seconds, whether it heeds its context or not. The message of a
	// *domain.Error is shown to whoever asks; other errors are only logged.
	Check func(context.Context) error
	// Optional: without it the server is degraded, and still ready.
	Optional bool
}

const (
	// probeTime is how long a check may take.
	probeTime = 2 * time.Second
	// probeAge is how old a check's finding may be that is shown to everybody, so
	// that asking often costs no more than asking once a second.
	probeAge = time.Second
	// sooner is by how much earlier is asked again where something was wrong.
	sooner = 5
	// unclear is shown of errors that are not meant for clients.
	unclear = "does not answer as it should; the server's log has more"
	late    = "has not answered within 2 s"
)

// probe asks one dependency.
type probe struct {
	Dependency
	mu      sync.Mutex
	running chan struct{} // closed when the check under way ends; nil: none is
	began   time.Time     // of the check under way
	last    finding
	said    string // the error that was logged last
}

// finding is what came of a check.
type finding struct {
	err  error
	took time.Duration
	at   time.Time
}

func probesOf(deps Deps) (probes []*probe, parts map[string]*probe) {
	for _, d := range deps.Dependencies {
		probes = append(probes, &probe{Dependency: d})
	}
	parts = map[string]*probe{}
	for name, check := range deps.Checks {
		parts[name] = &probe{Dependency: Dependency{Name: name, Check: check}}
	}
	return probes, parts
}

// ask gives a finding not older than age. It returns after probeTime even where
// the check does not, and asks a check that hangs no second time.
func (p *probe) ask(ctx context.Context, age time.Duration) finding {
	p.mu.Lock()
	if p.last.err != nil {
		age /= sooner
	}
	if age > 0 && !p.last.at.IsZero() && time.Since(p.last.at) < age && p.running == nil {
		defer p.mu.Unlock()
		return p.last
	}
	if p.running == nil {
		p.running, p.began = make(chan struct{}), time.Now()
		go p.run(p.running, p.began)
	}
	running, began := p.running, p.began
	p.mu.Unlock()
	left := time.NewTimer(probeTime - time.Since(began))
	defer left.Stop()
	select {
	case <-running:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.last
	case <-left.C:
	case <-ctx.Done():
	}
	return finding{took: time.Since(began), at: time.Now(), err: &domain.Error{Code: domain.CodeUnavailable, Message: late}}
}

func (p *probe) run(running chan struct{}, began time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	err := p.safely(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.running = finding{err: err, took: time.Since(began), at: time.Now()}, nil
	close(running)
}

// news says whether an error is another one than the last time, so that one that
// stays is logged once.
func (p *probe) news(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := p.said != text
	p.said = text
	return changed
}

func (p *probe) safely(ctx context.Context) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("check of %s: panic: %v", p.Name, x)
		}
	}()
	return p.Check(ctx)
}

// reason is what of an error may be shown; "" where there is none.
func reason(err error) string {
	var e *domain.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Message
	case errors.Is(err, context.DeadlineExceeded):
		return late
	}
	return unclear
}

// askAll asks all at once.
func askAll(ctx context.Context, probes []*probe, age time.Duration) []finding {
	out := make([]finding, len(probes))
	var asking sync.WaitGroup
	for i, p := range probes {
		asking.Go(func() { out[i] = p.ask(ctx, age) })
	}
	asking.Wait()
	return out
}
