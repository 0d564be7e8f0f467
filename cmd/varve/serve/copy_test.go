package serve_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/cmd/varve/serve"
	"varve/eventstore"
	"varve/eventstore/servertest"
)

// An embedded installation is copied to PostgreSQL and back into another directory,
// interrupted again and again. On each, every execution replays to its recorded
// hash, and all logs have the hashes that they began with.
func TestCopyMovesAnInstallation(t *testing.T) {
	server := os.Getenv("VARVE_TEST_POSTGRES")
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server: make test starts one")
	}
	ctx, root := t.Context(), t.TempDir()
	data, beside, back := filepath.Join(root, "data"), filepath.Join(root, "beside"), filepath.Join(root, "back")
	w := newWorld(t, data)
	chance := rand.New(rand.NewPCG(9, 9))
	recorded := map[string]string{}
	for i := range 1100 {
		if err := w.write(ctx, chance, 300); err != nil {
			t.Fatal(err)
		}
		if i%60 == 59 {
			x, err := w.query(ctx, chance)
			if err != nil {
				t.Fatal(err)
			}
			recorded[x.ID] = x.ResultHash
		}
	}
	blobs := map[string]string{}
	for _, text := range []string{"a source file", strings.Repeat("a big one ", 300_000)} {
		ref, err := w.v.Reads.Blobs.Put(ctx, "org_a", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		blobs[ref.Digest] = text
	}
	pepper, err := w.v.State.Secret(ctx, "pepper")
	if err != nil {
		t.Fatal(err)
	}
	hashes := logHashes(t, w.v)
	dsn := servertest.Database(t, server)
	embedded, shared, again := serve.Place{Store: data}, serve.Place{Store: dsn, Blobs: filepath.Join(beside, "blobs")}, serve.Place{Store: back}
	var locked *serve.LockedError
	if _, err := serve.Copy(ctx, embedded, shared, nothing); !errors.As(err, &locked) {
		t.Errorf("beside a running server: %v", err)
	}
	if err := w.v.Close(); err != nil {
		t.Fatal(err)
	}
	holds := func(v *serve.Varve, where string) {
		t.Helper()
		defer func() {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := v.Models.CatchUp(ctx); err != nil {
			t.Fatal(err)
		}
		w.v = v
		for id, hash := range recorded {
			header, trace := w.recorded(t, id)
			r, err := v.Reads.Retrieve.Replay(ctx, w.in.Log, header, trace)
			if err != nil || !r.Identical || r.Hash != hash {
				t.Errorf("%s: %s replays to %+v, %v, not to %s", where, id, r, err, hash)
			}
		}
		for digest, text := range blobs {
			if b, err := v.Reads.Blobs.Read(ctx, "org_a", digest); err != nil || string(b) != text {
				t.Errorf("%s: blob %s has %d bytes, %v", where, digest, len(b), err)
			}
		}
		if b, err := v.State.Secret(ctx, "pepper"); err != nil || !bytes.Equal(b, pepper) {
			t.Errorf("%s: the pepper is another one (%v)", where, err)
		}
		for log, hash := range logHashes(t, v) {
			if hashes[log] != hash {
				t.Errorf("%s: log %s has hash %s, not %s", where, log, hash, hashes[log])
			}
		}
	}
	interruptions := copyInterrupted(t, embedded, shared)
	holds(openWorld(t, beside, func(c *serve.Config) { c.Store = dsn }), "in PostgreSQL")
	interruptions += copyInterrupted(t, shared, again)
	holds(openWorld(t, back), "back in a directory")
	t.Logf("report: %d executions of %d logs replay to their hashes in PostgreSQL and back, after %d interruptions", len(recorded), len(hashes), interruptions)

	// What was written there since is no beginning of the source any more.
	if err := os.RemoveAll(filepath.Join(beside, "blobs")); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(root, "other")
	if err := newWorld(t, other).v.Close(); err != nil {
		t.Fatal(err)
	}
	var differs *eventstore.DifferenceError
	if _, err := serve.Copy(ctx, serve.Place{Store: other}, again, nothing); !errors.As(err, &differs) || !strings.Contains(err.Error(), "name an empty target") {
		t.Errorf("onto another installation: %v", err)
	}
	if _, err := serve.Copy(ctx, shared, serve.Place{Store: filepath.Join(root, "fresh")}, nothing); err != nil {
		t.Errorf("without blobs: %v", err)
	}
}

func nothing(string, uint64, uint64) {}

// copyInterrupted copies, and interrupts each step once it has begun.
func copyInterrupted(t *testing.T, from, to serve.Place) (interruptions int) {
	t.Helper()
	seen := map[string]bool{}
	for {
		ctx, stop := context.WithCancel(t.Context())
		done, err := serve.Copy(ctx, from, to, func(step string, _, _ uint64) {
			if !seen[step] {
				seen[step] = true
				stop()
			}
		})
		stop()
		switch {
		case err == nil && (done.Records == 0 || done.Executions == 0 || done.Blobs != 2):
			t.Fatalf("copied %+v", done)
		case err == nil:
			return interruptions
		case !errors.Is(err, context.Canceled):
			t.Fatal(err)
		}
		if interruptions++; interruptions > 20 {
			t.Fatal("it does not get on")
		}
	}
}

// logHashes gives the newest hash of every log of an installation.
func logHashes(t *testing.T, v *serve.Varve) map[string]string {
	t.Helper()
	hashes := map[string]string{}
	for name, store := range map[string]eventstore.Owner{"log ": v.Store, "executions ": v.Executed} {
		for shard := range store.Shards() {
			for r, err := range store.Feed(t.Context(), shard, 0, 0) {
				if err != nil {
					t.Fatal(err)
				}
				if _, known := hashes[name+string(r.Log)]; known {
					continue
				}
				head, err := store.LogHead(t.Context(), r.Log)
				if err != nil {
					t.Fatal(err)
				}
				hashes[name+string(r.Log)] = head.Hash.String()
			}
		}
	}
	return hashes
}

// What cannot be copied is said in one line, without a password.
func TestCopySaysWhatIsWrong(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		from, to serve.Place
		want     string
	}{
		{serve.Place{Store: filepath.Join(root, "none")}, serve.Place{Store: filepath.Join(root, "x")}, "holds no log"},
		{serve.Place{Store: root}, serve.Place{Store: root + "/"}, "the same"},
		{serve.Place{Store: "mysql://u:secret@h/d"}, serve.Place{Store: root}, "postgres://user@host/database"},
		{serve.Place{Store: root}, serve.Place{Store: "postgres://u:secret@127.0.0.1:1/d"}, "--to-blobs"},
		{serve.Place{Store: root}, serve.Place{Store: root + "/x", Blobs: "gs://secret"}, "s3://bucket"},
		{serve.Place{Store: "postgres://u:secret@127.0.0.1:1/d?connect_timeout=2", Blobs: filepath.Join(root, "b")}, serve.Place{Store: root}, "127.0.0.1:1"},
	} {
		_, err := serve.Copy(t.Context(), c.from, c.to, nothing)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v to %+v: %v does not say %q in one line without the password", c.from, c.to, err, c.want)
		}
	}
	if names, err := filepath.Glob(filepath.Join(root, "*.db")); err != nil || len(names) > 0 {
		t.Errorf("something was made: %v", names)
	}
}
