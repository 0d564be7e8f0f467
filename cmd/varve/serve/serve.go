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

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/bus"
	"varve/eventstore/fold"
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
	Commands *commands.Handler
	Models   *projections.Runner
	Reads    http.Reads
	API      *http.Server

	dir     *directory
	index   *embedded.Index
	log     *slog.Logger
	stop    context.CancelFunc
	running sync.WaitGroup

	publisher *bus.Publisher // nil without a bus
	stopRelay context.CancelFunc
	relayed   chan error
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

// Open locks the data directory and puts everything together. Read models
// follow from then on; batches run once Serve is called.
func Open(ctx context.Context, c Config) (v *Varve, err error) {
	v = &Varve{Config: c, log: c.Logger()}
	if v.dir, err = lock(c.Data); err != nil {
		return nil, err
	}
	opened := v // what a return gives is nil where something failed
	defer func() {
		if err != nil {
			_ = opened.Close()
		}
	}()
	if v.Reads.Blobs, err = v.openBlobs(ctx); err != nil {
		return nil, err
	}
	if v.Store, err = v.openStore(ctx, "log.db", "varve"); err != nil {
		return nil, err
	}
	if v.Executed, err = v.openStore(ctx, "executions.db", "varve_executions"); err != nil {
		return nil, err
	}
	if v.Reads.Fetch, err = blob.NewFetcher(blob.FetchOptions{AllowPrivate: c.AllowPrivate, Root: c.Files}); err != nil {
		return nil, err
	}
	pepper, err := v.dir.secret("pepper")
	if err != nil {
		return nil, err
	}
	v.Commands = &commands.Handler{
		Store:         v.Store,
		Organizations: &fold.Cache[domain.Organization]{Store: v.Store, Stream: domain.OrganizationStream, Apply: commands.FoldOrganization},
		Configs:       &fold.Cache[domain.Config]{Store: v.Store, Stream: domain.ConfigStream, Apply: commands.FoldConfig},
		Blobs:         v.Reads.Blobs, Fetch: v.Reads.Fetch, Log: v.log,
		Now: time.Now, Entropy: entropy, Keys: &commands.KeyRing{Pepper: pepper, Random: rand.Reader},
	}
	if err := v.follow(ctx); err != nil {
		return nil, err
	}
	if c.Bus != "" {
		if err := v.relay(ctx); err != nil {
			return nil, err
		}
	}
	v.wire()
	v.API = http.New(http.Deps{
		Reads: v.Reads, Commands: v.Commands, Organizations: v.Commands.Organizations, Configs: v.Commands.Configs,
		LookupKey: v.lookupKey, HashKey: v.Commands.Keys.Hash, Log: v.log,
		Version: c.Version, Checks: v.checks(), Limits: http.Limits{Body: c.MaxBody, Rate: c.rates()},
	})
	return v, nil
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
	if v.index, err = embedded.Open(v.dir.file("index"), embedded.Options{Prefix: v.prefix}); err != nil {
		return err
	}
	v.Reads.Directory, v.Reads.Documents, v.Reads.Objects, v.Reads.Batches, v.Reads.Traces =
		projections.NewDirectory(), projections.NewDocuments(), projections.NewObjects(), projections.NewBatches(), projections.NewTraces()
	v.Models = projections.NewRunner(v.Store, v.dir.file("models"), projections.Options{Logger: v.log})
	v.Models.Add(v.Reads.Directory, v.Reads.Documents, v.Reads.Objects, v.Reads.Batches)
	v.Models.AddIndex("index", v.index)
	v.Reads.Models = v.Models
	v.Reads.Executions = projections.NewRunner(v.Executed, v.dir.file("models"), projections.Options{Logger: v.log})
	v.Reads.Executions.Add(v.Reads.Traces)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	if err := v.Models.Start(run); err != nil {
		return err
	}
	return v.Reads.Executions.Start(run)
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
	v.running.Go(func() {
		if err := v.Commands.RunBatches(work, v.Config.Workers); err != nil {
			v.log.Error("batches do not run", slog.Any("error", err))
		}
	})
	server := &nethttp.Server{Handler: v.API.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug)}
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
		errs = append(errs, v.Models.Stop())
		v.stop()
	}
	if v.relayed != nil {
		v.stopRelay()
		errs = append(errs, <-v.relayed, v.publisher.Close())
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
	if v.Reads.Blobs != nil {
		errs = append(errs, v.Reads.Blobs.Close())
	}
	if v.dir != nil {
		errs = append(errs, v.dir.say(""), v.dir.release())
	}
	return errors.Join(errs...)
}

// lookupKey finds keys by their public prefix, once the directory knows what
// was acknowledged before.
func (v *Varve) lookupKey(ctx context.Context, prefix string) ([]http.KeyEntry, error) {
	if prefix == "" {
		return nil, nil
	}
	if err := v.Models.CatchUp(ctx, "directory"); err != nil {
		return nil, err
	}
	return http.FindKeys(v.Reads.Directory, v.Store)(ctx, prefix)
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
