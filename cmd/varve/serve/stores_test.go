package serve_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"varve/cmd/varve/serve"
	"varve/eventstore"
	"varve/eventstore/bus"
	"varve/eventstore/servertest"
)

// With a bus, every record of the log reaches Kafka, in feed order; after a
// restart the relay goes on from where it was.
func TestRecordsReachKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := "kafka://" + strings.Join(cluster.ListenAddrs(), ",")
	withBus := func(c *serve.Config) { c.Bus = address }
	ctx, data := t.Context(), filepath.Join(t.TempDir(), "data")
	w := newWorld(t, data, withBus)
	chance := rand.New(rand.NewPCG(3, 3))
	for round := range 2 {
		for range 100 {
			if err := w.write(ctx, chance, 50); err != nil {
				t.Fatal(err)
			}
		}
		compareWithKafka(t, w.v.Store, address)
		if err := w.v.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			w.v = openWorld(t, data, withBus)
		}
	}
}

// Where the log is followed through Kafka, answers are those of the log, and records
// do come that way.
func TestFollowThroughKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	w := newWorld(t, filepath.Join(t.TempDir(), "data"), func(c *serve.Config) {
		c.Bus, c.FollowBus = "kafka://"+strings.Join(cluster.ListenAddrs(), ","), true
	})
	plain := newWorld(t, filepath.Join(t.TempDir(), "plain"))
	_, hashes := w.play(t)
	if _, same := plain.play(t); !slices.Equal(same, hashes) {
		t.Errorf("through Kafka it answers differently:\n%v\n%v", same, hashes)
	}
	if s := w.v.Followed(); s.Kafka == 0 || s.Refused > 0 {
		t.Errorf("no record came by Kafka, or one was refused: %+v", s)
	}
	for _, v := range []*serve.Varve{w.v, plain.v} {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

// compareWithKafka reads the feed through Kafka and from the store.
func compareWithKafka(t *testing.T, store eventstore.Owner, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kafka, err := bus.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := bus.NewTail(store, kafka, bus.TailOptions{Window: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { done <- tail.Run(running) }()
	head, err := store.Head(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(0)
	for next < head {
		for r, err := range tail.Feed(ctx, 0, next, 100) {
			if err != nil {
				t.Fatal(err)
			}
			if next++; r.Feed != next {
				t.Fatalf("feed position %d came after %d", r.Feed, next-1)
			}
		}
		if next < head {
			if err := tail.Wait(ctx, 0, next); err != nil {
				t.Fatalf("at %d of %d: %v (%+v)", next, head, err, tail.Stats())
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := tail.Stats(); s.Gaps > 0 || s.Refused > 0 {
		t.Errorf("the topic is not the feed: %+v", s)
	}
}

// play writes and asks, the same for the same seed.
func (w *world) play(t *testing.T) (ids, hashes []string) {
	t.Helper()
	chance := rand.New(rand.NewPCG(5, 5))
	for i := range 170 {
		if err := w.write(t.Context(), chance, 60); err != nil {
			t.Fatal(err)
		}
		if i < 150 {
			continue
		}
		x, err := w.query(t.Context(), chance)
		if err != nil {
			t.Fatal(err)
		}
		ids, hashes = append(ids, x.ID), append(hashes, x.ResultHash)
	}
	return ids, hashes
}

// The same server on PostgreSQL: it answers as the embedded one does, and what it
// executed replays after a restart, and after its read models and index were built
// anew from the server's log.
func TestServeOnPostgres(t *testing.T) {
	server := os.Getenv("VARVE_TEST_POSTGRES")
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server: make test starts one")
	}
	ctx, data := t.Context(), filepath.Join(t.TempDir(), "data")
	dsn := servertest.Database(t, server)
	onPostgres := func(c *serve.Config) { c.Store = dsn }
	w := newWorld(t, data, onPostgres)
	ids, hashes := w.play(t)
	embedded := newWorld(t, filepath.Join(t.TempDir(), "embedded"))
	if _, same := embedded.play(t); !slices.Equal(same, hashes) {
		t.Errorf("the embedded server answers differently:\n%v\n%v", same, hashes)
	}
	if err := embedded.v.Close(); err != nil {
		t.Error(err)
	}
	for _, lost := range [][]string{nil, {"index", "models"}} {
		if err := w.v.Close(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range lost {
			if err := os.RemoveAll(filepath.Join(data, dir)); err != nil {
				t.Fatal(err)
			}
		}
		w.v = openWorld(t, data, onPostgres)
		if err := w.v.Models.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			hash := hashes[i]
			header, trace := w.recorded(t, id)
			r, err := w.v.Reads.Retrieve.Replay(ctx, w.in.Log, header, trace)
			if err != nil || !r.Identical || r.Hash != hash {
				t.Errorf("without %v, %s replays to %+v, %v", lost, id, r, err)
			}
		}
	}
	report, err := eventstore.Verify(ctx, w.v.Store, w.in.Log)
	if err != nil || !report.OK() {
		t.Errorf("verify: %+v, %v", report, err)
	}
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(data, "*.db")); len(files) > 0 {
		t.Errorf("the log is in %v too", files)
	}
}

// What --store and --bus name wrongly is said in one line, without a password.
func TestStoresSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		change func(*serve.Config)
		want   string
	}{
		{func(c *serve.Config) { c.Store = "mysql://root:secret@127.0.0.1/x" }, "postgres://user@host/database"},
		{func(c *serve.Config) { c.Store = "postgres://varve:secret@127.0.0.1:1/varve?connect_timeout=2" }, "127.0.0.1"},
		{func(c *serve.Config) { c.Bus = "amqp://u:secret@127.0.0.1" }, "kafka://"},
		{func(c *serve.Config) { c.FollowBus = true }, "--follow-bus needs --bus"},
		{func(c *serve.Config) { c.Roles = []string{"api"} }, "--store postgres://"},
		{func(c *serve.Config) { c.Roles = []string{"king"} }, "api, projector, relay, worker"},
	} {
		config := serve.Config{Data: filepath.Join(t.TempDir(), "data"), LogLevel: "error"}
		c.change(&config)
		v, err := serve.Open(t.Context(), config)
		if err == nil {
			_ = v.Close()
			t.Errorf("%+v was taken", config)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "secret") || strings.Contains(text, "\n") {
			t.Errorf("%q does not say %q in one line without the password", text, c.want)
		}
	}
}
