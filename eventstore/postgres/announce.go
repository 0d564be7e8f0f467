package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// announcer tells other processes of commits, in one goroutine from OpenEngine to
// Close. It does so beside the commits and not for each: a notification in a
// commit's own transaction holds a lock of the whole database until the disk has
// the commit, and wakes all who listen.
type announcer struct {
	mu     sync.Mutex
	feeds  map[int]uint64 // newest position of shards that have something to be told
	told   map[int]uint64 // the one before
	wake   chan struct{}  // capacity 1
	cancel context.CancelFunc
	done   chan struct{}
}

// The more a notification told, the longer the next one waits: few that write are
// heard at once, and many do not spend their time with notifying.
const (
	restPerRecord  = time.Second / 2000
	restAtMost     = 8 * time.Millisecond
	announceWithin = time.Second
)

// announce has other processes told of a commit.
func (a *announcer) announce(shard int, feed uint64) {
	a.mu.Lock()
	a.feeds[shard] = max(a.feeds[shard], feed)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// take gives what is to be told, as statements, and how many records that are.
func (a *announcer) take(channel string) (statements string, records uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for shard, feed := range a.feeds {
		fmt.Fprintf(&b, `NOTIFY "%s", '%d %d';`, channel, shard, feed)
		records += feed - min(feed, a.told[shard])
		a.told[shard] = feed
	}
	clear(a.feeds)
	return b.String(), records
}

// startAnnouncing makes the goroutine.
func (e *Engine) startAnnouncing() {
	a := &e.announcer
	a.feeds, a.told, a.wake, a.done = map[int]uint64{}, map[int]uint64{}, make(chan struct{}, 1), make(chan struct{})
	running, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		defer close(a.done)
		tell := func() time.Duration {
			ctx, stop := context.WithTimeout(context.Background(), announceWithin)
			defer stop()
			return e.tellAll(ctx)
		}
		for {
			select {
			case <-a.wake:
				_ = pause(running, tell()) // it may end meanwhile
			case <-running.Done():
				tell() // what was committed since
				return
			}
		}
	}()
}

// tellAll notifies, and gives how long the next time should wait. Where the server
// does not answer nobody is told: who listens looks at the heads when it hears nothing.
func (e *Engine) tellAll(ctx context.Context) (rest time.Duration) {
	statements, records := e.announcer.take(e.sql.channel)
	if records == 0 {
		return 0
	}
	_ = e.writes.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		_, err := c.Conn().PgConn().Exec(ctx, statements).ReadAll()
		return err
	})
	return min(time.Duration(min(records, 1000))*restPerRecord, restAtMost)
}

func (a *announcer) end() {
	if a.cancel != nil {
		a.cancel()
		<-a.done
	}
}
