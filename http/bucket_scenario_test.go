package http_test

import (
	"strings"
	"testing"

	. "varve/http/scenario"
)

var bucketSaved = []string{"bucket.saved"}

func TestBucketScenario(t *testing.T) {
	t.Parallel()
	s := films(t)
	s.films(t,
		Step{Name: "create", Do: "POST /v1/buckets", Events: bucketSaved, Save: map[string]string{"b": "bucket_id", "created": "created_at"},
			Body:  `{"bucket_name":"reviews","description":"what critics said","bucket_schema":{"properties":{"text":{"type":"text"},"year":{"type":"integer"}}},"metadata":{"team":"a"}}`,
			Check: map[string]any{"bucket_id": Match("^bkt_[0-9a-f]+$"), "bucket_name": "reviews", "object_count": 0, "total_size_bytes": 0, "bucket_schema.properties.year.type": "integer", "metadata.team": "a", "status": "ACTIVE"}},
		Step{Name: "get by name", Do: "GET /v1/buckets/reviews", Check: map[string]any{"bucket_id": "${b}", "description": "what critics said", "created_at": "${created}"}},
		Step{Name: "get by id", Do: "GET /v1/buckets/${b}", Check: map[string]any{"bucket_name": "reviews"}},
		Step{Name: "a name in use", Do: "POST /v1/buckets", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{}}}`, Status: 409, Check: map[string]any{"error.code": "bucket_name_taken"}},
		Step{Name: "second", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"posters","bucket_schema":{"properties":{"poster":{"type":"image"}}},"unique_key":{"fields":["poster"]}}`, Save: map[string]string{"p": "bucket_id"}, Check: map[string]any{"unique_key.default_policy": "insert"}},
		Step{Name: "list", Do: "GET /v1/buckets", Check: map[string]any{"results.#": 2}},
		Step{Name: "list, sorted", Do: "POST /v1/buckets/list", Body: `{"sort":{"field":"bucket_name","direction":"desc"},"limit":1,"include_total":true}`, Check: map[string]any{"results.#": 1, "results.0.bucket_name": "reviews", "pagination.total": 2, "pagination.next_cursor": Present}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "list, filtered", Do: "POST /v1/buckets/list", Body: `{"filters":{"bucket_name":"posters"}}`, Check: map[string]any{"results.#": 1, "results.0.bucket_id": "${p}"}},
		Step{Name: "list, searched", Do: "GET /v1/buckets?search=critics", Check: map[string]any{"results.#": 1, "results.0.bucket_id": "${b}"}},
		Step{Name: "change", Do: "PATCH /v1/buckets/reviews", Events: bucketSaved, Body: `{"description":"what people said","bucket_schema":{"properties":{"text":{"type":"text"},"year":{"type":"integer"},"stars":{"type":"number"}}}}`, Check: map[string]any{"description": "what people said", "metadata.team": "a"}},
		Step{Name: "the next sees the change", Do: "GET /v1/buckets/${b}", Check: map[string]any{"description": "what people said", "bucket_schema.properties.stars.type": "number"}},
		Step{Name: "rename", Do: "PUT /v1/buckets/${b}", Events: bucketSaved, Body: `{"bucket_name":"opinions"}`, Check: map[string]any{"bucket_name": "opinions"}},
		Step{Name: "the old name is gone", Do: "GET /v1/buckets/reviews", Status: 404},
		Step{Name: "as it was", Do: "GET /v1/buckets/reviews?as_of=2", Check: map[string]any{"bucket_id": "${b}", "description": "what critics said"}},
		Step{Name: "as it was not yet", Do: "GET /v1/buckets/reviews?as_of=1", Status: 404},
		Step{Name: "as of a time", Do: "GET /v1/buckets/reviews?as_of=${created}", Check: map[string]any{"bucket_id": "${b}"}},
		Step{Name: "as of before everything", Do: "GET /v1/buckets/reviews?as_of=2001-01-01T00:00:00Z", Status: 404},
		Step{Name: "as of what is not yet", Do: "GET /v1/buckets/reviews?as_of=9999", Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"query", "as_of"}}},
		Step{Name: "as of nothing", Do: "GET /v1/buckets/reviews?as_of=yesterday", Status: 422, Check: map[string]any{"error.message": Match("position.*time")}},
		Step{Name: "rename to a name in use", Do: "PATCH /v1/buckets/posters", Body: `{"bucket_name":"opinions"}`, Status: 409},
		Step{Name: "a breaking change", Do: "PATCH /v1/buckets/opinions", Body: `{"bucket_schema":{"properties":{"text":{"type":"text"},"year":{"type":"boolean"}}}}`, Status: 422, Check: map[string]any{"error.code": "breaking_schema_change", "error.details.validation_errors.#": 2}},
		Step{Name: "a forced change", Do: "PATCH /v1/buckets/opinions?force_schema_break=true", Events: bucketSaved, Body: `{"bucket_schema":{"properties":{"text":{"type":"text"}}}}`, Check: map[string]any{"bucket_schema.properties.#": 1}},
		Step{Name: "stale", Do: "PATCH /v1/buckets/opinions", Header: map[string]string{"If-Match": `"2"`}, Body: `{"description":"x"}`, Status: 409, Check: map[string]any{"error.code": "version_mismatch"}},
		Step{Name: "another organization", As: "other", Do: "GET /v1/buckets/${b}", Status: 404},
		Step{Name: "delete", Do: "DELETE /v1/buckets/opinions", Events: []string{"bucket.deleted"}, Check: map[string]any{"bucket_id": "${b}", "task_id": Present, "status": Present}},
		Step{Name: "deleted", Do: "GET /v1/buckets/${b}", Status: 404},
		Step{Name: "deleted twice", Do: "DELETE /v1/buckets/opinions", Status: 404},
		Step{Name: "the name is free", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"opinions","bucket_schema":{"properties":{"text":{"type":"text"}}}}`, Check: map[string]any{"object_count": 0}},
	)
}

func TestBucketBadInput(t *testing.T) {
	t.Parallel()
	s := films(t)
	const do = "POST /v1/buckets"
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	s.films(t,
		wrong("no name", do, `{"bucket_schema":{"properties":{}}}`, "bucket_name"),
		wrong("no schema", do, `{"bucket_name":"x"}`, "bucket_schema"),
		wrong("a name that is a number", do, `{"bucket_name":7,"bucket_schema":{"properties":{}}}`, "bucket_name"),
		wrong("an empty name", do, `{"bucket_name":"","bucket_schema":{"properties":{}}}`, "bucket_name"),
		wrong("a padded name", do, `{"bucket_name":" x ","bucket_schema":{"properties":{}}}`, "bucket_name"),
		wrong("a long name", do, `{"bucket_name":"`+strings.Repeat("x", 101)+`","bucket_schema":{"properties":{}}}`, "bucket_name"),
		wrong("a schema that is a list", do, `{"bucket_name":"x","bucket_schema":[]}`, "bucket_schema"),
		wrong("a type that is none", do, `{"bucket_name":"x","bucket_schema":{"properties":{"a":{"type":"colour"}}}}`, "bucket_schema", "properties", "a", "type"),
		wrong("no type", do, `{"bucket_name":"x","bucket_schema":{"properties":{"a":{}}}}`, "bucket_schema", "properties", "a", "type"),
		wrong("a key without fields", do, `{"bucket_name":"x","bucket_schema":{"properties":{}},"unique_key":{"fields":[]}}`, "unique_key", "fields"),
		wrong("a key of a field that is not there", do, `{"bucket_name":"x","bucket_schema":{"properties":{"a":{"type":"string"}}},"unique_key":{"fields":["a","b"]}}`, "unique_key", "fields", 1),
		wrong("a policy that is none", do, `{"bucket_name":"x","bucket_schema":{"properties":{"a":{"type":"string"}}},"unique_key":{"fields":["a"],"default_policy":"replace"}}`, "unique_key", "default_policy"),
		refused("not JSON", do, `{"bucket_name":`, 400, "not JSON"),
		refused("NaN", do, `{"bucket_name":"x","metadata":{"a":NaN}}`, 400, "not JSON"),
		refused("invalid UTF-8", do, "{\"bucket_name\":\"\xff\"}", 400, "UTF-8"),
		refused("a member twice", do, `{"bucket_name":"x","bucket_name":"y"}`, 400, "bucket_name twice"),
		refused("too deep", do, `{"bucket_name":"x","metadata":`+deep+`}`, 400, "deeper than 64"),
		refused("too large", do, `{"bucket_name":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "1048576"),
		refused("an unknown id", "GET /v1/buckets/bkt_none", "", 404, "bkt_none"),
		refused("no namespace", "GET /v1/buckets?namespace=nowhere", "", 404, "nowhere"),
		wrong("an empty filter", "POST /v1/buckets/list", `{"filters":{}}`, "filters"),
		wrong("an operator that is none", "POST /v1/buckets/list", `{"filters":{"field":"a","operator":"like","value":1}}`, "filters", "operator"),
		wrong("a limit of nothing", "POST /v1/buckets/list", `{"limit":0}`, "limit"),
		wrong("a direction that is none", "POST /v1/buckets/list", `{"sort":{"field":"a","direction":"up"}}`, "sort", "direction"),
		Step{Name: "a filter on a missing field matches nothing", Do: "POST /v1/buckets/list", Body: `{"filters":{"nothing":1}}`, Check: map[string]any{"results.#": 0}},
		Step{Name: "nobody", As: "nobody", Do: "GET /v1/buckets", Status: 401},
	)
}

// TestConfigurationCursor: pages of a list of configuration stay where they are while others write.
func TestConfigurationCursor(t *testing.T) {
	t.Parallel()
	s := films(t)
	var steps []Step
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		steps = append(steps, Step{Name: name, Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"` + name + `","bucket_schema":{"properties":{}}}`})
	}
	page := `{"limit":2,"sort":{"field":"bucket_name","direction":"asc"}`
	s.films(t, append(steps,
		Step{Name: "first page", Do: "POST /v1/buckets/list", Body: page + `}`, Check: map[string]any{"results.0.bucket_name": "a", "results.1.bucket_name": "b"}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "the last seen goes", Do: "DELETE /v1/buckets/b", Events: []string{"bucket.deleted"}},
		Step{Name: "one comes before", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"aa","bucket_schema":{"properties":{}}}`},
		Step{Name: "one moves", Do: "PATCH /v1/buckets/e", Events: bucketSaved, Body: `{"bucket_name":"ab"}`},
		Step{Name: "second page", Do: "POST /v1/buckets/list", Body: page + `,"cursor":"${next}"}`, Check: map[string]any{"results.0.bucket_name": "c", "results.1.bucket_name": "d"}, Save: map[string]string{"next": "pagination.next_cursor"}},
		Step{Name: "last page", Do: "POST /v1/buckets/list", Body: page + `,"cursor":"${next}"}`, Check: map[string]any{"results.#": 1, "results.0.bucket_name": "e", "pagination.next_cursor": Absent}},
		wrong("a cursor that is none", "POST /v1/buckets/list", `{"cursor":"nonsense"}`, "cursor"),
		wrong("a cursor of the future", "POST /v1/collections/list", `{"cursor":"99.col_1"}`, "cursor"),
		wrong("no cursor of retrievers", "POST /v1/retrievers/list", `{"cursor":"nonsense"}`, "cursor"),
	)...)
}

// TestIdempotencyOfConfiguration: a request that is repeated under its key has the same answer and happens once.
func TestIdempotencyOfConfiguration(t *testing.T) {
	t.Parallel()
	s := films(t)
	key := map[string]string{"Idempotency-Key": "k1"}
	body := `{"bucket_name":"once","bucket_schema":{"properties":{"text":{"type":"text"}}}}`
	s.films(t,
		Step{Name: "first", Do: "POST /v1/buckets", Header: key, Body: body, Events: bucketSaved, Save: map[string]string{"b": "bucket_id", "created": "created_at"}},
		Step{Name: "again", Do: "POST /v1/buckets", Header: key, Body: body, Check: map[string]any{"bucket_id": "${b}", "created_at": "${created}"}},
		Step{Name: "another body", Do: "POST /v1/buckets", Header: key, Body: strings.Replace(body, "once", "twice", 1), Status: 409, Check: map[string]any{"error.code": "idempotency_key_reused"}},
		Step{Name: "another operation", Do: "POST /v1/collections", Header: key, Body: `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["once"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1"}}`, Events: []string{"collection.saved"}, Save: map[string]string{"c": "collection_id"}},
		Step{Name: "delete", Do: "DELETE /v1/buckets/once", Header: key, Events: []string{"bucket.deleted"}},
		Step{Name: "delete again", Do: "DELETE /v1/buckets/once", Header: key, Check: map[string]any{"bucket_id": "${b}"}},
	)
}
