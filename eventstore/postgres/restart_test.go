package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"varve/eventstore"
	"varve/eventstore/servertest"
	"varve/eventstore/storetest"
)

// ownServer starts a server that a test may kill, by the script that starts the
// others too.
func ownServer(t *testing.T) (dsn string, kill, restart func()) {
	t.Helper()
	database(t)
	told, do := servertest.Start(t, "postgres")
	return told["VARVE_TEST_POSTGRES"], func() { do("kill") }, func() { do("restart") }
}

// TestServerKilled kills the server itself under load of two processes and starts
// it again on the same data: what was acknowledged is there, once, and the open
// stores go on by themselves.
func TestServerKilled(t *testing.T) {
	dsn, kill, restart := ownServer(t)
	var stores []eventstore.Owner
	for range 2 {
		s, err := Open(context.Background(), dsn, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
	}
	var mu sync.Mutex
	acked := map[eventstore.ID]uint64{}
	unknown, refused := 0, 0
	stop := make(chan struct{})
	answered := make(chan struct{})
	var wg sync.WaitGroup
	for k := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				a, err := put(stores[k%2], fmt.Sprint("s", k), event(i))
				mu.Lock()
				switch {
				case err == nil:
					acked[a.Records[0].ID] = a.Records[0].Feed
				case errors.Is(err, eventstore.ErrUnknownOutcome):
					unknown++
				default:
					refused++
				}
				mu.Unlock()
				if err != nil {
					select {
					case <-stop:
						return
					default:
					}
					continue
				}
				select {
				case answered <- struct{}{}:
				case <-stop:
					return
				}
			}
		}()
	}
	const kills = 3
	for range kills {
		for range 60 {
			<-answered
		}
		kill()
		restart()
	}
	for range 60 {
		<-answered
	}
	close(stop)
	wg.Wait()
	seen, total := 0, 0
	for r, err := range stores[0].Feed(context.Background(), 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		total++
		if feed, ok := acked[r.ID]; ok {
			if feed != r.Feed {
				t.Fatalf("record %s was acknowledged at %d and is at %d", r.ID, feed, r.Feed)
			}
			seen++
		}
	}
	if seen != len(acked) || total > len(acked)+unknown {
		t.Fatalf("%d records; %d acknowledged, of which %d are there; %d with an unknown outcome", total, len(acked), seen, unknown)
	}
	storetest.Whole(t, stores[0])
	t.Logf("report: server killed %d times under load: %d acknowledged, %d refused, %d unknown, none lost or doubled", kills, len(acked), refused, unknown)
}
