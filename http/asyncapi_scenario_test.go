package http_test

import (
	"testing"

	. "varve/http/scenario"
)

func TestEventDocumentScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	s.Play(t,
		Step{Name: "the document", As: "nobody", Do: "GET /asyncapi.json", Check: map[string]any{"asyncapi": "3.0.0", "channels.#": 2, "info.title": Present, "info.version": Present, "defaultContentType": "application/json"}},
		Step{Name: "an event's schema", As: "nobody", Do: "GET /asyncapi/schemas/bucket.saved", Check: map[string]any{"title": "bucket.saved", "type": "object", "properties.bucket_name.type": "string", "required": []string{"bucket_id", "bucket_name"}, "$defs.UniqueKey.type": "object"}},
		Step{Name: "no such event", As: "nobody", Do: "GET /asyncapi/schemas/bucket.painted", Status: 404, Check: map[string]any{"error.message": Match("bucket.painted")}},
	)
}
