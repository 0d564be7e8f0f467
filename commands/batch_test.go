package commands

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/fold"
	"varve/eventstore/memory"
	statestore "varve/eventstore/state"
)

// handler makes a handler over a store, with nothing remembered, as after a start.
func handler(store eventstore.Follower) *Handler {
	return &Handler{
		Store:         store,
		Organizations: &fold.Cache[domain.Organization]{Store: store, Stream: domain.OrganizationStream, Apply: FoldOrganization},
		Configs:       &fold.Cache[domain.Config]{Store: store, Stream: domain.ConfigStream, Apply: FoldConfig},
		Log:           slog.New(slog.DiscardHandler), Now: time.Now,
		Entropy: func() (b [16]byte) { rand.Read(b[:]); return b },
		Keys:    &KeyRing{Pepper: []byte("pepper of the tests, 32 bytes ok"), Random: rand.Reader},
		Work:    statestore.OpenDirectory(""),
	}
}

// submitted is a store with a batch that was submitted: three objects, of which
// the second has no text, through two tiers.
func submitted(t *testing.T) (eventstore.Owner, BatchRef) {
	t.Helper()
	return submittedOf(t, `{"text":"one two three"}`, `{}`, `{"text":"four"}`)
}

// submittedOf is the same of objects with these fields.
func submittedOf(t *testing.T, objects ...string) (eventstore.Owner, BatchRef) {
	t.Helper()
	ctx := context.Background()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := handler(store)
	made, err := h.CreateOrganization(ctx, In{Origin: "test"}, CreateOrganization{Name: "o", Email: "o@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	in := In{OrganizationID: made.Organization.ID, Organization: eventstore.LogID("o-" + strings.TrimPrefix(made.Organization.ID, domain.OrganizationPrefix)), Actor: made.User.UserID, Origin: "test"}
	n, err := h.CreateNamespace(ctx, in, CreateNamespace{Name: "films"})
	if err != nil {
		t.Fatal(err)
	}
	in.Log = eventstore.LogID(n.Log)
	b, err := h.SaveBucket(ctx, in, SaveBucket{Change: func(b domain.Bucket) (domain.Bucket, error) {
		b.Name, b.Schema = "b", json.RawMessage(`{"properties":{"text":{"type":"text"}}}`)
		return b, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []domain.Collection{
		{Name: "texts", Source: domain.CollectionSource{Type: "bucket", BucketIDs: []string{b.BucketID}}},
		{Name: "words", Source: domain.CollectionSource{Type: "collection", CollectionIDs: []string{"texts"}}},
	} {
		_, err := h.SaveCollection(ctx, in, SaveCollection{Change: func(made domain.Collection) (domain.Collection, error) {
			k.CollectionID, k.Enabled = made.CollectionID, true
			k.Extractor = domain.ExtractorConfig{Name: "text_extractor", Version: "v1", Parameters: json.RawMessage(`{"split_by":"words","chunk_size":2}`), InputMappings: []domain.InputMapping{{InputKey: "text", Path: "text"}}}
			return k, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, fields := range objects {
		o := ObjectInput{}
		if err := json.Unmarshal([]byte(fields), &o.Fields); err != nil {
			t.Fatal(err)
		}
		saved, err := h.CreateObject(ctx, in, "b", o)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, saved.ObjectID)
	}
	batch, err := h.CreateBatch(ctx, in, "b", CreateBatch{ObjectIDs: ids})
	if err == nil {
		batch, err = h.SubmitBatch(ctx, in, batch.BatchID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store, BatchRef{in.OrganizationID, in.Organization, in.Log, in.Shard, batch.BatchID}
}

var errCrashed = errors.New("crashed")

// crashing is a store whose process ends at its n-th append: before it, or
// after it but before anyone knows. Nothing is appended afterwards.
type crashing struct {
	eventstore.Follower
	mu      sync.Mutex
	left    int
	after   bool
	crashed bool
}

func (c *crashing) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crashed {
		return eventstore.Appended{}, errCrashed
	}
	if c.left--; c.left >= 0 {
		return c.Follower.Append(ctx, a)
	}
	c.crashed = true
	if c.after {
		if _, err := c.Follower.Append(ctx, a); err != nil {
			return eventstore.Appended{}, err
		}
	}
	return eventstore.Appended{}, errCrashed
}

// firstObject is the first of a batch's objects.
func firstObject(t *testing.T, store eventstore.Store, ref BatchRef) string {
	t.Helper()
	b, _, err := state[domain.BatchState](t.Context(), store, ref.Log, domain.BatchStream(ref.BatchID))
	if err != nil {
		t.Fatal(err)
	}
	return b.ObjectIDs[0]
}

// happened lists what a log's streams went through since a position.
func happened(t *testing.T, store eventstore.Store, log eventstore.LogID) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for r, err := range store.Read(context.Background(), log, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(r.Stream, "-")
		all[r.Stream] = append(all[r.Stream], kind+": "+r.Type)
	}
	return all
}

// tally counts streams by what they went through.
func tally(streams map[string][]string) string {
	n := map[string]int{}
	for _, types := range streams {
		n[fmt.Sprint(types)]++
	}
	return fmt.Sprint(n)
}

// TestBatchSurvivesCrashes: wherever a process ends, the next finishes the
// batch, and the log holds what it holds without a crash.
func TestBatchSurvivesCrashes(t *testing.T) {
	store, ref := submitted(t)
	if err := handler(store).runBatch(t.Context(), ref, make(chan struct{}, 1)); err != nil {
		t.Fatal(err)
	}
	want := tally(happened(t, store, ref.Log))
	if !strings.Contains(want, "batch.completed") || !strings.Contains(want, "object.failed") {
		t.Fatalf("without a crash: %s", want)
	}
	_ = store.Close()
	crashes := 0
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			store, ref := submitted(t)
			c := &crashing{Follower: store, left: n, after: after}
			err := handler(c).runBatch(t.Context(), ref, make(chan struct{}, 2))
			if !c.crashed {
				if err != nil {
					t.Fatal(err)
				}
				_ = store.Close()
				break
			}
			crashes++
			if !errors.Is(err, errCrashed) {
				t.Fatalf("crashed at append %d: %v", n, err)
			}
			if err := handler(store).runBatch(t.Context(), ref, make(chan struct{}, 2)); err != nil {
				t.Fatal(err)
			}
			if got := tally(happened(t, store, ref.Log)); got != want {
				t.Errorf("crashed at append %d (after it: %v): the log holds\n%s, want\n%s", n, after, got, want)
			}
			report, err := eventstore.Verify(t.Context(), store, ref.Log)
			if err != nil || !report.OK() {
				t.Errorf("crashed at append %d: %+v, %v", n, report, err)
			}
			_ = store.Close()
		}
	}
	if crashes < 16 {
		t.Errorf("%d crashes; a batch of three objects in two tiers has at least eight appends", crashes)
	}
}

// meddling changes an object just before its first extraction is appended.
type meddling struct {
	eventstore.Follower
	once   sync.Once
	change func()
}

func (m *meddling) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	m.once.Do(m.change)
	return m.Follower.Append(ctx, a)
}

// TestObjectChangesWhileItIsExtracted: documents are of the newest version, never a mixture.
func TestObjectChangesWhileItIsExtracted(t *testing.T) {
	store, ref := submitted(t)
	defer store.Close()
	in, object := ref.system(), firstObject(t, store, ref)
	m := &meddling{Follower: store, change: func() {
		_, err := handler(store).ChangeObject(t.Context(), in, "b", object, func(o domain.Object) (domain.Object, error) {
			o.Fields = map[string]json.RawMessage{"text": json.RawMessage(`"changed"`)}
			return o, nil
		})
		if err != nil {
			t.Error(err)
		}
	}}
	if err := handler(m).runBatch(t.Context(), ref, make(chan struct{}, 1)); err != nil {
		t.Fatal(err)
	}
	o, _, err := state[domain.ObjectState](t.Context(), store, ref.Log, domain.ObjectStream(object))
	if err != nil {
		t.Fatal(err)
	}
	for collection, ids := range o.Extracted {
		if len(ids) != 1 || o.Outcomes[collection].ObjectVersion != o.SavedVersion {
			t.Errorf("%s has documents %v of version %d; want one of version %d", collection, ids, o.Outcomes[collection].ObjectVersion, o.SavedVersion)
			continue
		}
		d, _, err := state[domain.DocumentState](t.Context(), store, ref.Log, domain.DocumentStream(ids[0]))
		if err != nil || string(d.Payload["text"]) != `"changed"` || d.Lineage.RootVersion != o.SavedVersion {
			t.Errorf("%s: document %s of version %d, %v", collection, d.Payload["text"], d.Lineage.RootVersion, err)
		}
	}
	if len(o.Extracted) != 2 {
		t.Errorf("extracted into %d collections, want 2", len(o.Extracted))
	}
	written := 0
	for stream, types := range happened(t, store, ref.Log) {
		if strings.HasPrefix(stream, "document-") {
			written += len(types)
		}
	}
	if written != 4 { // one for "changed" and one for "four", in each tier
		t.Errorf("%d events of documents, want 4", written)
	}
}

// cutting runs something after the first chunk of an object's documents, and may refuse what comes later.
type cutting struct {
	eventstore.Follower
	once  sync.Once
	after func() error
	err   error
}

func (c *cutting) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	if c.err != nil {
		return eventstore.Appended{}, c.err
	}
	done, err := c.Follower.Append(ctx, a)
	if err == nil && len(a.Batches) > chunk {
		c.once.Do(func() { c.err = c.after() })
	}
	return done, err
}

// existing lists the documents of a log that are there.
func existing(t *testing.T, store eventstore.Store, log eventstore.LogID) (ids []string) {
	t.Helper()
	for stream := range happened(t, store, log) {
		if !strings.HasPrefix(stream, "document-") {
			continue
		}
		d, _, err := state[domain.DocumentState](t.Context(), store, log, stream)
		if err != nil {
			t.Fatal(err)
		}
		if d.Exists {
			ids = append(ids, d.DocumentID)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestObjectChangesBetweenChunks: of an object that changes when some of its many
// documents are written, no document of the version before stays, also where the
// process ends in between, and none where it is deleted.
func TestObjectChangesBetweenChunks(t *testing.T) {
	long := fmt.Sprintf(`{"text":%q}`, strings.Repeat("a b ", chunk+100)) // two words a document
	for _, way := range []struct {
		name          string
		ends, deleted bool
		want          int // documents, one of each collection
	}{{"goes on", false, false, 2}, {"ends", true, false, 2}, {"deleted", false, true, 0}} {
		t.Run(way.name, func(t *testing.T) {
			store, ref := submittedOf(t, long)
			defer store.Close()
			in, object := ref.system(), firstObject(t, store, ref)
			change := func() error {
				if way.deleted {
					return handler(store).DeleteObject(t.Context(), in, "b", object, "")
				}
				_, err := handler(store).ChangeObject(t.Context(), in, "b", object, func(o domain.Object) (domain.Object, error) {
					o.Fields = map[string]json.RawMessage{"text": json.RawMessage(`"c d"`)}
					return o, nil
				})
				return err
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			c := &cutting{Follower: store, after: func() error {
				if err := change(); err != nil {
					t.Error(err)
				}
				if way.ends {
					stop()
					return errors.New("as if the process had ended")
				}
				return nil
			}}
			if err := handler(c).runBatch(ctx, ref, make(chan struct{}, 1)); (err != nil) != way.ends {
				t.Fatal(err)
			}
			if way.ends {
				if err := handler(store).runBatch(t.Context(), ref, make(chan struct{}, 1)); err != nil {
					t.Fatal(err)
				}
			}
			o, _, err := state[domain.ObjectState](t.Context(), store, ref.Log, domain.ObjectStream(object))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, ids := range o.Extracted {
				want = append(want, ids...)
			}
			slices.Sort(want)
			if have := existing(t, store, ref.Log); len(want) != way.want || !slices.Equal(have, want) {
				t.Errorf("%d documents exist, the object has %d; want %d", len(have), len(want), way.want)
			}
		})
	}
}

// flaky refuses some appends and then none.
type flaky struct {
	eventstore.Follower
	mu   sync.Mutex
	left int
}

func (f *flaky) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	f.mu.Lock()
	refuse := f.left > 0
	f.left--
	f.mu.Unlock()
	if refuse {
		return eventstore.Appended{}, errors.New("no space left on device")
	}
	return f.Follower.Append(ctx, a)
}

// TestBatchIsTriedAgain: what stops a batch without being an object's own fault
// does not end it.
func TestBatchIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ref := submitted(t)
		h := handler(&flaky{Follower: store, left: 5})
		h.ActiveBatches = func(context.Context) ([]BatchRef, error) { return []BatchRef{ref}, nil }
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.RunBatches(ctx, 2) }()
		begun := time.Now()
		time.Sleep(10 * time.Minute) // of the bubble's clock
		s, _, err := state[domain.BatchState](ctx, store, ref.Log, domain.BatchStream(ref.BatchID))
		if err != nil || s.Status != domain.StatusCompletedWithErrors {
			t.Errorf("%s, %v", s.Status, err)
		}
		if waited := s.Updated.Time.Sub(begun); waited < time.Second {
			t.Errorf("tried again after %s", waited)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestBatchRunnerMissesNoWake: a batch that is woken while it ends is looked at again.
func TestBatchRunnerMissesNoWake(t *testing.T) {
	var r batchRunner
	ref := BatchRef{Log: "n", BatchID: "btch_1"}
	run := r.begin(ref)
	look := r.attempt(t.Context(), run)
	if r.begin(ref) != nil {
		t.Fatal("a batch runs twice")
	}
	if r.end(ref, run, false) {
		t.Fatal("the wake was lost")
	}
	if look.Err() == nil {
		t.Fatal("the look that ended is still allowed to work")
	}
	look = r.attempt(t.Context(), run)
	r.interrupt(ref.Log, ref.BatchID)
	if look.Err() == nil {
		t.Fatal("interrupted, and still allowed to work")
	}
	if r.end(ref, run, false) {
		t.Fatal("not looked at again after it was interrupted")
	}
	r.attempt(t.Context(), run)
	if !r.end(ref, run, false) || r.begin(ref) == nil {
		t.Fatal("it does not end")
	}
}
