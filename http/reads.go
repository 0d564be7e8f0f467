package http

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/projections"
	"varve/projections/retrieve"
)

// Reads is the read side of a server.
type Reads struct {
	Models     *projections.Runner // of the store
	Directory  *projections.Directory
	Documents  *projections.Documents
	Objects    *projections.Objects
	Batches    *projections.Batches
	Executions *projections.Runner // of the store of execution records
	Traces     *projections.Traces
	Retrieve   *retrieve.Engine
	Blobs      *blob.Store
	Fetch      *blob.Fetcher
	// TraceBody gives the stages' sets of an execution, by its record's place.
	TraceBody func(ctx context.Context, log eventstore.LogID, position uint64) ([]byte, error)
	// AtTime gives the newest position of a log that is not younger than a time.
	AtTime func(ctx context.Context, log eventstore.LogID, t time.Time) (uint64, error)
}

// pin pins a request's namespace at one position: the newest, once the models
// have applied what was there when the request came, or the one that ?as_of=
// names (a position, or a time). The answer's headers tell the position and,
// where the models are behind, by how many events.
func (s *Server) pin(ctx context.Context, c *Call) (projections.At, domain.Config, error) {
	log := c.namespaceLog()
	p, err := s.Models.Pin(ctx, log)
	if err != nil {
		return projections.At{}, domain.Config{}, fmt.Errorf("pin a position: %w", err)
	}
	at := p.At
	h := c.writer.Header()
	if p.Lag > 0 {
		if err := c.behind(&projections.BehindError{Events: p.Lag}); err != nil {
			return at, domain.Config{}, err
		}
	}
	if least := c.Request.Header.Get("Varve-Min-Position"); least != "" {
		n, err := strconv.ParseUint(least, 10, 64)
		if err != nil {
			return at, domain.Config{}, domain.Errorf(domain.CodeBadRequest, "header Varve-Min-Position is %q; send a position, a whole number", least)
		}
		if at.Position < n {
			return at, domain.Config{}, &domain.Error{Code: domain.CodeUnavailable, Message: fmt.Sprintf("the namespace is at position %d, not yet at %d; try again", at.Position, n), RetryAfter: 1}
		}
	}
	if v, ok := c.queryOne("as_of"); ok {
		if at.Position, err = s.asOf(ctx, at, v); err != nil {
			return at, domain.Config{}, err
		}
	}
	h.Set("Varve-Position", strconv.FormatUint(at.Position, 10))
	cfg, err := s.Configs.At(ctx, log, at.Position)
	if err != nil {
		return at, cfg, fmt.Errorf("read configuration: %w", err)
	}
	return at, cfg, nil
}

// behind tells by how many events the answer is behind; an error where the client
// wants none such.
func (c *Call) behind(by *projections.BehindError) error {
	c.writer.Header().Set("Varve-Lag", strconv.FormatUint(by.Events, 10))
	if c.Request.Header.Get("Varve-Consistency") == "strong" {
		return by
	}
	return nil
}

// catchUp waits for models of which the newest state is asked; the answer's headers
// tell by how many events they are behind then.
func (c *Call) catchUp(ctx context.Context, models *projections.Runner, names ...string) error {
	err := models.CatchUp(ctx, names...)
	var by *projections.BehindError
	if errors.As(err, &by) {
		return c.behind(by)
	}
	return err
}

// asOf reads a position or a time.
func (s *Server) asOf(ctx context.Context, newest projections.At, v string) (uint64, error) {
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		if n > newest.Position {
			return 0, queryError("as_of", "range", "position %d is not reached yet; the newest is %d", n, newest.Position)
		}
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return 0, queryError("as_of", "as_of", "%q is neither a position (a whole number) nor a time (RFC 3339)", v)
	}
	n, err := s.AtTime(ctx, newest.Log, t)
	return min(n, newest.Position), err
}
