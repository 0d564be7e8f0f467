package http_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "varve/http/scenario"
)

// post sends a request of the admin into the namespace.
func (s *served) post(path, key, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("POST", path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+s.Keys["admin"])
	req.Header.Set("X-Namespace", "films")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, req)
	return w
}

// TestRacingWriters: of requests that race for one thing, one has it.
func TestRacingWriters(t *testing.T) {
	t.Parallel()
	s := reviews(t)
	s.films(t, Step{Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"keyed","bucket_schema":{"properties":{"sku":{"type":"string"}}},"unique_key":{"fields":["sku"]}}`})
	for _, c := range []struct {
		name, path, key, body string
		answers               string // statuses, by how often
		same                  string // member that is the same in all good answers
		events                int
	}{
		{"a repeated request", objects, "k", `{"title":"once"}`, "map[200:8]", "object_id", 1},
		{"an object's own key", objects, "", `{"title":"once","idempotency_key":"o"}`, "map[200:8]", "object_id", 1},
		{"a unique key", "/v1/buckets/keyed/objects", "", `{"sku":"x"}`, "map[200:1 409:7]", "object_id", 1},
		{"a unique key that is written over", "/v1/buckets/keyed/objects?policy=upsert", "", `{"sku":"y"}`, "map[200:8]", "object_id", 8},
		{"a name", "/v1/buckets", "", `{"bucket_name":"mine","bucket_schema":{"properties":{}}}`, "map[200:1 409:7]", "bucket_id", 1},
		{"a repeated bucket", "/v1/buckets", "k", `{"bucket_name":"ours","bucket_schema":{"properties":{}}}`, "map[200:8]", "bucket_id", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.head(t)
			answers := make([]*httptest.ResponseRecorder, 8)
			var writers sync.WaitGroup
			for i := range answers {
				writers.Go(func() { answers[i] = s.post(c.path, c.key, c.body) })
			}
			writers.Wait()
			statuses, ids := map[int]int{}, map[any]int{}
			for _, w := range answers {
				statuses[w.Code]++
				if id, ok := Lookup(w.Body.Bytes(), c.same); ok && w.Code == 200 {
					ids[id]++
				}
			}
			if got := fmt.Sprint(statuses); got != c.answers || len(ids) != 1 {
				t.Errorf("answered %s with the ids %v, want %s with one id; one is %s", got, ids, c.answers, answers[0].Body)
			}
			if got := s.records(t, before); len(got) != c.events {
				t.Errorf("%d events, want %d", len(got), c.events)
			}
		})
	}
}

// TestThingsGoWhileABatchWaits: what a batch was made of may be deleted before it runs.
func TestThingsGoWhileABatchWaits(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t, scream("a"), scream("b"),
		Step{Name: "first", Do: "POST " + batches, Events: []string{"batch.saved", "batch.submitted"}, Body: `{"object_ids":["${a}","${b}"],"auto_submit":true}`, Save: map[string]string{"batch": "batch_id"}},
		Step{Name: "an object goes", Do: "DELETE " + objects + "/${b}", Events: objectDeleted},
		Step{Name: "a collection goes", Do: "DELETE /v1/collections/words", Events: []string{"collection.deleted"}},
	)
	stop := s.run(t)
	s.films(t, Step{Name: "done", Do: "GET " + batches + "/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED", "documents_written": 1, "failed_object_count": 0}})
	stop()
	s.films(t,
		Step{Name: "one document", Do: "POST /v1/documents/list", Check: map[string]any{"results.#": 1, "results.0._internal.lineage.root_object_id": "${a}"}},
		Step{Name: "retry", Do: "POST " + batches + "/${batch}/retry", Body: `{"retry_mode":"all"}`, Events: batchSubmitted},
		Step{Name: "second", Do: "POST " + batches, Events: []string{"batch.saved", "batch.submitted"}, Body: `{"object_ids":["${a}"],"auto_submit":true}`, Save: map[string]string{"second": "task_id"}},
		Step{Name: "the bucket goes", Do: "DELETE /v1/buckets/reviews", Events: []string{"bucket.deleted"}},
	)
	before := s.head(t)
	stop = s.run(t)
	s.films(t,
		Step{Name: "its batch ends all the same", Do: "GET /v1/batches/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED"}},
		Step{Name: "and the other", Do: "GET /v1/tasks/${second}", Until: true, Check: map[string]any{"status": "COMPLETED"}},
	)
	stop()
	if got := count(s.records(t, before)); got["document.written"] != 0 || got["object.extracted"] != 0 {
		t.Errorf("of a bucket that is gone was extracted: %v", got)
	}
}

// until waits for an event of the namespace after a position.
func (s *served) until(t *testing.T, after uint64, event string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		head, err := s.Store.Head(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if count(s.records(t, after))[event] > 0 {
			return
		}
		if err := s.Store.Wait(ctx, 0, head); err != nil {
			t.Fatalf("wait for %s: %v", event, err)
		}
	}
}

// TestManyDocumentsOfOneObject: more than fit into one append are written, removed and deleted all the same.
func TestManyDocumentsOfOneObject(t *testing.T) {
	t.Parallel()
	s := reviews(t)
	const n = 5200
	s.films(t,
		Step{Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"chars","source":{"type":"bucket","bucket_ids":["reviews"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","parameters":{"split_by":"characters","chunk_size":1},"input_mappings":{"text":"text"}}}`},
		Step{Name: "object", Do: "POST " + objects, Events: objectSaved, Body: `{"text":"` + strings.Repeat("ab", n/2) + `"}`, Save: map[string]string{"a": "object_id"}},
	)
	stop := s.run(t)
	process := func(want int) {
		t.Helper()
		before := s.head(t)
		s.films(t, Step{Name: "batch", Do: "POST " + batches, AnyEvents: true, Body: `{"object_ids":["${a}"],"auto_submit":true}`, Save: map[string]string{"batch": "batch_id"}})
		s.until(t, before, "batch.completed")
		s.films(t,
			Step{Name: "done", Do: "GET " + batches + "/${batch}", Check: map[string]any{"status": "COMPLETED", "documents_written": want}},
			Step{Name: "counted", Do: "GET /v1/collections/chars/documents/count", Check: map[string]any{"count": want}})
	}
	process(n)
	s.films(t, Step{Name: "shorter", Do: "PATCH " + objects + "/${a}", AnyEvents: true, Body: `{"text":"abc"}`})
	process(3)
	stop()
	s.films(t,
		Step{Name: "delete", Do: "DELETE " + objects + "/${a}", Events: []string{"object.deleted", "document.deleted", "document.deleted", "document.deleted"}},
		Step{Name: "none left", Do: "GET /v1/collections/chars/documents/count", Check: map[string]any{"count": 0}},
	)
}
