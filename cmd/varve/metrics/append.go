package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/follow"
)

// Store counts and times a store's appends; everything else is the store's own.
func (m *Metrics) Store(name string, o eventstore.Owner) eventstore.Owner {
	s := &counted{Owner: o, outcomes: map[string]prometheus.Counter{}, types: map[string]prometheus.Counter{}, took: m.appendDuration.WithLabelValues(name)}
	for _, outcome := range []string{"ok", "replayed", "conflict", "overloaded", "closed", "idempotency", "no_space", "unknown", "canceled", "error"} {
		s.outcomes[outcome] = m.appends.WithLabelValues(name, outcome)
	}
	executions := (&domain.ExecutionRecorded{}).EventType()
	for _, kind := range domain.EventTypes() {
		if (kind == executions) == (name == "executions") {
			s.types[kind] = m.events.WithLabelValues(name, kind)
		}
	}
	s.other = m.events.WithLabelValues(name, "other")
	return s
}

type counted struct {
	eventstore.Owner
	outcomes, types map[string]prometheus.Counter // never changed
	other           prometheus.Counter
	took            prometheus.Observer
}

// Append appends.
func (s *counted) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	began := time.Now()
	done, err := s.Owner.Append(ctx, a)
	switch {
	case err != nil:
		s.outcomes[outcomeOf(err)].Inc()
	case done.Replayed:
		s.outcomes["replayed"].Inc()
	default:
		s.took.Observe(time.Since(began).Seconds())
		s.outcomes["ok"].Inc()
		for i := range done.Records {
			if c, ok := s.types[done.Records[i].Type]; ok {
				c.Inc()
			} else {
				s.other.Inc()
			}
		}
	}
	return done, err
}

func outcomeOf(err error) string {
	var conflict *eventstore.ConflictError
	var overloaded *eventstore.OverloadedError
	switch {
	case errors.As(err, &conflict):
		return "conflict"
	case errors.As(err, &overloaded):
		return "overloaded"
	case errors.Is(err, eventstore.ErrUnknownOutcome): // before the context's error, which it may wrap
		return "unknown"
	case errors.Is(err, eventstore.ErrClosed):
		return "closed"
	case errors.Is(err, eventstore.ErrIdempotency):
		return "idempotency"
	case errors.Is(err, eventstore.ErrNoSpace):
		return "no_space"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "error"
}

// Committed is eventstore.Options.Observe of a store.
func (m *Metrics) Committed(name string) func(eventstore.Committed) {
	took, appends := m.commitDuration.WithLabelValues(name), m.commitAppends.WithLabelValues(name)
	records, races := m.commitRecords.WithLabelValues(name), m.races.WithLabelValues(name)
	return func(c eventstore.Committed) {
		took.Observe(c.Took.Seconds())
		appends.Observe(float64(c.Appends))
		records.Observe(float64(c.Records))
		races.Add(float64(c.Races))
	}
}

// Pages counts and times what read models and indexes apply.
func (m *Metrics) Pages() follow.Observer {
	return func(ctx context.Context, model string, _ int, page []eventstore.Record) (context.Context, func(error)) {
		began := time.Now()
		return ctx, func(err error) {
			if err != nil {
				m.pageErrors.WithLabelValues(model).Inc()
				return
			}
			m.pageDuration.WithLabelValues(model).Observe(time.Since(began).Seconds())
			m.pageRecords.WithLabelValues(model).Add(float64(len(page)))
		}
	}
}

// Relay counts and times what the relay of a store publishes.
func (m *Metrics) Relay(store string) follow.Observer {
	published, retries, took := m.relayPublished.WithLabelValues(store), m.relayRetries.WithLabelValues(store), m.relayDuration.WithLabelValues(store)
	return func(ctx context.Context, _ string, _ int, page []eventstore.Record) (context.Context, func(error)) {
		began := time.Now()
		return ctx, func(err error) {
			if err != nil {
				retries.Inc()
				return
			}
			took.Observe(time.Since(began).Seconds())
			published.Add(float64(len(page)))
		}
	}
}
