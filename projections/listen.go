package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"varve/eventstore/follow"
	"varve/eventstore/postgres"
)

// hub is a runner's one connection that hears what other processes applied, and
// that holds the tables which this process reads, so that nobody drops them.
type hub struct {
	d       *database
	channel string
	cancel  context.CancelFunc
	done    chan struct{}
	deaf    atomic.Bool  // notifications do not arrive: everybody looks
	waiting atomic.Int64 // how many wait for something to be applied

	mu       sync.Mutex
	watchers map[string]map[*watcher]bool // by schema and shard
	changed  map[string]chan struct{}     // by base: what serves may have changed
	held     map[string]int               // schemas
	jobs     []*job
	wake     context.CancelFunc // of the waiting for a notification
}

// job is something done on the hub's connection.
type job struct {
	ctx  context.Context
	do   func(ctx context.Context, c *pgx.Conn) error
	done chan error
}

// watcher wants to know of one shard of one schema.
type watcher struct {
	wake chan struct{} // has room for one
	mu   sync.Mutex
	at   follow.Checkpoint
	look bool // what was said is not enough: read it
}

const (
	lookAlways  = 5 * time.Second        // how often is looked even where notifications arrive
	lookWaiting = 50 * time.Millisecond  // where they do not, while somebody waits
	lookIdle    = 500 * time.Millisecond // and while nobody does
)

func listen(ctx context.Context, d *database) (*hub, error) {
	h := &hub{d: d, channel: d.prefix, done: make(chan struct{}), watchers: map[string]map[*watcher]bool{}, changed: map[string]chan struct{}{}, held: map[string]int{}}
	c, err := h.connect(ctx)
	if err != nil {
		return nil, err
	}
	h.deaf.Store(!h.hears(ctx, c))
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	go h.run(running, c)
	return h, nil
}

func (h *hub) end() {
	h.cancel()
	<-h.done
}

// connect makes the connection, listens and holds again what was held.
func (h *hub) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	c, err := postgres.Listen(ctx, h.d.config, h.channel)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	held := maps.Clone(h.held)
	h.mu.Unlock()
	for schema, n := range held {
		if _, err = c.Exec(ctx, `SELECT pg_advisory_lock_shared($1) FROM generate_series(1, $2)`, advisory(schema), n); err != nil {
			_ = c.Close(ctx) // the first error says more
			return nil, err
		}
	}
	return c, nil
}

// hears says whether notifications of this process arrive at its hub.
func (h *hub) hears(ctx context.Context, c *pgx.Conn) bool {
	return !h.d.deaf && postgres.Hears(ctx, c, h.channel, func(ctx context.Context, statement string, args ...any) error {
		_, err := h.d.write.ExecContext(ctx, statement, args...)
		return err
	})
}

// run waits for notifications and does jobs between them, on a connection that is
// made anew when it is lost: what was said meanwhile is then looked up.
func (h *hub) run(ctx context.Context, c *pgx.Conn) {
	defer close(h.done)
	defer func() {
		if c != nil {
			_ = c.Close(context.WithoutCancel(ctx)) // nothing waits for it
		}
		h.drain(context.Cause(ctx))
	}()
	for ctx.Err() == nil {
		if c == nil || c.IsClosed() {
			var err error
			if c, err = h.connect(ctx); err != nil {
				c = nil
				pause(ctx, 100*time.Millisecond)
				continue
			}
			h.everybodyLooks()
		}
		h.mu.Lock()
		jobs := h.jobs
		h.jobs = nil
		waiting, wake := context.WithTimeout(ctx, lookAlways)
		h.wake = wake
		h.mu.Unlock()
		for _, j := range jobs {
			bounded, stop := context.WithTimeout(j.ctx, 30*time.Second)
			j.done <- j.do(bounded, c)
			stop()
			wake()
		}
		if len(jobs) > 0 {
			continue
		}
		n, err := c.WaitForNotification(waiting)
		wake()
		switch {
		case err == nil:
			if !h.deaf.Load() {
				h.tell(n.Payload)
			}
		case !c.IsClosed() && (pgconn.Timeout(err) || errors.Is(err, context.Canceled)):
		default:
			_ = c.Close(context.WithoutCancel(ctx)) // it is broken, or the hub ends
		}
	}
}

func (h *hub) drain(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, j := range h.jobs {
		j.done <- err
	}
	h.jobs = nil
}

// do runs something on the hub's connection.
func (h *hub) do(ctx context.Context, do func(ctx context.Context, c *pgx.Conn) error) error {
	j := &job{ctx, do, make(chan error, 1)}
	h.mu.Lock()
	h.jobs = append(h.jobs, j)
	if h.wake != nil {
		h.wake()
	}
	h.mu.Unlock()
	select {
	case err := <-j.done:
		return err
	case <-h.done:
		return errors.New("the read models are closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold keeps a schema from being dropped, also by other processes, until release.
// It is counted where it is locked: with the connection, which takes both anew.
func (h *hub) hold(ctx context.Context, schema string) error {
	return h.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, `SELECT pg_advisory_lock_shared($1)`, advisory(schema)); err != nil {
			return err
		}
		h.count(schema, 1)
		return nil
	})
}

// release lets go of a schema, also where ctx has ended.
func (h *hub) release(ctx context.Context, schema string) {
	forget := sync.OnceFunc(func() { h.count(schema, -1) }) // also where the connection is gone, and the lock with it
	defer forget()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	_ = h.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		forget()
		_, err := c.Exec(ctx, `SELECT pg_advisory_unlock_shared($1)`, advisory(schema))
		return err
	})
}

func (h *hub) count(schema string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[schema] += n; h.held[schema] <= 0 {
		delete(h.held, schema)
	}
}

// moved is what a move says of itself.
func moved(schema string, m follow.Move) string {
	text := fmt.Sprintf("%s %d %d %s %s", schema, m.Shard, m.To.Feed, m.To.Record, m.To.Hash)
	if len(m.Park)+len(m.Unpark) > 0 {
		text += " parked"
	}
	return text
}

// tell wakes who wants to know of a notification.
func (h *hub) tell(payload string) {
	words := strings.Fields(payload)
	if len(words) == 2 && words[0] == "serving" {
		h.signal(words[1])
		return
	}
	if len(words) < 5 {
		return
	}
	at, ok := parseCheckpoint(words[2], words[3], words[4])
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers[words[0]+" "+words[1]] {
		w.tell(at, !ok || len(words) > 5)
	}
}

func parseCheckpoint(feed, record, hash string) (c follow.Checkpoint, ok bool) {
	n, err := strconv.ParseUint(feed, 10, 64)
	if err != nil {
		return c, false
	}
	c, err = checkpointOf(n, record, hash)
	return c, err == nil
}

func (w *watcher) tell(at follow.Checkpoint, look bool) {
	w.mu.Lock()
	w.look = w.look || look
	if at.Feed > w.at.Feed {
		w.at = at
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (h *hub) everybodyLooks() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ws := range h.watchers {
		for w := range ws {
			w.tell(follow.Checkpoint{}, true)
		}
	}
	for _, c := range h.changed {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// wait is called by who waits for something to be applied; the function that it gives ends that.
func (h *hub) wait() func() {
	h.waiting.Add(1)
	if h.deaf.Load() {
		h.everybodyLooks()
	}
	return func() { h.waiting.Add(-1) }
}

// changes tells that what serves a base may have changed.
func (h *hub) changes(base string) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed[base] == nil {
		h.changed[base] = make(chan struct{}, 1)
	}
	return h.changed[base]
}

func (h *hub) signal(base string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.changed[base]; c != nil {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// interval is how long to rely on notifications.
func (h *hub) interval() time.Duration {
	switch {
	case !h.deaf.Load():
		return lookAlways
	case h.waiting.Load() > 0:
		return lookWaiting
	}
	return lookIdle
}

// sharedConsumer is a consumer whose state other processes move, too.
type sharedConsumer struct {
	sqlConsumer
	hub *hub
}

// Load reads checkpoint and parked streams. Tables that were superseded have
// none, and the model goes on with those that serve.
func (c *sharedConsumer) Load(ctx context.Context, shard int) (follow.State, error) {
	s, err := c.sqlConsumer.Load(ctx, shard)
	if errors.Is(err, errSuperseded) || isGone(err) {
		c.hub.signal(base(c.p))
	}
	return s, err
}

// Watch tells what others applied: see follow.Watcher.
func (c *sharedConsumer) Watch(ctx context.Context, shard int, seen func(follow.State)) error {
	w := &watcher{wake: make(chan struct{}, 1)}
	key := fmt.Sprintf("%s %d", c.f.path, shard)
	c.hub.mu.Lock()
	if c.hub.watchers[key] == nil {
		c.hub.watchers[key] = map[*watcher]bool{}
	}
	c.hub.watchers[key][w] = true
	c.hub.mu.Unlock()
	defer func() {
		c.hub.mu.Lock()
		delete(c.hub.watchers[key], w)
		c.hub.mu.Unlock()
	}()
	state, err := c.Load(ctx, shard)
	if err != nil {
		return err
	}
	seen(state)
	for {
		timed := false
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-time.After(c.hub.interval()):
			timed = true
		}
		w.mu.Lock()
		at, look := w.at, w.look
		w.look = false
		w.mu.Unlock()
		switch {
		case look || timed:
			fresh, err := c.Load(ctx, shard)
			if errors.Is(err, errSuperseded) {
				continue // until the model has gone on
			}
			if err != nil {
				return err
			}
			state = fresh
		case at.Feed > state.Checkpoint.Feed:
			state.Checkpoint = at
		default:
			continue
		}
		seen(state)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
