package http_test

import (
	"testing"

	. "varve/http/scenario"
)

// TestDocumentServed plays documents on the whole server: as of a time, and as
// a retriever's stages and answers show them.
func TestDocumentServed(t *testing.T) {
	const path = "/v1/collections/notes/documents"
	written := []string{"document.written"}
	films(t).films(t,
		Step{Do: "POST /v1/buckets", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"text":{"type":"text"}}}}`, AnyEvents: true, Save: map[string]string{"bucket": "bucket_id"}},
		Step{Do: "POST /v1/collections", AnyEvents: true, Body: `{"collection_name":"notes","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1"}}`},
		Step{Do: "POST " + path, Events: written, Body: `{"document_id":"a","title":"Alien","year":1979,"price":1.50,"metadata":{"lang":"en"}}`, Save: map[string]string{"then": "_internal.updated_at"}},
		Step{Do: "PATCH " + path + "/a", Events: written, Body: `{"year":1980}`},
		Step{Name: "as of a time", Do: "GET " + path + "/a?as_of=${then}", Check: map[string]any{"year": 1979}},
		Step{Name: "list as of a time", Do: "GET " + path + "?as_of=${then}", Check: map[string]any{"results.0.year": 1979}},
		Step{Name: "not yet", Do: "GET " + path + "/a?as_of=1", Status: 404},
		Step{Name: "beyond the newest", Do: "GET " + path + "/a?as_of=999999", Status: 422},
		Step{Name: "not a time", Do: "GET " + path + "/a?as_of=yesterday", Status: 422},
		Step{Name: "in a retriever", Do: "POST /v1/retrievers/execute", AnyEvents: true,
			Body:  `{"collection_identifiers":["notes"],"stages":[{"stage_name":"f","stage_type":"filter","config":{"stage_id":"attribute_filter","parameters":{"field":"_internal.lineage.source_type","operator":"eq","value":"direct_upsert"}}}]}`,
			Check: map[string]any{"results.#": 1, "results.0.document_id": "a", "results.0.year": 1980, "results.0.metadata.lang": "en", "results.0._internal.lineage.chain.#": 0, "results.0.searchable_at": Present, "results.0._internal.namespace_id": Absent}},
		Step{Name: "the collection deleted", Do: "DELETE /v1/collections/notes", AnyEvents: true},
		Step{Name: "with its documents", Do: "GET /v1/documents/a", Status: 404},
		Step{Name: "which were there", Do: "GET /v1/documents/a?as_of=${then}", Check: map[string]any{"year": 1979}},
		Step{Name: "of the namespace", Do: "POST /v1/documents/list", Check: map[string]any{"results.#": 0}},
	)
}
