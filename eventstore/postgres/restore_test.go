package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/state"
	"varve/eventstore/storetest"
)

// tool runs one of PostgreSQL's own programs, the newest that is installed.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	slices.Sort(found)
	if len(found) == 0 {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed: it comes with PostgreSQL's client", name)
		}
		found = []string{path}
	}
	if out, err := exec.Command(found[len(found)-1], args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// newDatabase makes a database beside the run's own one.
func newDatabase(t *testing.T, name string) string {
	t.Helper()
	u, err := url.Parse(database(t))
	if err != nil {
		t.Fatal(err)
	}
	name = strings.TrimPrefix(u.Path, "/") + "_" + name
	execute(t, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
	t.Cleanup(func() { execute(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

// installation is a log and its state in one database.
type installation struct {
	eventstore.Owner
	state *State
}

func install(t *testing.T, dsn string) installation {
	t.Helper()
	s, err := Open(t.Context(), dsn, Options{Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	kept, err := OpenState(t.Context(), dsn, StateOptions{Alive: time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	return installation{s, kept}
}

// counter is a consumer that counts how often it was given each record; its place
// is in some state.
type counter struct {
	state.Place
	mu   sync.Mutex
	seen map[eventstore.ID]int
}

func (c *counter) Take(ctx context.Context, m follow.Move) error {
	if err := c.Save(ctx, m.Shard, m.From, follow.State{Checkpoint: m.To}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range m.Records {
		c.seen[r.ID]++
	}
	return nil
}

// follow lets the counter follow all shards to their heads, or until it refuses.
func (c *counter) follow(t *testing.T, s eventstore.Owner) error {
	t.Helper()
	for shard := range s.Shards() {
		head, err := s.Head(t.Context(), shard)
		if err != nil {
			t.Fatal(err)
		}
		f := &follow.Follower{Store: s, Shard: shard, Name: c.Consumer, Consumer: c, PageSize: 50, Logger: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		err = f.WaitApplied(ctx, head)
		stop()
		if refused := <-done; refused != nil {
			return refused
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill appends to both shards: branches, erased and closed logs, big attachments.
func (i installation) fill(t *testing.T, from, to int) {
	t.Helper()
	big := eventstore.Event{Type: "a.b", Data: []byte(`{}`), Attachments: []eventstore.Attachment{{Name: "v", Bytes: bytes.Repeat([]byte{7}, 80_000)}}}
	for n := from; n < to; n++ {
		shard := n % 2
		log := eventstore.LogID(fmt.Sprint("log-", n%6)) // always of the same shard
		events := []eventstore.Event{event(n), event(n)}
		if n%25 == 0 {
			events = append(events, big)
		}
		a := eventstore.Append{Shard: shard, Batches: []eventstore.Batch{{Log: log, Stream: fmt.Sprint("s", n%11), Events: events}},
			Idempotency: &eventstore.Idempotency{Scope: fmt.Sprint("once ", n), Digest: eventstore.Hash{byte(n)}}}
		if n%60 == 40 {
			a.Batches = append(a.Batches, eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("branch-", n)), Stream: "s", Events: events[:1], Fork: &eventstore.Fork{From: log, UpTo: 3}, Close: n%120 == 40})
		}
		if _, err := i.Append(t.Context(), a); err != nil {
			t.Fatal(n, err)
		}
		if n%50 == 49 {
			if err := i.Erase(t.Context(), log, 2); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRestore dumps a store with PostgreSQL's own tools, while it is written to, and
// restores it into a new database: it is whole, every consumer resumes where it was,
// nothing is skipped and nothing taken twice. An older dump is noticed: by consumers
// that are ahead of it, and by a signed checkpoint, also once new records took the
// places of the lost ones.
func TestRestore(t *testing.T) {
	folder, dsn := t.TempDir(), newDatabase(t, "origin")
	origin := install(t, dsn)
	dump := func(name string) string {
		file := filepath.Join(folder, name)
		tool(t, "pg_dump", "--format=custom", "--file="+file, "--dbname="+dsn)
		return file
	}
	restore := func(name, file string) installation {
		target := newDatabase(t, name)
		tool(t, "pg_restore", "--exit-on-error", "--no-owner", "--dbname="+target, file)
		return install(t, target)
	}
	inside := &counter{Place: state.Place{Store: origin.state, Consumer: "inside"}, seen: map[eventstore.ID]int{}}
	outside := &counter{Place: state.Place{Store: state.OpenDirectory(t.TempDir()), Consumer: "outside"}, seen: map[eventstore.ID]int{}} // as a consumer elsewhere, which no restore touches

	origin.fill(t, 0, 200)
	old := dump("old")
	origin.fill(t, 200, 300)
	if err := inside.follow(t, origin); err != nil {
		t.Fatal(err)
	}
	secret, err := origin.state.Secret(t.Context(), "pepper")
	if err != nil {
		t.Fatal(err)
	}
	origin.fill(t, 300, 400)
	if err := outside.follow(t, origin); err != nil {
		t.Fatal(err)
	}
	key := eventstore.CheckpointKey{ID: "k", HMAC: bytes.Repeat([]byte{3}, 32)}
	signed, err := eventstore.MakeCheckpoint(t.Context(), origin, "log-3", key)
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { origin.fill(t, 400, 600) })
	recent := dump("recent")
	writing.Wait()

	// The restored store is the beginning of the origin, and has all that was acknowledged before the dump.
	restored := restore("restored", recent)
	storetest.Whole(t, restored.Owner)
	if err := eventstore.VerifyCheckpoint(t.Context(), restored, signed, key); err != nil {
		t.Error(err)
	}
	if s, err := restored.state.Secret(t.Context(), "pepper"); err != nil || !bytes.Equal(s, secret) {
		t.Errorf("the secret is another one (%v)", err)
	}
	if again, ok, err := restored.Replay(t.Context(), 1, eventstore.Idempotency{Scope: "once 399", Digest: eventstore.Hash{byte(399 % 256)}}); err != nil || !ok || len(again.Records) == 0 {
		t.Errorf("an idempotency key is lost: %v %v", ok, err)
	}
	lost := uint64(0)
	for shard := range 2 {
		before, _ := origin.Head(t.Context(), shard)
		now, err := restored.Head(t.Context(), shard)
		if err != nil {
			t.Fatal(err)
		}
		lost += before - now
	}
	restored.fill(t, 600, 700)
	inside.Store = restored.state
	for _, c := range []*counter{inside, outside} {
		if err := c.follow(t, restored); err != nil {
			t.Errorf("%s does not resume: %v", c.Consumer, err)
		}
		skipped, doubled := 0, 0
		for shard := range 2 {
			for r, err := range restored.Feed(t.Context(), shard, 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				switch n := c.seen[r.ID]; {
				case n == 0:
					skipped++
				case n > 1:
					doubled++
				}
			}
		}
		if t.Logf("report: %s resumes after a restore: %d records, %d skipped, %d doubled", c.Consumer, len(c.seen), skipped, doubled); skipped+doubled > 0 {
			t.Errorf("%s skipped %d records and took %d twice", c.Consumer, skipped, doubled)
		}
	}
	t.Logf("report: %d records were appended after the dump's moment", lost)

	// The older dump is whole too; a bare chain cannot know that it is the wrong one.
	wrong := restore("wrong", old)
	storetest.Whole(t, wrong.Owner)
	noticed := func(when string, want error) {
		t.Helper()
		var refused *follow.CheckpointError
		if err := outside.follow(t, wrong); !errors.As(err, &refused) {
			t.Errorf("%s, a consumer that is ahead follows: %v", when, err)
		}
		if err := eventstore.VerifyCheckpoint(t.Context(), wrong, signed, key); !errors.Is(err, want) {
			t.Errorf("%s, the signed checkpoint says %v", when, err)
		}
	}
	noticed("at first", eventstore.ErrTailCut)
	wrong.fill(t, 1000, 1600) // other records in the places of the lost ones
	noticed("later", eventstore.ErrRewritten)
	storetest.Whole(t, wrong.Owner)
}
