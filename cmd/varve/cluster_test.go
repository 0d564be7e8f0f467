package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
	"varve/eventstore/bus"
	"varve/eventstore/postgres"
	"varve/eventstore/servertest"
)

// cluster is one installation of several processes: on a PostgreSQL server, and
// on Kafka and S3 where the tests have them.
type cluster struct {
	t     *testing.T
	dsn   string
	flags []string
	bus   string // "" without Kafka
	key   string
	made  int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	server := os.Getenv("VARVE_TEST_POSTGRES")
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server: make test starts one")
	}
	name := fmt.Sprintf("cluster_%d_%d", os.Getpid(), rand.IntN(1e6)) // of its topic
	c := &cluster{t: t, dsn: servertest.Database(t, server)}
	c.flags = []string{"--store", c.dsn}
	if kafka := os.Getenv("VARVE_TEST_KAFKA"); kafka != "" {
		c.bus = "kafka://" + kafka + "?topic=" + name + ".events"
		c.flags = append(c.flags, "--bus", c.bus)
	}
	if s3 := os.Getenv("VARVE_TEST_S3"); s3 != "" {
		c.flags = append(c.flags, "--blobs", s3)
	}
	return c
}

// start starts a process with a directory of its own.
func (c *cluster) start(roles string) *child {
	c.t.Helper()
	c.made++
	p := start(c.t, filepath.Join(c.t.TempDir(), "data"+strconv.Itoa(c.made)), append(slices.Clone(c.flags), "--roles", roles)...)
	if p.Key != "" {
		c.key = p.Key
	}
	return p
}

func (p *child) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// ready waits until a process has what it needs, its read models among it.
func (p *child) ready(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(p.URL + "/v1/health/ready")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %d", res.StatusCode)
		}
	}
}

// count reads a counter of a process from outside.
func (p *child) count(t *testing.T, metric string) int {
	t.Helper()
	res, err := http.Get(p.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(metric) + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// published compares the topic with the feed: nothing missing, nothing out of order.
func (c *cluster) published() {
	t := c.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := postgres.Open(ctx, c.dsn, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	kafka, err := bus.ParseURL(c.bus)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := bus.NewTail(store, kafka, bus.TailOptions{Window: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- tail.Run(running) }()
	for shard := range store.Shards() {
		head, err := store.Head(ctx, shard)
		if err != nil {
			t.Fatal(err)
		}
		for next := uint64(0); next < head; {
			for r, err := range tail.Feed(ctx, shard, next, 500) {
				if err != nil {
					t.Fatal(err)
				}
				if next++; r.Feed != next {
					t.Fatalf("feed position %d came after %d", r.Feed, next-1)
				}
			}
			if next < head {
				if err := tail.Wait(ctx, shard, next); err != nil {
					t.Fatalf("at %d of %d: %v (%+v)", next, head, err, tail.Stats())
				}
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

// chains recomputes every chain of the log.
func (c *cluster) chains() {
	c.t.Helper()
	store, err := postgres.Open(c.t.Context(), c.dsn, postgres.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer store.Close()
	seen := map[eventstore.LogID]bool{}
	for r, err := range store.Feed(c.t.Context(), 0, 0, 0) {
		if err != nil {
			c.t.Fatal(err)
		}
		if seen[r.Log] {
			continue
		}
		seen[r.Log] = true
		if report, err := eventstore.Verify(c.t.Context(), store, r.Log); err != nil || !report.OK() {
			c.t.Errorf("%s: %+v, %v", r.Log, report, err)
		}
	}
}

// TestKilledRolesLoseNothing runs two processes of each role, and kills one after
// another while eight clients write, submit batches and search: who takes over
// goes on, what was acknowledged is there, nothing happens twice, every record
// reaches Kafka, and a rebuild shows the same. VARVE_CRASH_ROUNDS asks for a
// quarter of its rounds, at least eight.
func TestKilledRolesLoseNothing(t *testing.T) {
	c := newCluster(t)
	roles := []string{"api", "projector", "worker"}
	if c.bus != "" {
		roles = append(roles, "relay")
	}
	running := map[string][]*child{}
	for _, role := range roles {
		for range 2 {
			running[role] = append(running[role], c.start(role))
		}
	}
	any := attacker{url: running["api"][0].URL, key: c.key, patient: true}
	any.setUp(t)
	clients, kills := crowd(), map[string]int{}
	for round := range max(8, crashRounds(t, 0)/4) {
		ctx, stop := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		before, _ := acknowledged(clients)
		i := 0
		for _, work := range clients {
			a := attacker{url: running["api"][i%2].URL, key: c.key, ctx: ctx, patient: true}
			i++
			writing.Go(func() { work(a, round) })
		}
		role, victim := roles[round%len(roles)], rand.IntN(2)
		atWork(t, clients, before, 5)
		time.Sleep(rand.N(300 * time.Millisecond))
		running[role][victim].kill(t)
		kills[role]++
		time.Sleep(300 * time.Millisecond)
		stop()
		writing.Wait()
		time.Sleep(500 * time.Millisecond) // what was given up may still be written
		running[role][victim] = c.start(role)
		any.url = running["api"][rand.IntN(2)].URL
		var checked sync.WaitGroup
		for w := range clients {
			checked.Go(func() { w.check(t, any) })
		}
		checked.Wait()
		any.twice(t)
		if t.Failed() {
			t.FailNow()
		}
	}
	incremental := any.state(t)
	any.url = running["api"][1].URL
	if other := any.state(t); other != incremental {
		t.Error("two processes answer differently")
	}
	if c.bus != "" {
		c.published()
	}
	c.chains()
	for _, role := range roles {
		for _, p := range running[role] {
			p.stop(t)
		}
	}
	conn, err := pgx.Connect(t.Context(), c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'varve_models%'")
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(schemas) == 0 {
		t.Fatal(schemas, err)
	}
	for _, schema := range schemas {
		if _, err := conn.Exec(t.Context(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Fatal(err)
		}
	}
	alone := c.start("api,projector,worker")
	alone.ready(t)
	any.url = alone.URL
	if rebuilt := any.state(t); rebuilt != incremental {
		t.Error("a rebuild shows something else")
	}
	alone.stop(t)
	requests, _ := acknowledged(clients)
	t.Logf("report: %d acknowledged requests; killed %v; bus %t; %d bytes of answers are the same from two processes and after a rebuild", requests, kills, c.bus != "", len(incremental))
}

// TestProcessJoinsAndLeaves adds a process while a batch runs, and lets it go
// again: it does a part of the batch, hands back the rest, and the batch ends with
// every object extracted once.
func TestProcessJoinsAndLeaves(t *testing.T) {
	c := newCluster(t)
	first := c.start("api,projector,relay,worker")
	a := attacker{url: first.URL, key: c.key, patient: true}
	a.setUp(t)
	const objects = 400
	var ids []string
	var created sync.WaitGroup
	var mu sync.Mutex
	for i := range 8 {
		created.Go(func() {
			for j := range objects / 8 {
				text := strings.Repeat("A paragraph about boundary layers and heat.\n\n", 40)
				status, answer := a.do("POST", objectsPath, map[string]any{"mark": fmt.Sprint(i, "-", j), "blobs": []any{map[string]any{"property": "text", "type": "text", "data": text}}}, "")
				id, _ := answer["object_id"].(string)
				if status != 200 {
					t.Errorf("%d %v", status, answer)
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	created.Wait()
	status, answer := a.do("POST", "/v1/buckets/shells/batches", map[string]any{"object_ids": ids}, "")
	batch, _ := answer["batch_id"].(string)
	if status != 200 {
		t.Fatal(status, answer)
	}
	second := c.start("worker") // joins
	b := attacker{url: second.URL, key: c.key}
	if status, answer := b.do("GET", "/v1/namespaces", nil, ""); status != 404 || !strings.Contains(fmt.Sprint(answer), "role api") {
		t.Errorf("a worker answers %d %v", status, answer)
	}
	second.ready(t)
	if status, answer := a.do("POST", "/v1/buckets/shells/batches/"+batch+"/submit", map[string]any{}, ""); status != 200 {
		t.Fatal(status, answer)
	}
	const extracted = `varve_appended_events_total{store="log",type="object.extracted"}`
	for second.count(t, extracted) < 20 {
		time.Sleep(5 * time.Millisecond)
	}
	third := c.start("worker")
	part := second.count(t, extracted)
	second.stop(t) // leaves
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		status, answer = a.do("GET", "/v1/batches/"+batch, nil, "")
		if answer["status"] == "COMPLETED" {
			break
		}
		if status != 200 || time.Now().After(deadline) {
			t.Fatalf("the batch does not end: %d %v", status, answer)
		}
	}
	if answer["documents_written"] != float64(objects) {
		t.Errorf("%v documents written, want %d", answer["documents_written"], objects)
	}
	a.twice(t)
	if rows := a.all(t, "/v1/collections/texts/documents/list"); len(rows) != objects {
		t.Errorf("%d documents, want %d", len(rows), objects)
	}
	t.Logf("report: of %d objects the process that was there extracted %d, the one that joined and left at least %d, the one that came late %d",
		objects, first.count(t, extracted), part, third.count(t, extracted))
	third.stop(t)
	first.stop(t)
}
