package commands

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/bus"
)

// Topics says how customers' topics are reached. Fields are set before use and not changed.
type Topics struct {
	Bus          *bus.Kafka // the server's own, for topics that name no brokers; nil: there is none
	Reserved     []string   // topics of Varve itself, which nobody may read or write
	Open         []string   // patterns (path.Match) of the bus's topics that customers may name, {organization} standing for the id; none: all but Varve's
	AllowPrivate bool       // brokers may have private addresses
	Secret       []byte     // 32 bytes that passwords are sealed under, the same in every process; none: passwords are refused
	Random       io.Reader  // of nonces
	MaxBytes     int        // of a message; 0: 16 MiB
	// Namespaces lists all namespaces that were not deleted (projections).
	Namespaces func(context.Context) ([]TopicRef, error)

	mu      sync.Mutex
	running map[topicKey]*topicRun
	ending  sync.WaitGroup // all that were begun
}

// TopicRef names a topic, or, where TopicID is empty, a namespace that may have some.
type TopicRef struct {
	OrganizationID string
	Organization   eventstore.LogID
	Log            eventstore.LogID
	Shard          int
	TopicID        string
}

func (r TopicRef) system() In {
	return In{OrganizationID: r.OrganizationID, Organization: r.Organization, Log: r.Log, Shard: r.Shard, Actor: "system:topic:" + r.TopicID, Origin: "kafka"}
}

type topicKey struct {
	log eventstore.LogID
	id  string
}

// topicRun is a topic that is read here.
type topicRun struct {
	ref     TopicRef
	topic   domain.Topic
	source  *bus.Source
	err     error // why it cannot even be tried
	stop    context.CancelFunc
	stopped chan struct{}
}

// RunTopics reads the topics of all namespaces until ctx ends: those of buckets
// that exist, that are not paused, and that were made in this log and not before a
// branch of it. What is created, changed or deleted, by any process, begins or ends
// within seconds. Any number of processes may do this: Kafka shares the partitions among them.
func (h *Handler) RunTopics(ctx context.Context) error {
	if h.Topics == nil {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer h.Topics.stopAll()
	heads := make([]uint64, h.Store.Shards())
	for shard := range heads {
		var err error
		if heads[shard], err = h.Store.Head(ctx, shard); err != nil {
			return fmt.Errorf("read head of shard %d: %w", shard, err)
		}
	}
	if err := h.lookAtTopics(ctx, nil); err != nil {
		return err
	}
	for shard, after := range heads {
		running.Go(func() { h.followTopics(ctx, shard, after) })
	}
	<-ctx.Done()
	return nil
}

// followTopics watches a shard's feed for changes of configuration.
func (h *Handler) followTopics(ctx context.Context, shard int, after uint64) {
	changed := map[eventstore.LogID]bool{}
	for ctx.Err() == nil {
		var err error
		if len(changed) == 0 { // else a look that went wrong is due again
			err = h.Store.Wait(ctx, shard, after)
		}
		if err == nil {
			for r, readErr := range h.Store.Feed(ctx, shard, after, 1000) {
				if err = readErr; err != nil {
					break
				}
				after = r.Feed
				switch r.Type {
				case (*domain.TopicSaved)(nil).EventType(), (*domain.TopicDeleted)(nil).EventType(), (*domain.BucketDeleted)(nil).EventType(), (*domain.NamespaceClosed)(nil).EventType():
					changed[r.Log] = true
				}
			}
		}
		if err == nil && len(changed) > 0 {
			if err = h.lookAtTopics(ctx, changed); err == nil {
				clear(changed)
			}
		}
		if err != nil && ctx.Err() == nil {
			h.Log.Warn("changes of topics are not seen; it is tried again", slog.Int("shard", shard), slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// lookAtTopics begins and ends what the configurations of some logs (nil: all) say.
func (h *Handler) lookAtTopics(ctx context.Context, some map[eventstore.LogID]bool) error {
	namespaces, err := h.Topics.Namespaces(ctx)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	known := map[eventstore.LogID]bool{}
	for _, n := range namespaces {
		known[n.Log] = true
		if some != nil && !some[n.Log] {
			continue
		}
		wanted, err := h.wantedTopics(ctx, n)
		if err != nil {
			return err
		}
		h.arrange(ctx, n, wanted)
	}
	for log := range some {
		if !known[log] {
			h.arrange(ctx, TopicRef{Log: log}, nil)
		}
	}
	return nil
}

// wantedTopics are the topics of a namespace that are to be read.
func (h *Handler) wantedTopics(ctx context.Context, n TopicRef) (map[string]domain.Topic, error) {
	c, _, err := h.Configs.Head(ctx, n.Log)
	if err != nil || c.Closed || len(c.Topics) == 0 {
		return nil, err
	}
	forked, err := h.forkedAt(ctx, n.Log)
	if err != nil {
		return nil, err
	}
	wanted := map[string]domain.Topic{}
	for id, t := range c.Topics {
		if _, exists := c.Buckets[t.BucketID]; exists && !t.Paused && t.Created.Position > forked {
			wanted[id] = t
		}
	}
	return wanted, nil
}

// forkedAt is the position up to which a log is another one's: topics from
// there are read for that one, in the consumer group that both would have.
func (h *Handler) forkedAt(ctx context.Context, log eventstore.LogID) (uint64, error) {
	head, err := h.Store.LogHead(ctx, log)
	if err != nil {
		return 0, fmt.Errorf("read head of log: %w", err)
	}
	forked := uint64(0)
	for _, r := range head.Ranges {
		if r.UpTo != math.MaxUint64 {
			forked = r.UpTo
		}
	}
	return forked, nil
}

// arrange makes what runs of a namespace be what is wanted.
func (h *Handler) arrange(ctx context.Context, n TopicRef, wanted map[string]domain.Topic) {
	t := h.Topics
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		t.running = map[topicKey]*topicRun{}
	}
	for key, run := range t.running {
		if key.log != n.Log {
			continue
		}
		if now, stays := wanted[key.id]; !stays {
			run.stop()
			delete(t.running, key)
		} else if now.Updated.Version == run.topic.Updated.Version {
			delete(wanted, key.id)
		}
	}
	if ctx.Err() != nil {
		return
	}
	for id, topic := range wanted {
		ref := n
		ref.TopicID = id
		key := topicKey{n.Log, id}
		t.running[key] = h.begin(ctx, ref, topic, t.running[key])
	}
}

// begin reads a topic, once an older reading of it has ended.
func (h *Handler) begin(ctx context.Context, ref TopicRef, topic domain.Topic, before *topicRun) *topicRun {
	run := &topicRun{ref: ref, topic: topic, stopped: make(chan struct{})}
	ctx, run.stop = context.WithCancel(ctx)
	log := h.Log.With(slog.String("topic_id", ref.TopicID), slog.String("topic", topic.Topic))
	k, err := h.Topics.kafka(topic)
	run.source = &bus.Source{Kafka: k, Group: topic.Group, DeadLetter: topic.DeadLetter, Latest: topic.From == "latest", MaxBytes: h.Topics.MaxBytes, Logger: log,
		Handle: func(ctx context.Context, m bus.Incoming) error { return h.TakeMessage(ctx, ref, m) }}
	if before != nil {
		before.stop()
	}
	if run.err = err; err != nil {
		log.Error("a topic is not read", slog.Any("error", err))
	}
	h.Topics.ending.Go(func() {
		defer close(run.stopped)
		defer run.stop()
		if before != nil {
			<-before.stopped
		}
		if err == nil {
			err = run.source.Run(ctx)
		}
		if err != nil && run.err == nil {
			log.Error("a topic is not read", slog.Any("error", err))
		}
	})
	return run
}

// stopAll ends everything that is read here, and waits for it.
func (t *Topics) stopAll() {
	t.mu.Lock()
	all := t.running
	t.running = nil
	t.mu.Unlock()
	for _, run := range all {
		run.stop()
	}
	t.ending.Wait()
}

func (r *topicRun) progress() bus.Progress {
	p := r.source.Progress()
	if r.err != nil {
		p.Err = r.err
	}
	return p
}

// TopicState is how a topic gets on in this process.
type TopicState struct {
	TopicRef
	Topic domain.Topic
	bus.Progress
}

// States tells of every topic that is read here, without asking any cluster: for
// metrics. The lag is of the partitions that Kafka gave to this process.
func (t *Topics) States() []TopicState {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]TopicState, 0, len(t.running))
	for _, run := range t.running {
		all = append(all, TopicState{run.ref, run.topic, run.progress()})
	}
	return all
}

// Lag asks the topic's cluster how far its group is, within ctx; running tells
// whether this process reads it, and how that gets on.
func (t *Topics) Lag(ctx context.Context, log eventstore.LogID, topic domain.Topic) (lag []bus.PartitionLag, running *bus.Progress, err error) {
	if t == nil {
		return nil, nil, domain.Errorf(domain.CodeUnsupported, "this server takes no messages from topics")
	}
	t.mu.Lock()
	if run := t.running[topicKey{log, topic.TopicID}]; run != nil {
		p := run.progress()
		running = &p
	}
	t.mu.Unlock()
	k, err := t.kafka(topic)
	if err != nil {
		return nil, running, err
	}
	lag, err = k.Lag(ctx, topic.Group)
	return lag, running, err
}
