package bus

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/eventstore"
)

// pressed has eight writers append to three shards, a little pause between two
// appends, until the returned function is called, which gives how many there were.
func pressed(t *testing.T, s eventstore.Store) (count *atomic.Uint64, stop func()) {
	t.Helper()
	var writers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	count = new(atomic.Uint64)
	for i := range 8 {
		writers.Go(func() {
			pace := time.NewTicker(16 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
					put(t, s, i%3, eventstore.LogID("log-"+string(rune('a'+i))), 1)
					count.Add(1)
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		writers.Wait()
	})
	t.Cleanup(stop)
	return count, stop
}

// A broker that is killed and started again, and one that hangs, under a relay
// and a tail: appends go on, the lag grows and drains, consumers go on from the
// store meanwhile, and in the end each record is in Kafka in order and was given
// to each consumer once.
func TestRealBrokerFaults(t *testing.T) {
	kills, hang := 1, 10*time.Second
	if os.Getenv("VARVE_NIGHTLY") != "" {
		kills, hang = 5, time.Minute
	}
	k, run := ownBroker(t)
	s := store(t, 3)
	topic(t, k, 3)
	state := directory(t)
	r, x := relay(t, s, k, state), tail(t, s, k)
	x.patience = 250 * time.Millisecond // as where nothing else is said
	r.PageSize = 0
	defer running(t, x.Run)()
	live(t, x)
	stopRelay := running(t, r.Run)
	ledgers := []*ledger{{}, {}, {}}
	reach, stop := followed(t, x, ledgers)
	defer stop()
	count, stopWriting := pressed(t, s)
	until := func(n uint64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); count.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("appends stand still at %d", count.Load())
			}
		}
	}
	lag := func() (events uint64) {
		for shard, f := range r.Followers() {
			head, _ := s.Head(context.Background(), shard)
			events += head - min(head, f.Applied())
		}
		return events
	}
	began := time.Now()
	phase := func(name string) {
		t.Logf("%5.1f s: %s, %d appended, the relay %d behind, %+v", time.Since(began).Seconds(), name, count.Load(), lag(), x.Stats())
	}
	until(250)
	phase("running")
	for range kills {
		run("kill")
		until(count.Load() + 250)
		reach() // though there is no Kafka
		if lag() < 200 {
			t.Errorf("the relay is %d behind a Kafka that is dead", lag())
		}
		phase("killed")
		run("restart")
		phase("started again")
		until(count.Load() + 200)
		published(t, s, r)
		phase("drained")
	}
	killed := count.Load()
	run("pause")
	time.Sleep(hang) // the fault's duration
	reach()
	hung, behind := count.Load()-killed, lag()
	if hung < uint64(hang/(80*time.Millisecond)) || behind == 0 {
		t.Errorf("while Kafka hung for %v: %d appends, the relay %d behind", hang, hung, behind)
	}
	phase("hung")
	run("resume")
	published(t, s, r)
	phase("drained")
	before := x.Stats().Kafka
	for deadline := time.Now().Add(time.Minute); x.Stats().Kafka < before+100; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("consumers do not read from Kafka again: %+v", x.Stats())
			break
		}
	}
	stopWriting()
	published(t, s, r)
	phase("at the end")
	reach()
	stopRelay()
	stop()
	repeats := 0
	for shard, l := range ledgers {
		repeats += delivered(t, s, k, shard)
		l.expect(t, s, shard)
		head, _ := s.Head(context.Background(), shard)
		if at := kept(t, state, shard); at.Checkpoint.Feed != head || len(at.Parked) > 0 {
			t.Errorf("shard %d: the relay's place is %+v, the store ends at %d", shard, at, head)
		}
	}
	t.Logf("report: Kafka killed %d times and hung for %v: %d records, %d behind while it hung, none lost, each given to its consumer once (%d messages repeated, %+v)",
		kills, hang, count.Load(), behind, repeats, x.Stats())
}
