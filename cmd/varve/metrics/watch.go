package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/projections"
)

// Sources are what is looked up for a scrape. What is nil is left out.
type Sources struct {
	Stores  map[string]eventstore.Follower // log, executions
	Models  func() []projections.ModelStatus
	Relays  map[string][]*follow.Follower                         // log, executions
	Batches func(context.Context) ([]projections.BatchRow, error) // the active ones
	Index   func(context.Context) (Index, error)
	Topics  func() Topics
	Health  func(context.Context) map[string]string // reasons by dependency; "": none
}

// Topics sums up the customers' topics that a process reads.
type Topics struct {
	Reading, Failing int
	Taken, Refused   uint64
	Lag              int64
}

// Index is what an index holds in memory.
type Index struct {
	Namespaces            []IndexedNamespace
	UsedBytes, CacheBytes int64
}

// IndexedNamespace is one namespace's part of an index, in bytes of memory and of segments.
type IndexedNamespace struct {
	Name            string
	Memory, Bytes   int64
	Rows            int
	Loaded, Loading bool
}

// lookupTime bounds how long a scrape waits for one group; health checks have a
// bound of their own, which must come first.
const lookupTime = 2500 * time.Millisecond

// Watch looks sources up for every scrape from now on. It is called once.
func (m *Metrics) Watch(s Sources) {
	m.watched.Do(func() {
		w := &watch{}
		w.add("feed", len(s.Stores) > 0, func(ctx context.Context) ([]prometheus.Metric, error) { return heads(ctx, s.Stores) }, feedHead)
		w.add("models", s.Models != nil, func(context.Context) ([]prometheus.Metric, error) { return models(s.Models()), nil },
			modelApplied, modelLag, modelSeconds, modelParked, modelFailing, modelFilling, modelRate, modelRebuild, modelBuilt)
		w.add("relay", len(s.Relays) > 0, func(ctx context.Context) ([]prometheus.Metric, error) { return relays(ctx, s.Relays) }, relayPosition, relayLag, relaySeconds, relayFailing)
		w.add("batches", s.Batches != nil, func(ctx context.Context) ([]prometheus.Metric, error) { return batches(ctx, s.Batches) }, batchesActive, batchObjects)
		w.add("topics", s.Topics != nil, func(context.Context) ([]prometheus.Metric, error) { return topics(s.Topics()), nil }, topicsRead, topicMessages, topicLag)
		w.add("index", s.Index != nil, func(ctx context.Context) ([]prometheus.Metric, error) { return index(ctx, s.Index) }, indexMemory, indexBytes, indexRows, indexUsed, indexCache, indexNamespaces)
		w.add("health", s.Health != nil, func(ctx context.Context) ([]prometheus.Metric, error) {
			var out []prometheus.Metric
			for name, why := range s.Health(ctx) {
				out = append(out, dependencyUp.is(flag(why == ""), name))
			}
			return out, nil
		}, dependencyUp)
		m.registry.MustRegister(w)
	})
}

// watch collects groups of metrics, each for itself, so that one whose source
// hangs takes no other with it.
type watch struct{ groups []*group }

type group struct {
	name   string
	lookup func(context.Context) ([]prometheus.Metric, error)
	descs  []*prometheus.Desc

	mu      sync.Mutex
	running chan struct{} // closed when the lookup under way ends; nil: none is
	began   time.Time
	found   []prometheus.Metric
	err     error
}

func (w *watch) add(name string, there bool, lookup func(context.Context) ([]prometheus.Metric, error), ds ...*definition) {
	if !there {
		return
	}
	g := &group{name: name, lookup: lookup}
	for _, d := range ds {
		g.descs = append(g.descs, d.desc)
	}
	w.groups = append(w.groups, g)
}

func (w *watch) Describe(ch chan<- *prometheus.Desc) {
	ch <- collectorUp.desc
	for _, g := range w.groups {
		for _, d := range g.descs {
			ch <- d
		}
	}
}

func (w *watch) Collect(ch chan<- prometheus.Metric) {
	var asking sync.WaitGroup
	for _, g := range w.groups {
		asking.Go(func() {
			found, err := g.ask()
			ch <- collectorUp.is(flag(err == nil), g.name)
			for _, m := range found {
				ch <- m
			}
		})
	}
	asking.Wait()
}

// ask looks up, or waits for the lookup that is under way: a source that hangs is
// asked once.
func (g *group) ask() ([]prometheus.Metric, error) {
	g.mu.Lock()
	if g.running == nil {
		g.running, g.began = make(chan struct{}), time.Now()
		go g.run(g.running)
	}
	running, began := g.running, g.began
	g.mu.Unlock()
	left := time.NewTimer(lookupTime - time.Since(began))
	defer left.Stop()
	select {
	case <-running:
	case <-left.C:
		return nil, context.DeadlineExceeded
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.found, g.err
}

func (g *group) run(running chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := g.safely(ctx)
	if err != nil {
		found = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found, g.err, g.running = found, err, nil
	close(running)
}

func (g *group) safely(ctx context.Context) (found []prometheus.Metric, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("look up %s: panic: %v", g.name, x)
		}
	}()
	return g.lookup(ctx)
}

func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func heads(ctx context.Context, stores map[string]eventstore.Follower) (out []prometheus.Metric, err error) {
	for name, s := range stores {
		for shard := range s.Shards() {
			head, err := s.Head(ctx, shard)
			if err != nil {
				return nil, err
			}
			out = append(out, feedHead.is(float64(head), name, strconv.Itoa(shard)))
		}
	}
	return out, nil
}

func models(all []projections.ModelStatus) (out []prometheus.Metric) {
	for _, s := range all {
		shard := strconv.Itoa(s.Shard)
		out = append(out, modelApplied.is(float64(s.Applied), s.Model, shard), modelLag.is(float64(s.Lag), s.Model, shard), modelSeconds.is(s.LagSeconds, s.Model, shard),
			modelParked.is(float64(len(s.Parked)), s.Model, shard), modelFailing.is(flag(s.Err != ""), s.Model, shard), modelFilling.is(flag(s.Filling), s.Model, shard),
			modelRate.is(s.Rate, s.Model, shard), modelRebuild.is(flag(s.Rebuilding), s.Model, shard), modelBuilt.is(s.Built, s.Model, shard))
	}
	return out
}

func relays(ctx context.Context, all map[string][]*follow.Follower) (out []prometheus.Metric, err error) {
	for store, followers := range all {
		for _, f := range followers {
			shard, at := strconv.Itoa(f.Shard), f.Applied()
			head, err := f.Store.Head(ctx, f.Shard)
			if err != nil {
				return nil, err
			}
			lag, age := head-min(head, at), 0.0
			if lag > 0 {
				for r, err := range f.Store.Feed(ctx, f.Shard, at, 1) {
					if err == nil {
						age = max(0, time.Since(r.Time).Seconds())
					}
				}
			}
			out = append(out, relayPosition.is(float64(at), store, shard), relayLag.is(float64(lag), store, shard),
				relaySeconds.is(age, store, shard), relayFailing.is(flag(f.Err() != nil), store, shard))
		}
	}
	return out, nil
}

func batches(ctx context.Context, active func(context.Context) ([]projections.BatchRow, error)) ([]prometheus.Metric, error) {
	rows, err := active(ctx)
	if err != nil {
		return nil, err
	}
	pending, done, failed := 0, 0, 0
	for i := range rows {
		pending += max(0, rows[i].Total-rows[i].Processed)
		done += max(0, rows[i].Processed-rows[i].Failed)
		failed += rows[i].Failed
	}
	return []prometheus.Metric{batchesActive.is(float64(len(rows))), batchObjects.is(float64(pending), "pending"),
		batchObjects.is(float64(done), "done"), batchObjects.is(float64(failed), "failed")}, nil
}

// named is how many namespaces are told apart.
const named = 50

func index(ctx context.Context, look func(context.Context) (Index, error)) ([]prometheus.Metric, error) {
	x, err := look(ctx)
	if err != nil {
		return nil, err
	}
	out := []prometheus.Metric{indexUsed.is(float64(x.UsedBytes)), indexCache.is(float64(x.CacheBytes))}
	all := slices.Clone(x.Namespaces)
	slices.SortFunc(all, func(a, b IndexedNamespace) int {
		return cmp.Or(cmp.Compare(b.Memory+b.Bytes, a.Memory+a.Bytes), cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Name, b.Name))
	})
	show := func(n IndexedNamespace) {
		out = append(out, indexMemory.is(float64(n.Memory), n.Name), indexBytes.is(float64(n.Bytes), n.Name), indexRows.is(float64(n.Rows), n.Name))
	}
	states, rest := map[string]int{"loaded": 0, "loading": 0, "not_loaded": 0}, IndexedNamespace{Name: "other"}
	for i, n := range all {
		switch {
		case n.Loaded:
			states["loaded"]++
		case n.Loading:
			states["loading"]++
		default:
			states["not_loaded"]++
		}
		if i < named {
			show(n)
			continue
		}
		rest.Memory, rest.Bytes, rest.Rows = rest.Memory+n.Memory, rest.Bytes+n.Bytes, rest.Rows+n.Rows
	}
	if len(all) > named {
		show(rest)
	}
	for state, n := range states {
		out = append(out, indexNamespaces.is(float64(n), state))
	}
	return out, nil
}

func topics(t Topics) []prometheus.Metric {
	return []prometheus.Metric{topicsRead.is(float64(t.Reading), "reading"), topicsRead.is(float64(t.Failing), "failing"),
		topicMessages.is(float64(t.Taken), "taken"), topicMessages.is(float64(t.Refused), "refused"), topicLag.is(float64(t.Lag))}
}
