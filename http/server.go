// Package http serves the API: routes, wire types and handlers, one file per
// noun. It changes state through package commands and reads through folds and
// projections; nothing here decides.
package http

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	nethttp "net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/trace"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/fold"
	"varve/http/asyncapi"
)

// Deps is what a server needs. Fields that are nil switch off what needs them:
// their operations answer 501.
type Deps struct {
	Reads
	Commands      *commands.Handler
	Organizations *fold.Cache[domain.Organization]
	Configs       *fold.Cache[domain.Config]

	// LookupKey lists the keys with a public prefix (commands.PublicPrefix),
	// the previous prefixes of rotated keys included. It must know a key as
	// soon as the answer that made it was sent.
	LookupKey func(ctx context.Context, prefix string) ([]KeyEntry, error)
	// HashKey is commands.KeyRing.Hash.
	HashKey func(key string) string

	// Checks are the parts that /v1/health/deep asks, by the reference's names:
	// cache, metadata, vector_store, object_storage, task_queue, inference.
	Checks map[string]func(context.Context) error

	// Events says what /asyncapi.json tells of this server's topics.
	Events asyncapi.Options

	// Observe, where set, is told of every request after its answer: for
	// metrics. The operation is "" where the path is none.
	Observe func(Observation)
	// Tracer makes a span of every request, which commands and appends go on with;
	// nil: none.
	Tracer trace.Tracer
	// Dependencies are what /v1/health and /v1/health/ready tell of.
	Dependencies []Dependency

	// HealthOnly leaves everything but /v1/health to other processes.
	HealthOnly bool

	Log     *slog.Logger
	Now     func() time.Time
	Limits  Limits
	Version string // of the build, shown by /v1/health
}

// Limits bound what one request and one caller may ask. Zero values mean the defaults.
type Limits struct {
	Body int64 // bytes of a request body; 16 MiB
	// BodyTime is how long a body may take to arrive; 2 minutes.
	BodyTime time.Duration
	Rate     map[string]int // class (metadata, data, search, upload, compute) → requests a minute; 6,000 each; negative: none
}

// KeyEntry says where a key's record is. The record itself is read from the
// organization's log, so that a revocation holds at once.
type KeyEntry struct {
	Organization eventstore.LogID
	Shard        int
	KeyID        string
}

// Observation is what is known of a request after its answer.
type Observation struct {
	Operation    string // "GET /v1/buckets/{bucket_identifier}": few values, good as a label
	Method       string // one of HTTP's, or _OTHER
	Organization string
	Status       int
	Duration     time.Duration
	Received     int64 // bytes of the body, as far as it was read
	Sent         int64 // bytes of the answer's body
}

// Server is the API as an http.Handler. Make it with New.
type Server struct {
	Deps

	echo    *echo.Echo
	routes  map[string]registered // "GET /v1/buckets/{}" → route
	limiter *limiter
	// contract gives the OpenAPI document with what this server serves.
	contract func() ([]byte, error)
	stopped  atomic.Bool
	probes   []*probe          // of Dependencies, in their order
	parts    map[string]*probe // of Checks
}

// nouns are the functions that register routes, by noun. Each noun's file adds
// its own by `var _ = noun("bucket", (*Server).bucketRoutes)`.
var nouns = map[string]func(*Server){}

func noun(name string, routes func(*Server)) struct{} {
	if _, twice := nouns[name]; twice {
		panic("routes of noun registered twice: " + name)
	}
	nouns[name] = routes
	return struct{}{}
}

// New makes a server. It panics when a route says no permission or resource,
// or when two routes are the same: such a server must not start.
func New(deps Deps) *Server {
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Limits.Body == 0 {
		deps.Limits.Body = 16 << 20
	}
	if deps.Limits.BodyTime == 0 {
		deps.Limits.BodyTime = 2 * time.Minute
	}
	s := &Server{Deps: deps, routes: map[string]registered{}, limiter: newLimiter(deps.Now)}
	s.echo, s.contract = s.newEcho(), s.makeContract()
	s.probes, s.parts = probesOf(deps)
	for _, n := range slices.Sorted(maps.Keys(nouns)) {
		nouns[n](s)
	}
	s.restOfReference()
	return s
}

// Handler gives the server with what surrounds every request: request id,
// recovery, trailing slashes, CORS.
func (s *Server) Handler() nethttp.Handler { return nethttp.HandlerFunc(s.serve) }

// Stop makes health say that the server is going, so that balancers look
// elsewhere while requests under way end.
func (s *Server) Stop() { s.stopped.Store(true) }

// organization reads the newest state of an organization.
func (s *Server) organization(ctx context.Context, log eventstore.LogID) (domain.Organization, error) {
	org, _, err := s.Organizations.Head(ctx, log)
	if err != nil {
		return org, fmt.Errorf("read organization: %w", err)
	}
	return org, nil
}

// config reads the newest configuration of a namespace, and the position of
// its log that was read.
func (s *Server) config(ctx context.Context, log eventstore.LogID) (domain.Config, uint64, error) {
	cfg, at, err := s.Configs.Head(ctx, log)
	if err != nil {
		return cfg, at, fmt.Errorf("read configuration: %w", err)
	}
	return cfg, at, nil
}
