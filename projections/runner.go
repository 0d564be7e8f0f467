package projections

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Index is a model outside SQLite that follows the same feed: the in-process
// vector index. It keeps its own place and is given every record of the shards
// from the place it names.
type Index interface {
	// Apply folds a page; it is called with pages in feed order, one at a time per
	// shard. A page that gave an error comes again, in parts: what of it was
	// folded already must do no harm.
	Apply(ctx context.Context, shard int, page []eventstore.Record) error
	// Applied is the feed position up to which records are folded. It is asked
	// when following begins.
	Applied(shard int) uint64
}

// Options of a Runner. The zero value is ready.
type Options struct {
	Logger *slog.Logger
	Lease  follow.Lease
	// PinWait is how long Pin waits; 0 means 2 s.
	PinWait time.Duration
	// PageSize is how many records one transaction takes at most; 0 means 16,000,
	// in pages of 1,000.
	PageSize int
	// Now is the clock by which lag is measured; nil: time.Now.
	Now func() time.Time
	// Observe is told of every page that is applied while following; may be nil.
	Observe follow.Observer
	// Database is the DSN of the PostgreSQL database that keeps the models; empty:
	// they are files. Any number of processes share a database, and what one of them
	// applied is seen by all: who has the Lease of a model's shard applies it.
	Database string
	// Schema is the schema of the database in which stands what serves, and how the
	// names of the models' schemas begin ("": varve_models). Runners of different
	// stores in one database have different ones.
	Schema string
	// Feed is where followers take records from; nil: the store. It may be later than
	// the store, which always tells what is the newest.
	Feed eventstore.Follower
	// Standby only reads: it applies nothing, and builds what Rebuild asks for only.
	Standby bool
}

// Runner runs the projections and indexes of one store: it keeps one SQLite
// file per projection and version in a directory, follows every shard and tells
// where each model is. Add and AddIndex come before Start; everything else is
// safe for concurrent use.
type Runner struct {
	store    eventstore.Follower
	dir      string
	o        Options
	models   []*model
	heads    heads
	database *database // nil: files in dir

	mu      sync.Mutex // starting, stopping and rebuilding
	started bool
	running sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context
}

// NewRunner makes a runner that keeps one file per projection and version under
// dir, or, where the options name a database, schemas there; dir is then not used.
func NewRunner(store eventstore.Follower, dir string, o Options) *Runner {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Lease == nil {
		o.Lease = &follow.Process{}
	}
	if o.PinWait == 0 {
		o.PinWait = 2 * time.Second
	}
	if o.PageSize == 0 {
		o.PageSize = transactionPage
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Feed == nil {
		o.Feed = store
	}
	r := &Runner{store: store, dir: dir, o: o}
	if o.Database != "" {
		if r.o.Schema == "" {
			r.o.Schema = defaultModelSchema
		}
		r.database = &database{dsn: o.Database, prefix: r.o.Schema, r: r}
	}
	return r
}

// Add adds projections, before Start. Two of one name panic.
func (r *Runner) Add(ps ...Projection) {
	for _, p := range ps {
		m := r.add(p.Name())
		m.p, m.database = p, r.database
		if b, ok := p.(interface{ bind(*model) }); ok {
			b.bind(m)
		}
	}
}

// AddIndex adds an index under a name, before Start.
func (r *Runner) AddIndex(name string, ix Index) { r.add(name).ix = ix }

func (r *Runner) add(name string) *model {
	if _, err := r.model(name); err == nil {
		panic("two models are called " + name)
	}
	m := &model{name: name, building: make(chan struct{}, 1), ready: make(chan struct{})}
	r.models = append(r.models, m)
	return m
}

func (r *Runner) model(name string) (*model, error) {
	for _, m := range r.models {
		if m.name == name {
			return m, nil
		}
	}
	names := make([]string, len(r.models))
	for i, m := range r.models {
		names[i] = m.name
	}
	return nil, fmt.Errorf("no model is called %q: there are %s", name, strings.Join(names, ", "))
}

// path is where a projection's file lies. It names the tables too, by a digest
// of their statements: what was made with others is not taken for this version.
func (r *Runner) path(p Projection) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s.v%d-%x.db", p.Name(), p.Version(), tablesDigest(p)))
}

func tablesDigest(p Projection) []byte {
	sum := sha256.Sum256([]byte(strings.Join(p.Schema(), ";")))
	return sum[:4]
}

// Start opens the files and follows every shard until Stop. A projection whose
// file is new is filled first, in the background. A checkpoint that names another
// record than the store holds is refused (*follow.CheckpointError): then nothing runs.
func (r *Runner) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return errors.New("the runner was started before")
	}
	if r.database != nil {
		if err := r.database.start(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, m := range r.models {
		if err := r.open(ctx, m); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, r.close())
	}
	r.started = true
	r.ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, m := range r.models {
		r.run(m)
	}
	return nil
}

// open opens a model's file, drops those of other versions, and compares its places with the store.
func (r *Runner) open(ctx context.Context, m *model) error {
	if m.p == nil {
		return nil
	}
	if r.database != nil {
		return r.database.openModel(ctx, m)
	}
	path := r.path(m.p)
	if err := r.adopt(ctx, m.p, path); err != nil {
		return err
	}
	f, err := openFile(ctx, path, m.p)
	if err != nil {
		return err
	}
	m.tables = f
	if err := r.check(ctx, m, f); err != nil {
		return fmt.Errorf("open %s: %w", m.name, err)
	}
	filled, err := f.state(ctx, "filled")
	if err != nil {
		return fmt.Errorf("open %s: %w", m.name, err)
	}
	m.filled = filled != ""
	if !m.filled && r.empty(ctx) {
		if err := f.finish(ctx, m.p); err != nil {
			return err
		}
		m.filled = true
	}
	return r.dropOthers(m.p)
}

// empty says whether the store has no records.
func (r *Runner) empty(ctx context.Context) bool {
	for shard := range r.store.Shards() {
		if head, err := r.store.Head(ctx, shard); err != nil || head > 0 {
			return false
		}
	}
	return true
}

// dropOthers unlinks the files of other versions and tables of a projection.
func (r *Runner) dropOthers(p Projection) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("list projections: %w", err)
	}
	own := filepath.Base(r.path(p))
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".rebuild")
		if !strings.HasPrefix(name, p.Name()+".v") || !strings.HasSuffix(name, ".db") || name == own {
			continue
		}
		if err := removeFile(filepath.Join(r.dir, e.Name())); err != nil {
			return fmt.Errorf("drop old version of %s: %w", p.Name(), err)
		}
	}
	return nil
}

// run starts following for a model: first it is filled, if it is new.
func (r *Runner) run(m *model) {
	if m.p != nil && m.tables == nil && r.database == nil {
		m.fail(fmt.Errorf("%s has no file: its exchange was interrupted; start again", m.name))
		return
	}
	ctx, stop := context.WithCancel(r.ctx)
	fs := r.followersOf(m)
	m.begin(fs, stop)
	if m.p != nil && r.database == nil && !m.filled {
		m.progress(0, 0, 0) // from now on, so that nobody takes it for complete
	}
	r.running.Go(func() {
		defer m.ended()
		if m.p != nil && r.database != nil {
			r.database.run(ctx, m, fs)
			return
		}
		if m.p != nil && !m.filled {
			err := r.first(ctx, m)
			if ctx.Err() != nil {
				return
			}
			m.filling.Store(nil)
			if err != nil {
				m.fail(err)
				r.o.Logger.Error("a read model could not be filled", "model", m.name, "error", err)
				return
			}
		}
		if m.p != nil {
			for _, f := range fs {
				f.Consumer = &sqlConsumer{f: m.tables, p: m.p}
			}
		}
		r.followAll(ctx, m, fs)()
	})
}

// followAll runs followers; the function that it gives waits for them.
func (r *Runner) followAll(ctx context.Context, m *model, fs []*follow.Follower) (wait func()) {
	var running sync.WaitGroup
	for _, f := range fs {
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				m.fail(err)
				r.o.Logger.Error("a read model stands still", "model", m.name, "shard", f.Shard, "error", err)
			}
		})
	}
	return running.Wait
}

func (r *Runner) follower(m *model, shard int) *follow.Follower {
	f := &follow.Follower{Store: r.o.Feed, Shard: shard, Name: m.name, Lease: r.o.Lease, Logger: r.o.Logger, Now: r.o.Now, PageSize: r.o.PageSize, Observe: r.o.Observe}
	if m.p != nil {
		f.Types = m.p.Handles()
	} else {
		f.Consumer = &indexConsumer{ix: m.ix}
	}
	if r.database != nil {
		if m.p != nil {
			f.Lease, f.Standby = versioned{r.o.Lease, base(m.p)}, r.o.Standby
		} else {
			f.Lease = nil // every process has an index of its own
		}
	}
	if m == r.seeing() {
		f.Saw = r.heads.saw
	}
	return f
}

func (r *Runner) followersOf(m *model) []*follow.Follower {
	fs := make([]*follow.Follower, r.store.Shards())
	for shard := range fs {
		fs[shard] = r.follower(m, shard)
	}
	return fs
}

// seeing is the model whose followers see every record that there is, and so
// remember the heads of logs; nil where there is none. Where other processes
// append there is more than this one has heard of.
func (r *Runner) seeing() *model {
	if r.database != nil || len(r.models) == 0 {
		return nil
	}
	return r.models[0]
}

// Stop ends following after the pages that are being applied, and closes the files.
func (r *Runner) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		return nil
	}
	r.started = false
	r.stop()
	r.running.Wait()
	return r.close()
}

func (r *Runner) close() error {
	var errs []error
	for _, m := range r.models {
		errs = append(errs, m.close())
	}
	if r.database != nil {
		errs = append(errs, r.database.stop())
	}
	return errors.Join(errs...)
}

// Retry applies a parked stream of a model again; an empty stream means a whole log.
// Errors are those of follow.Follower.Retry, and follow.ErrStandby where another
// process applies the shard. A model that is busy is waited for until ctx ends; what
// was begun then is finished.
func (r *Runner) Retry(ctx context.Context, name string, shard int, k follow.Key, position uint64) error {
	f, err := r.followerOf(name, shard)
	if err != nil {
		return err
	}
	return f.Retry(ctx, k, position)
}

// Skip leaves out, for good, the event that parked a stream of a model, and goes on with what follows it.
// Building the model anew tries the event again. Errors as of Retry.
func (r *Runner) Skip(ctx context.Context, name string, shard int, k follow.Key, position uint64) error {
	f, err := r.followerOf(name, shard)
	if err != nil {
		return err
	}
	return f.Skip(ctx, k, position)
}

func (r *Runner) followerOf(name string, shard int) (*follow.Follower, error) {
	m, err := r.model(name)
	if err != nil {
		return nil, err
	}
	fs := m.followers()
	if shard < 0 || shard >= len(fs) {
		return nil, fmt.Errorf("%s follows %d shards: there is no shard %d", name, len(fs), shard)
	}
	return fs[shard], nil
}
