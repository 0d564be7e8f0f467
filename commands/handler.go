// Package commands changes state: each method reads what it needs, lets domain
// decide, and appends. It knows nothing of read models, HTTP or storage engines.
package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/fold"
	"varve/eventstore/tracing"
)

// Handler has a method for every command. All methods are safe for concurrent
// use, return *domain.Error for what a client can mend, and either append
// everything or nothing.
type Handler struct {
	Store         eventstore.Follower
	Organizations *fold.Cache[domain.Organization]
	Configs       *fold.Cache[domain.Config]
	Blobs         *blob.Store
	Fetch         *blob.Fetcher
	Log           *slog.Logger
	Work          Work    // of batches, shared between processes
	Topics        *Topics // of customers; nil: none are taken in

	Now     func() time.Time
	Entropy func() [16]byte
	Keys    *KeyRing

	// CheckRetriever validates stages against a configuration (projections/retrieve).
	CheckRetriever func(domain.Config, domain.Retriever) error
	// ActiveBatches lists batches that were submitted and have not ended
	// (projections). With an error it may have left some out.
	ActiveBatches func(context.Context) ([]BatchRef, error)
	// MatchingObjects lists ids of objects of a bucket that match a filter (nil:
	// all), at most limit, in a stable order (projections).
	MatchingObjects func(ctx context.Context, log eventstore.LogID, bucket string, f *domain.Filter, limit int) ([]string, error)

	batches batchRunner
}

// In says on whose behalf and where a command runs.
type In struct {
	OrganizationID string
	Organization   eventstore.LogID // the organization's log
	Log            eventstore.LogID // the namespace's log, where the command has one
	Shard          int
	Actor          string // user id or "system:…"
	Principal      string // of a user-scoped key
	KeyID          string
	Request        string // request id
	Origin         string // http, cli, batch
	Reason         string
	// IdempotencyKey, where set, makes the command happen once: Digest is of the request.
	IdempotencyKey string
	Operation      string
	Digest         eventstore.Hash
	// IfMatch, where set, is the version that a configuration resource must have.
	IfMatch *uint64
}

func (in In) meta() eventstore.Metadata {
	return eventstore.Metadata{Actor: in.Actor, Key: in.KeyID, Correlation: in.Request, Origin: in.Origin, Reason: in.Reason}
}

func (in In) idempotency() *eventstore.Idempotency {
	if in.IdempotencyKey == "" {
		return nil
	}
	scope := fmt.Sprintf("%q %q %q %q %q", in.OrganizationID, in.Log, in.Actor, in.Operation, in.IdempotencyKey)
	return &eventstore.Idempotency{Scope: scope, Digest: in.Digest}
}

// newID makes an id: derived from the idempotency key where there is one, so
// that a repeated command names the same thing.
func (h *Handler) newID(in In, prefix string, parts ...any) string {
	if in.IdempotencyKey == "" {
		return domain.NewID(prefix, h.Entropy())
	}
	return domain.DeriveID(prefix, append([]any{in.OrganizationID, string(in.Log), in.Actor, in.Operation, in.IdempotencyKey}, parts...)...)
}

// Repeated says whether a request under its idempotency key was done before: what
// costs something and only prepares it need not be done again.
func (h *Handler) Repeated(ctx context.Context, in In) (bool, error) {
	idem := in.idempotency()
	if idem == nil {
		return false, nil
	}
	_, done, err := h.Store.Replay(ctx, in.Shard, *idem)
	return done, Translate(err)
}

// change runs a decision and appends its batches. A decision that lost a race
// is taken again on the newer state. Under an idempotency key that was used
// before, the first append's records are given and nothing is decided.
func (h *Handler) change(ctx context.Context, in In, decide func() ([]eventstore.Batch, error)) (records []eventstore.Record, err error) {
	ctx, span := tracing.Start(ctx, "command")
	defer func() { tracing.End(span, err) }()
	idem := in.idempotency()
	if idem != nil {
		done, ok, err := h.Store.Replay(ctx, in.Shard, *idem)
		if err != nil {
			return nil, Translate(err)
		}
		if ok {
			return done.Records, nil
		}
	}
	for try := 0; ; try++ {
		batches, err := decide()
		if err != nil {
			return nil, err
		}
		if len(batches) == 0 { // it is as it should be already
			return nil, nil
		}
		for i := range batches {
			if batches[i].Meta == (eventstore.Metadata{}) {
				batches[i].Meta = in.meta()
			}
		}
		done, err := h.Store.Append(ctx, eventstore.Append{Shard: in.Shard, Batches: batches, Idempotency: idem})
		var conflict *eventstore.ConflictError
		if errors.As(err, &conflict) && try < 20 && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, Translate(err)
		}
		return done.Records, nil
	}
}

// Translate gives what an append refused its meaning for clients, as a
// *domain.Error; all commands do. Other errors stay as they are.
func Translate(err error) error {
	var overloaded *eventstore.OverloadedError
	var conflict *eventstore.ConflictError
	switch {
	case errors.As(err, &overloaded):
		return &domain.Error{Code: domain.CodeUnavailable, Reason: "overloaded", Message: "too many writes are waiting; nothing was written, try again", RetryAfter: max(1, overloaded.RetryAfter.Seconds()), Err: err}
	case errors.As(err, &conflict):
		return &domain.Error{Code: domain.CodeConflict, Reason: "concurrent_change", Message: "the resource was changed by other requests at the same moment; read it and try again", Err: err}
	case errors.Is(err, eventstore.ErrClosed):
		return &domain.Error{Code: domain.CodeNotFound, Reason: "namespace_deleted", Message: "the namespace was deleted", Err: err}
	case errors.Is(err, eventstore.ErrIdempotency):
		return &domain.Error{Code: domain.CodeConflict, Reason: "idempotency_key_reused", Message: "the Idempotency-Key was used before with another request; use a new key", Err: err}
	}
	return err
}

// batchOf makes a batch of a stream from event data.
func batchOf(log eventstore.LogID, stream string, expect eventstore.Expect, data ...domain.EventData) (eventstore.Batch, error) {
	b := eventstore.Batch{Log: log, Stream: stream, Expect: expect}
	for _, d := range data {
		raw, err := domain.EncodeEvent(d)
		if err != nil {
			return b, err
		}
		b.Events = append(b.Events, eventstore.Event{Type: d.EventType(), Data: raw})
	}
	return b, nil
}

// last decodes the last record of an event type.
func last[T domain.EventData](records []eventstore.Record) (T, domain.Stamp, error) {
	var none T
	for i := len(records) - 1; i >= 0; i-- {
		e, at, err := decode(records[i])
		if err != nil {
			return none, at, err
		}
		if t, ok := e.(T); ok {
			return t, at, nil
		}
	}
	return none, domain.Stamp{}, fmt.Errorf("no %s among the appended records", none.EventType())
}

func decode(r eventstore.Record) (domain.EventData, domain.Stamp, error) {
	e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
	return e, StampOf(r), err
}

// StampOf gives what a fold needs of a record.
func StampOf(r eventstore.Record) domain.Stamp {
	return domain.Stamp{Position: r.Position, Version: r.Version, Time: r.Time, Actor: r.Meta.Actor}
}

// FoldOrganization and FoldConfig are the folds of the cached streams.
func FoldOrganization(o domain.Organization, r eventstore.Record) (domain.Organization, error) {
	e, at, err := decode(r)
	if err != nil {
		return o, err
	}
	return o.Apply(e, at), nil
}

// FoldConfig folds a namespace's configuration stream.
func FoldConfig(c domain.Config, r eventstore.Record) (domain.Config, error) {
	e, at, err := decode(r)
	if err != nil {
		return c, err
	}
	return c.Apply(e, at), nil
}

// state folds a data stream (object, batch, document) from the log.
func state[S interface {
	Apply(domain.EventData, domain.Stamp) S
}](ctx context.Context, store eventstore.Store, log eventstore.LogID, stream string) (S, []eventstore.Record, error) {
	return stateAt[S](ctx, store, log, stream, math.MaxUint64)
}

// stateAt is state as it was at a version of the stream.
func stateAt[S interface {
	Apply(domain.EventData, domain.Stamp) S
}](ctx context.Context, store eventstore.Store, log eventstore.LogID, stream string, version uint64) (S, []eventstore.Record, error) {
	var s S
	var records []eventstore.Record
	for r, err := range store.ReadStream(ctx, log, stream, 0) {
		if err != nil {
			return s, nil, fmt.Errorf("read %s: %w", stream, err)
		}
		if r.Version > version {
			break
		}
		e, at, err := decode(r)
		if err != nil {
			return s, nil, fmt.Errorf("fold %s: %w", stream, err)
		}
		s = s.Apply(e, at)
		records = append(records, r)
	}
	return s, records, nil
}

// configure decides on a namespace's configuration and appends to its stream.
func (h *Handler) configure(ctx context.Context, in In, decide func(domain.Config) ([]domain.EventData, error)) ([]eventstore.Record, error) {
	return h.change(ctx, in, func() ([]eventstore.Batch, error) {
		cfg, _, err := h.Configs.Head(ctx, in.Log)
		if err != nil {
			return nil, err
		}
		events, err := decide(cfg)
		if err != nil {
			return nil, err
		}
		b, err := batchOf(in.Log, domain.ConfigStream, eventstore.Exactly(cfg.Version), events...)
		return []eventstore.Batch{b}, err
	})
}

// configureOne is configure for a decision that is one event, and gives that event as it was
// appended: by this command, or by the first under its idempotency key.
func configureOne[E domain.EventData](ctx context.Context, h *Handler, in In, decide func(domain.Config) (E, error)) (E, error) {
	var none E
	records, err := h.configure(ctx, in, func(c domain.Config) ([]domain.EventData, error) {
		e, err := decide(c)
		return []domain.EventData{e}, err
	})
	if err != nil {
		return none, err
	}
	e, _, err := last[E](records)
	return e, err
}

// organize decides on an organization and appends to its stream.
func (h *Handler) organize(ctx context.Context, in In, decide func(domain.Organization) ([]domain.EventData, error)) ([]eventstore.Record, error) {
	return h.change(ctx, in, func() ([]eventstore.Batch, error) {
		org, _, err := h.Organizations.Head(ctx, in.Organization)
		if err != nil {
			return nil, err
		}
		events, err := decide(org)
		if err != nil {
			return nil, err
		}
		b, err := batchOf(in.Organization, domain.OrganizationStream, eventstore.Exactly(org.Version), events...)
		return []eventstore.Batch{b}, err
	})
}

// RequestDigest is the digest of a request for idempotency: method, path and body.
func RequestDigest(method, path string, body []byte) eventstore.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00", method, path)
	h.Write(body)
	return eventstore.Hash(h.Sum(nil))
}

func matchVersion(in In, actual uint64) error {
	if in.IfMatch != nil && *in.IfMatch != actual {
		return &domain.Error{Code: domain.CodeConflict, Reason: "version_mismatch", Message: fmt.Sprintf("If-Match names version %d, but the resource is at version %d; read it again", *in.IfMatch, actual)}
	}
	return nil
}

// set changes a value to one that was given.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
