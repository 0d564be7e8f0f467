package http_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/eventstore"
	"varve/http/openapi"
	"varve/http/scenario"
)

// open is Varve as it is served, in a directory of the test: SQLite, read
// models, index, batches. Its keys: admin of one organization, other of another.
func open(t *testing.T) *scenario.Stack {
	t.Helper()
	s, _ := openWith(t)
	return s
}

// openWith also tells which operations it serves.
func openWith(t *testing.T) (*scenario.Stack, func(openapi.Operation) bool) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	v, err := serve.Open(ctx, serve.Config{Data: t.TempDir(), Workers: 2, MaxBody: 16 << 20, RateLimit: -1, Drain: 5 * time.Second, ReadWait: scenario.Patience, LogLevel: "error", AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- v.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, v.Close()); err != nil {
			t.Error(err)
		}
	})
	s := &scenario.Stack{Handler: v.API.Handler(), Store: v.Store, Keys: map[string]string{}, Vars: map[string]string{}}
	for _, as := range []string{"admin", "other"} {
		made, err := v.Commands.CreateOrganization(ctx, commands.In{Origin: "test"}, commands.CreateOrganization{Name: as, Email: as + "@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Models.Pin(ctx, eventstore.LogID("o-"+strings.TrimPrefix(made.Organization.ID, "org_")), "directory"); err != nil {
			t.Fatal(err)
		}
		s.Keys[as] = made.APIKey
	}
	return s, v.API.Served
}

// TestFirstSteps is what someone does first, as the documents tell it.
func TestFirstSteps(t *testing.T) {
	in := func(s scenario.Step) scenario.Step {
		s.Namespace = "films"
		return s
	}
	open(t).Play(t,
		scenario.Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Events: []string{"namespace.created", "namespace.configured"}},
		in(scenario.Step{Do: "POST /v1/buckets", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"content":{"type":"text"},"year":{"type":"integer"}}}}`,
			Events: []string{"bucket.saved"}, Save: map[string]string{"bucket": "bucket_id"}}),
		in(scenario.Step{Do: "POST /v1/collections", Body: `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"content"},"field_passthrough":[{"source_path":"year"}]}}`,
			Events: []string{"collection.saved"}, Save: map[string]string{"collection": "collection_id"}}),
		in(scenario.Step{Name: "first object", Do: "POST /v1/buckets/reviews/objects", Body: `{"year":1982,"blobs":[{"property":"content","type":"text","data":"a slow film about rain and robots"}]}`,
			AnyEvents: true, Save: map[string]string{"rain": "object_id"}, Check: map[string]any{"year": 1982, "bucket_id": "${bucket}"}}),
		in(scenario.Step{Name: "second object", Do: "POST /v1/buckets/reviews/objects", Body: `{"year":1999,"blobs":[{"property":"content","type":"text","data":"people bend spoons in a green computer"}]}`,
			AnyEvents: true, Save: map[string]string{"spoons": "object_id"}}),
		in(scenario.Step{Do: "GET /v1/buckets/reviews/objects/${rain}", Check: map[string]any{"object_id": "${rain}"}}),
		in(scenario.Step{Do: "POST /v1/buckets/reviews/objects/list", Check: map[string]any{"results.#": 2}}),
		in(scenario.Step{Do: "POST /v1/buckets/reviews/batches", Body: `{"object_ids":["${rain}","${spoons}"]}`, AnyEvents: true, Save: map[string]string{"batch": "batch_id"}}),
		in(scenario.Step{Do: "POST /v1/buckets/reviews/batches/${batch}/submit", AnyEvents: true}),
		in(scenario.Step{Do: "GET /v1/buckets/reviews/batches/${batch}", Until: true, Check: map[string]any{"status": "COMPLETED"}}),
		in(scenario.Step{Do: "POST /v1/collections/texts/documents/list", Body: `{"sort":{"field":"year","direction":"asc"}}`, Check: map[string]any{"results.#": 2, "results.0.year": 1982}, Save: map[string]string{"document": "results.0.document_id"}}),
		in(scenario.Step{Do: "GET /v1/documents/${document}", Check: map[string]any{"document_id": "${document}", "year": 1982}}),
		in(scenario.Step{Do: "GET /v1/documents/${document}/lineage"}),
		in(scenario.Step{Do: "GET /v1/objects/${rain}/derived"}),
		in(scenario.Step{Do: "POST /v1/retrievers", Body: `{"retriever_name":"find","collection_identifiers":["texts"],"input_schema":{"query":{"type":"string"}},"stages":[{"stage_name":"search","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":5}],"final_top_k":5}}}]}`,
			Events: []string{"retriever.saved"}, Save: map[string]string{"retriever": "retriever_id"}}),
		in(scenario.Step{Do: "POST /v1/retrievers/find/execute", Body: `{"inputs":{"query":"bending cutlery inside computers"}}`, Check: map[string]any{"documents.#": 2, "documents.0.year": 1999, "results.0.year": 1999, "status": "completed"}, Save: map[string]string{"execution": "execution_id"}}),
		in(scenario.Step{Do: "GET /v1/retrievers/find/executions/${execution}", Check: map[string]any{"execution_id": "${execution}"}}),
		in(scenario.Step{Do: "GET /v1/namespaces/films/stats", Check: map[string]any{"document_count": 2, "object_count": 2, "bucket_count": 1, "collection_count": 1}}),
		in(scenario.Step{Name: "another organization sees none of it", As: "other", Do: "GET /v1/documents/${document}", Status: 404}),
		in(scenario.Step{Do: "DELETE /v1/buckets/reviews/objects/${rain}", AnyEvents: true}),
		in(scenario.Step{Do: "GET /v1/buckets/reviews/objects/${rain}", Status: 404}),
	)
}

func expand(s *scenario.Stack, text string) string {
	return os.Expand(text, func(name string) string { return s.Vars[name] })
}

func feedHeads(t *testing.T, s *scenario.Stack) []uint64 {
	t.Helper()
	heads := make([]uint64, s.Store.Shards())
	for shard := range heads {
		var err error
		if heads[shard], err = s.Store.Head(context.Background(), shard); err != nil {
			t.Fatal(err)
		}
	}
	return heads
}

func appendedSince(t *testing.T, s *scenario.Stack, heads []uint64) []eventstore.Record {
	t.Helper()
	var records []eventstore.Record
	for shard, head := range heads {
		for r, err := range s.Store.Feed(context.Background(), shard, head, 0) {
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
	}
	return records
}
