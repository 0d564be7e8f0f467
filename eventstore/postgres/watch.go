package postgres

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// listener hears of commits, in one goroutine from OpenEngine to Close.
type listener struct {
	conn   *pgx.Conn // nil: notifications do not arrive, the heads are looked at
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	watch  []func(shard int, feed uint64)
	polls  atomic.Int64
}

// lookAfter is after how long without a notification the heads are looked at: a
// process that ends between a commit and its notification is not heard.
const lookAfter = time.Second

// Watch calls fn after commits of any process.
func (e *Engine) Watch(fn func(shard int, feed uint64)) {
	e.listen.mu.Lock()
	defer e.listen.mu.Unlock()
	e.listen.watch = append(e.listen.watch, fn)
}

// hear finds out whether notifications arrive, and starts the listener.
func (e *Engine) hear(ctx context.Context) error {
	l := &e.listen
	c, err := e.subscribe(ctx)
	if err != nil {
		return err
	}
	l.conn = c
	if !e.hears(ctx, c) {
		l.conn = nil
		_ = c.Close(ctx) // it was of no use
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel, l.done = cancel, make(chan struct{})
	go func() {
		defer close(l.done)
		if l.conn == nil {
			e.pollOnly(running)
			return
		}
		e.hearOn(running)
	}()
	return nil
}

func (l *listener) end() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
}

func (e *Engine) subscribe(ctx context.Context) (*pgx.Conn, error) {
	return Listen(ctx, e.config.ConnConfig, e.sql.channel)
}

// hears says whether notifications of this process arrive at its listener.
func (e *Engine) hears(ctx context.Context, c *pgx.Conn) bool {
	return !e.deaf && Hears(ctx, c, e.sql.channel, func(ctx context.Context, statement string, args ...any) error {
		_, err := e.writes.Exec(ctx, statement, args...)
		return err
	})
}

func (e *Engine) pollOnly(ctx context.Context) {
	for pause(ctx, e.opts.Poll) == nil {
		e.heads(ctx)
	}
}

// hearOn waits for notifications. After a lost connection, and now and then, it
// looks at the heads, as what was said meanwhile was not heard.
func (e *Engine) hearOn(ctx context.Context) {
	c := e.listen.conn
	defer func() {
		if c != nil {
			_ = c.Close(context.WithoutCancel(ctx)) // nothing waits for it
		}
	}()
	for ctx.Err() == nil {
		if c == nil {
			if pause(ctx, e.opts.Poll) != nil {
				return
			}
			c, _ = e.subscribe(ctx) // until the server is there again, looking fails too
			e.heads(ctx)
			continue
		}
		bounded, stop := context.WithTimeout(ctx, e.lookAfter)
		n, err := c.WaitForNotification(bounded)
		stop()
		switch {
		case err == nil:
			e.tell(n.Payload)
		case pgconn.Timeout(err) && !c.IsClosed() && ctx.Err() == nil:
			e.heads(ctx)
		default:
			_ = c.Close(context.WithoutCancel(ctx)) // it is broken, or the engine closes
			c = nil
		}
	}
}

func (e *Engine) tell(payload string) {
	first, second, _ := strings.Cut(payload, " ")
	shard, err1 := strconv.Atoi(first)
	feed, err2 := strconv.ParseUint(second, 10, 64)
	if err1 == nil && err2 == nil && shard >= 0 && shard < e.shards {
		e.call(shard, feed)
	}
}

func (e *Engine) call(shard int, feed uint64) {
	e.listen.mu.Lock()
	watch := e.listen.watch
	e.listen.mu.Unlock()
	for _, fn := range watch {
		fn(shard, feed)
	}
}

// heads tells the watchers where all heads are.
func (e *Engine) heads(ctx context.Context) {
	e.listen.polls.Add(1)
	at := map[int]uint64{}
	// What cannot be read now is read the next time.
	if err := e.reads.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		return each(ctx, c.Conn(), func(v [][]byte) error {
			at[int(toInt(v[0]))] = toUint(v[1])
			return nil
		}, "SELECT shard, feed FROM "+e.opts.Schema+".heads")
	}); err != nil {
		return
	}
	for shard, feed := range at {
		e.call(shard, feed)
	}
}
