package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/bus"
	"varve/eventstore/fold"
	"varve/eventstore/state"
	"varve/http"
	"varve/projections"
	"varve/projections/vector/embedded"
)

// Varve is a server put together. Open makes it, Serve answers requests, Close
// takes it apart. A Varve that only writes (init) or reads the log (verify) is
// opened and closed without serving.
type Varve struct {
	Config   Config
	Store    eventstore.Owner
	Executed eventstore.Owner // execution records
	State    state.Store
	Commands *commands.Handler
	Models   *projections.Runner
	Reads    http.Reads
	API      *http.Server

	observing
	dir     *directory
	index   *embedded.Index
	log     *slog.Logger
	stop    context.CancelFunc
	running sync.WaitGroup

	Relays     []*bus.Relay // of log and execution records; none without a bus
	stopRelays context.CancelFunc
	relaying   errgroup.Group
	recorder   recorder
	tail       *bus.Tail      // nil unless the log is followed through Kafka
	following  sync.WaitGroup // the tail, and the recorder's lease
}

// Logger makes the logger that a configuration asks for.
func (c Config) Logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// Open locks the data directory and puts everything together that the roles of the
// process need. Read models follow from then on; batches run once Serve is called.
func Open(ctx context.Context, c Config) (v *Varve, err error) {
	v = &Varve{Config: c, log: c.Logger()}
	if err := c.checkRoles(); err != nil {
		return nil, err
	}
	if v.dir, err = lock(c.Data); err != nil {
		return nil, err
	}
	opened := v // what a return gives is nil where something failed
	defer func() {
		if err != nil {
			_ = opened.Close()
		}
	}()
	if err = v.observe(ctx); err != nil {
		return nil, err
	}
	if v.Reads.Blobs, err = v.openBlobs(ctx); err != nil {
		return nil, err
	}
	if err = v.openStores(ctx); err != nil {
		return nil, err
	}
	v.Store, v.Executed = v.watched("log", v.Store), v.watched("executions", v.Executed)
	if v.Reads.Fetch, err = blob.NewFetcher(blob.FetchOptions{AllowPrivate: c.AllowPrivate, Root: c.Files}); err != nil {
		return nil, err
	}
	pepper, err := v.State.Secret(ctx, state.Pepper)
	if err != nil {
		return nil, err
	}
	v.Commands = &commands.Handler{
		Store:         v.Store,
		Organizations: &fold.Cache[domain.Organization]{Store: v.Store, Stream: domain.OrganizationStream, Apply: commands.FoldOrganization},
		Configs:       &fold.Cache[domain.Config]{Store: v.Store, Stream: domain.ConfigStream, Apply: commands.FoldConfig},
		Blobs:         v.Reads.Blobs, Fetch: v.Reads.Fetch, Log: v.log, Work: v.State,
		Now: time.Now, Entropy: entropy, Keys: &commands.KeyRing{Pepper: pepper, Random: rand.Reader},
	}
	events, err := v.topics(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.follow(ctx); err != nil {
		return nil, err
	}
	if c.Bus != "" && c.has(RoleRelay) {
		if err := v.relays(ctx); err != nil {
			return nil, err
		}
	}
	v.wire()
	v.API = http.New(http.Deps{
		Reads: v.Reads, Commands: v.Commands, Organizations: v.Commands.Organizations, Configs: v.Commands.Configs,
		LookupKey: v.lookupKey, HashKey: v.Commands.Keys.Hash, Log: v.log,
		Version: c.Version, Checks: v.checks(), Limits: http.Limits{Body: c.MaxBody, Rate: c.rates()},
		Observe: v.metrics.Request, Tracer: v.tracer(), Dependencies: v.dependencies(),
		Events: events, HealthOnly: !c.has(RoleAPI),
	})
	v.watch()
	return v, nil
}

// Initialize makes the first organization where there is none, and gives what is
// shown only once; nil otherwise. Of several processes that find none, one does it,
// and one that does not answer requests leaves it to the others.
func (v *Varve) Initialize(ctx context.Context, name, email string) (*commands.CreatedOrganization, error) {
	if !v.Config.has(RoleAPI) {
		return nil, nil
	}
	_, release, err := v.State.Acquire(ctx, "initialize")
	if err != nil {
		return nil, err
	}
	defer release()
	for shard := range v.Store.Shards() {
		head, err := v.Store.Head(ctx, shard)
		if err != nil || head > 0 {
			return nil, err
		}
	}
	made, err := v.Commands.CreateOrganization(ctx, commands.In{Origin: "cli"}, commands.CreateOrganization{Name: name, Email: email})
	if err != nil {
		return nil, err
	}
	return &made, nil
}

func (c Config) rates() map[string]int {
	limits := map[string]int{}
	for _, class := range []string{"metadata", "data", "search", "upload", "compute"} {
		limits[class] = c.RateLimit
	}
	return limits
}

func entropy() (b [16]byte) {
	rand.Read(b[:])
	return b
}

// follow opens the read models and the index, and starts what fills them.
func (v *Varve) follow(ctx context.Context) (err error) {
	v.Reads.Directory, v.Reads.Documents, v.Reads.Objects, v.Reads.Batches, v.Reads.Traces =
		projections.NewDirectory(), projections.NewDocuments(), projections.NewObjects(), projections.NewBatches(), projections.NewTraces()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	options := v.modelOptions("varve_models")
	if options.Feed, err = v.feed(run); err != nil {
		return err
	}
	v.Models = projections.NewRunner(v.Store, v.dir.file("models"), options)
	v.Models.Add(v.Reads.Directory, v.Reads.Documents, v.Reads.Objects, v.Reads.Batches)
	if v.Config.has(RoleAPI) {
		if err := v.openIndex(ctx); err != nil {
			return err
		}
		v.Models.AddIndex(indexModel, v.index)
	}
	v.Reads.Models = v.Models
	v.Reads.Executions = projections.NewRunner(v.Executed, v.dir.file("models"), v.modelOptions("varve_execution_models"))
	v.Reads.Executions.Add(v.Reads.Traces)
	if v.recorder.store = v.Executed; v.Config.has(RoleAPI) {
		v.following.Go(func() { v.recorder.lease(run, v.State) })
	}
	if err := v.Models.Start(run); err != nil {
		return err
	}
	return v.Reads.Executions.Start(run)
}

// modelOptions are those of the read models of one store.
func (v *Varve) modelOptions(schema string) projections.Options {
	return projections.Options{Logger: v.log, Lease: v.State, Database: v.Config.Store, Schema: schema, Standby: !v.Config.has(RoleProjector), PinWait: v.Config.ReadWait, Observe: v.applied()}
}

// openIndex opens the index. Where others serve too, a process holds only the
// namespaces that it is asked about, and follows the feed from where it is now.
func (v *Varve) openIndex(ctx context.Context) (err error) {
	v.index, err = embedded.Open(v.dir.file("index"), embedded.Options{Prefix: v.prefix, OnDemand: v.Config.shared(), Memory: v.Config.IndexMemory << 20,
		Head: func(ctx context.Context, log eventstore.LogID) (uint64, error) {
			head, err := v.Store.LogHead(ctx, log)
			return head.Position, err
		}})
	if err != nil || !v.Config.shared() {
		return err
	}
	for shard := range v.Store.Shards() {
		head, err := v.Store.Head(ctx, shard)
		if err == nil {
			err = v.index.Skip(shard, head)
		}
		if err != nil {
			return fmt.Errorf("begin to follow for the index: %w", err)
		}
	}
	return nil
}

// prefix reads what a branch continues, which the feed does not repeat.
func (v *Varve) prefix(ctx context.Context, log eventstore.LogID, after, upTo uint64) iter.Seq2[eventstore.Record, error] {
	return v.Store.Read(ctx, log, after, int(upTo-after))
}

// Serve answers requests on the listener and runs batches until ctx ends; then
// it lets requests under way finish, at most for Config.Drain.
func (v *Varve) Serve(ctx context.Context, l net.Listener) error {
	if err := v.dir.say("http://" + l.Addr().String()); err != nil {
		return err
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	if v.Config.has(RoleWorker) {
		v.running.Go(func() {
			if err := v.Commands.RunBatches(work, v.Config.Workers); err != nil {
				v.log.Error("batches do not run", slog.Any("error", err))
			}
		})
		v.running.Go(func() { v.runTopics(work) })
	}
	server := &nethttp.Server{Handler: v.observed(v.API.Handler(), l.Addr()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug)}
	defer v.serveMetrics()()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	v.API.Stop()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.Config.Drain)
	defer cancel()
	err := server.Shutdown(drain)
	stopWork()
	v.running.Wait()
	if err != nil {
		return fmt.Errorf("requests under way did not end in %s: %w", v.Config.Drain, err)
	}
	return nil
}

// Close stops what follows and closes what is open, in the reverse of the order
// in which it was opened.
func (v *Varve) Close() error {
	var errs []error
	if v.stop != nil {
		if v.Reads.Executions != nil {
			errs = append(errs, v.Reads.Executions.Stop())
		}
		if v.Models != nil {
			errs = append(errs, v.Models.Stop())
		}
		v.stop()
		v.following.Wait()
	}
	if v.stopRelays != nil {
		v.stopRelays()
		errs = append(errs, v.relaying.Wait())
	}
	if v.index != nil {
		errs = append(errs, v.index.Flush(), v.index.Close())
	}
	if v.Executed != nil {
		errs = append(errs, v.Executed.Close())
	}
	if v.Store != nil {
		errs = append(errs, v.Store.Close())
	}
	if v.State != nil {
		errs = append(errs, v.State.Close())
	}
	if v.Reads.Blobs != nil {
		errs = append(errs, v.Reads.Blobs.Close())
	}
	errs = append(errs, v.unobserve())
	if v.dir != nil {
		errs = append(errs, v.dir.say(""), v.dir.release())
	}
	return errors.Join(errs...)
}

// lookupKey finds keys by their public prefix. Only where the directory has none
// does it wait for what was acknowledged before: what it finds is read from the
// organization's log, which knows the newest.
func (v *Varve) lookupKey(ctx context.Context, prefix string) ([]http.KeyEntry, error) {
	if prefix == "" {
		return nil, nil
	}
	find := http.FindKeys(v.Reads.Directory, v.Store)
	if found, err := find(ctx, prefix); err != nil || len(found) > 0 {
		return found, err
	}
	if err := v.Models.CatchUp(ctx, "directory"); err != nil {
		return nil, err
	}
	return find(ctx, prefix)
}

// checks are the parts that /v1/health/deep asks.
func (v *Varve) checks() map[string]func(context.Context) error {
	store := func(ctx context.Context) error {
		_, err := v.Store.Head(ctx, 0)
		return err
	}
	models := func(context.Context) error {
		for _, m := range append(v.Models.Status(), v.Reads.Executions.Status()...) {
			if m.Err != "" {
				return fmt.Errorf("%s stands still: %s", m.Model, m.Err)
			}
		}
		return nil
	}
	return map[string]func(context.Context) error{
		"metadata": store, "cache": models, "vector_store": models, "task_queue": store, "inference": func(context.Context) error { return nil },
		"object_storage": func(ctx context.Context) error {
			_, err := v.Reads.Blobs.Exists(ctx, "health", "sha256:"+strings.Repeat("0", 64))
			return err
		},
	}
}
