package http_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/eventstore"
	"varve/http/scenario"
)

// open is Varve as it is served, in a directory of the test: SQLite, read
// models, index, batches. Its keys: admin of one organization, other of another.
func open(t *testing.T) *scenario.Stack {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	v, err := serve.Open(ctx, serve.Config{Data: t.TempDir(), Workers: 2, MaxBody: 16 << 20, RateLimit: -1, Drain: 5 * time.Second, LogLevel: "error", AllowPrivate: true})
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
	return s
}

// TestFirstSteps is what someone does first, as the documents tell it.
func TestFirstSteps(t *testing.T) {
	open(t).Play(t,
		scenario.Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, Events: []string{"namespace.created", "namespace.configured"}},
		scenario.Step{Do: "POST /v1/buckets", Namespace: "films", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"content":{"type":"text"},"year":{"type":"integer"}}}}`,
			Events: []string{"bucket.saved"}, Save: map[string]string{"bucket": "bucket_id"}},
		scenario.Step{Do: "POST /v1/collections", Namespace: "films", Body: `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"content"}}}`,
			Events: []string{"collection.saved"}, Save: map[string]string{"collection": "collection_id"}},
	)
}
