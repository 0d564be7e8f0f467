package serve

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore/servertest"
)

// TestWorkerOfTopics is a process that reads customers' topics, where another test starts it as a child; otherwise it tests nothing.
func TestWorkerOfTopics(t *testing.T) {
	store, kafka, _ := strings.Cut(os.Getenv("VARVE_TEST_TOPICS_WORKER"), " ")
	if store == "" {
		return
	}
	v, err := Open(t.Context(), Config{Data: t.TempDir(), Store: store, Bus: kafka, Roles: []string{RoleWorker}, MaxBody: 1 << 20, RateLimit: -1, LogLevel: "error"})
	if err != nil {
		t.Fatal(err)
	}
	v.runTopics(context.Background()) // until it is killed
}

// TestKilledWorkersTakeEveryMessageOnce: two processes read a topic, and are killed and replaced in the middle of it; each
// message is one object, none is missing, none is there twice.
func TestKilledWorkersTakeEveryMessageOnce(t *testing.T) {
	server := os.Getenv("VARVE_TEST_POSTGRES")
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server: make test starts one")
	}
	store := servertest.Database(t, server)
	s := newTenant(t, `{"bucket_name":"orders","bucket_schema":{"properties":{"n":{"type":"integer"}}}}`, func(c *Config) { c.Store = store })
	const messages = 1000
	values := make([]string, messages)
	for i := range values {
		values[i] = fmt.Sprintf(`{"n":%d}`, i)
	}
	s.send(values...)
	made := s.do("POST", "/v1/buckets/orders/topics", `{"topic":"`+s.topic+`"}`)
	path := "/v1/buckets/orders/topics/" + made["topic_id"].(string)
	worker := func() *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run", "^TestWorkerOfTopics$")
		c.Env = append(os.Environ(), "VARVE_TEST_TOPICS_WORKER="+store+" "+s.v.Config.Bus)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		return c
	}
	saved := func() map[string]int {
		all := map[string]int{}
		for shard := range s.v.Store.Shards() {
			for r, err := range s.v.Store.Feed(t.Context(), shard, 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				if e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data); err != nil {
					t.Fatal(err)
				} else if o, ok := e.(*domain.ObjectSaved); ok {
					all[string(o.Fields["n"])]++
				}
			}
		}
		return all
	}
	begun := time.Now()
	running := []*exec.Cmd{worker(), worker()}
	rounds := 2
	for round := range rounds {
		for goal := (round + 1) * messages / (2 * rounds); len(saved()) < goal; {
			time.Sleep(100 * time.Millisecond)
		}
		victim := running[round%2]
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = victim.Wait()
		t.Logf("%d objects after %s, when one is killed", len(saved()), time.Since(begun).Round(time.Millisecond))
		running[round%2] = worker()
	}
	s.until("all are taken", "GET", path, "", func(a map[string]any) bool {
		state := a["state"].(map[string]any)
		return fmt.Sprint(state["lag"]) == "0" && len(saved()) == messages
	})
	twice := 0
	for n, times := range saved() {
		if times != 1 {
			twice++
			t.Errorf("message %s became %d objects", n, times)
		}
	}
	t.Logf("%d messages, %d kills, %s: lost %d, twice %d", messages, rounds, time.Since(begun).Round(time.Millisecond), messages-len(saved()), twice)
}
