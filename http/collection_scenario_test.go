package http_test

import (
	"fmt"
	"strings"
	"testing"

	. "varve/http/scenario"
)

var collectionSaved = []string{"collection.saved"}

const textsOf = `{"collection_name":"%s","source":{"type":"bucket","bucket_ids":["reviews"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"},"field_passthrough":["title",{"source_path":"year","target_path":"made"}]%s}}`

// tiers makes a bucket, a collection of it and a collection of that collection.
func tiers(t *testing.T) *served {
	t.Helper()
	s := reviews(t)
	s.films(t,
		Step{Do: "POST /v1/collections", Events: collectionSaved, Body: fmt.Sprintf(textsOf, "texts", ""), Save: map[string]string{"texts": "collection_id"}},
		Step{Do: "POST /v1/collections", Events: collectionSaved, Save: map[string]string{"words": "collection_id"},
			Body: `{"collection_name":"words","source":{"type":"collection","collection_id":"texts"},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","parameters":{"split_by":"words","chunk_size":2},"input_mappings":{"text":"text"},"field_passthrough":["title"]}}`},
	)
	return s
}

func TestCollectionScenario(t *testing.T) {
	t.Parallel()
	s := reviews(t)
	s.films(t,
		Step{Name: "create", Do: "POST /v1/collections", Events: collectionSaved, Body: fmt.Sprintf(textsOf, "texts", `,"parameters":{"split_by":"sentences"}`), Save: map[string]string{"k": "collection_id", "created": "created_at"},
			Check: map[string]any{"collection_id": Match("^col_[0-9a-f]+$"), "source.bucket_ids.0": "${bucket}", "feature_extractor.feature_extractor_id": "text_extractor_v1", "feature_extractor.parameters.split_by": "sentences", "feature_extractor.parameters.extractor_type": "text_extractor",
				"feature_extractor.field_passthrough.0.source_path": "title", "feature_extractor.field_passthrough.1.target_path": "made", "feature_extractor.input_mappings.text": "text", "vector_indexes.0.feature_uri": Match("^mixpeek://text_extractor@v1/"), "enabled": true, "document_count": 0, "lifecycle_state": "active"}},
		Step{Name: "get by name", Do: "GET /v1/collections/texts", Check: map[string]any{"collection_id": "${k}", "created_at": "${created}"}},
		Step{Name: "get by id", Do: "GET /v1/collections/${k}", Check: map[string]any{"collection_name": "texts"}},
		Step{Name: "features", Do: "GET /v1/collections/texts/features", Check: map[string]any{"features.#": 2, "features.0.primary": true, "features.0.feature_extractor_name": "text_extractor"}},
		Step{Name: "mappings as a list", Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"listed","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":[{"input_key":"text","path":"title"},{"input_key":"text","path":"text"}]}}`, Check: map[string]any{"feature_extractor.input_mappings.text.#": 2}},
		Step{Name: "by feature", Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"by feature","source":{"type":"bucket","bucket_ids":["reviews"]},"features":["text"]}`, Check: map[string]any{"feature_extractor.feature_extractor_name": "text_extractor"}},
		Step{Name: "over a collection", Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"again","source":{"type":"collection","collection_ids":["texts"],"source_filters":{"filters":{"title":"Alien"}}},"feature_extractor":{"feature_extractor_name":"passthrough_extractor","version":"v1"},"schedule":{"trigger_type":"cron","schedule_config":{"cron":"0 0 * * *"}}}`, Save: map[string]string{"again": "collection_id"}, Check: map[string]any{"source.collection_id": "${k}", "source.source_filters.filters.title": "Alien"}},
		Step{Name: "written by clients", Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"own","source":{"type":"direct_upsert"},"feature_extractor":{"feature_extractor_name":"passthrough_extractor","version":"v1"}}`},
		Step{Name: "list", Do: "GET /v1/collections", Check: map[string]any{"results.#": 5}},
		Step{Name: "list, filtered", Do: "POST /v1/collections/list", Body: `{"filters":{"field":"source.type","operator":"eq","value":"collection"}}`, Check: map[string]any{"results.#": 1, "results.0.collection_id": "${again}"}},
		Step{Name: "change", Do: "PATCH /v1/collections/texts", Events: collectionSaved, Body: `{"description":"all of it","enabled":false,"metadata":{"a":1}}`, Check: map[string]any{"description": "all of it", "enabled": false}},
		Step{Name: "the next sees it", Do: "GET /v1/collections/${k}", Check: map[string]any{"description": "all of it", "enabled": false, "metadata.a": 1}},
		Step{Name: "as it was", Do: "GET /v1/collections/texts?as_of=3", Check: map[string]any{"description": Absent, "enabled": true}},
		Step{Name: "as of its time", Do: "GET /v1/collections/texts?as_of=${created}", Check: map[string]any{"enabled": true}},
		Step{Name: "list as it was", Do: "GET /v1/collections?as_of=3", Check: map[string]any{"results.#": 1}},
		Step{Name: "stale", Do: "PATCH /v1/collections/texts", Header: map[string]string{"If-Match": `"3"`}, Body: `{"enabled":true}`, Status: 409},
		refused("the source stays", "PATCH /v1/collections/texts", `{"source":{"type":"collection","collection_id":"again"}}`, 422, "source.*cannot change"),
		refused("the extractor stays", "PATCH /v1/collections/texts", `{"feature_extractor":{"feature_extractor_name":"passthrough_extractor"}}`, 422, "cannot change"),
		refused("one that is read stays", "DELETE /v1/collections/texts", "", 409, "again reads texts"),
		Step{Name: "delete the reader", Do: "DELETE /v1/collections/again", Events: []string{"collection.deleted"}, Check: map[string]any{"collection_id": "${again}"}},
		Step{Name: "delete", Do: "DELETE /v1/collections/${k}", Events: []string{"collection.deleted"}},
		Step{Name: "deleted", Do: "GET /v1/collections/texts", Status: 404},
		Step{Name: "deleted twice", Do: "DELETE /v1/collections/texts", Status: 404},
		Step{Name: "still there as of then", Do: "GET /v1/collections/texts?as_of=3", Check: map[string]any{"collection_id": "${k}"}},
		Step{Name: "another organization", As: "other", Do: "GET /v1/collections/listed", Status: 404},
	)
}

func TestCollectionBadInput(t *testing.T) {
	t.Parallel()
	const do = "POST /v1/collections"
	s := reviews(t)
	const source = `"source":{"type":"bucket","bucket_ids":["reviews"]}`
	const extractor = `"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1"}`
	one := func(parts ...string) string { return `{"collection_name":"kkk",` + strings.Join(parts, ",") + `}` }
	with := func(member string) string {
		return one(source, `"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1",`+member+`}`)
	}
	s.films(t,
		wrong("no name", do, `{`+source+`,`+extractor+`}`, "collection_name"),
		wrong("a short name", do, `{"collection_name":"k",`+source+`,`+extractor+`}`, "collection_name"),
		wrong("no source", do, one(extractor), "source"),
		wrong("a source that is text", do, one(`"source":"reviews"`, extractor), "source"),
		wrong("no type of source", do, one(`"source":{"bucket_ids":["reviews"]}`, extractor), "source", "type"),
		wrong("a type of source that is none", do, one(`"source":{"type":"table"}`, extractor), "source", "type"),
		wrong("no buckets", do, one(`"source":{"type":"bucket"}`, extractor), "source", "bucket_ids"),
		wrong("a bucket that is not there", do, one(`"source":{"type":"bucket","bucket_ids":["reviews","none"]}`, extractor), "source", "bucket_ids", 1),
		wrong("a collection that is not there", do, one(`"source":{"type":"collection","collection_id":"none"}`, extractor), "source", "collection_ids", 0),
		wrong("itself: nothing reads itself", do, one(`"source":{"type":"collection","collection_id":"kkk"}`, extractor), "source", "collection_ids", 0),
		wrong("an empty source filter", do, one(`"source":{"type":"bucket","bucket_ids":["reviews"],"source_filters":{}}`, extractor), "source", "source_filters"),
		wrong("an empty source filter inside", do, one(`"source":{"type":"bucket","bucket_ids":["reviews"],"source_filters":{"filters":{}}}`, extractor), "source", "source_filters"),
		wrong("no extractor", do, one(source), "feature_extractor"),
		wrong("an extractor without a name", do, one(source, `"feature_extractor":{}`), "feature_extractor", "feature_extractor_name"),
		refused("an extractor that is not there", do, one(source, `"feature_extractor":{"feature_extractor_name":"image_extractor"}`), 422, "image_extractor.*text_extractor v1"),
		refused("a version that is not there", do, one(source, `"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v9"}`), 422, "v9"),
		wrong("a feature that is none", do, one(source, `"features":["smell"]`), "features", 0),
		wrong("a wrong parameter", do, with(`"parameters":{"chunk_size":"big"}`), "feature_extractor", "parameters", "chunk_size"),
		wrong("a parameter out of range", do, with(`"parameters":{"split_by":"words","chunk_size":0}`), "feature_extractor", "parameters", "chunk_size"),
		wrong("a parameter that is not allowed", do, with(`"parameters":{"split_by":"verses"}`), "feature_extractor", "parameters", "split_by"),
		wrong("mappings that are a number", do, with(`"input_mappings":7`), "feature_extractor", "input_mappings"),
		wrong("a mapping that is a number", do, with(`"input_mappings":{"text":7}`), "feature_extractor", "input_mappings", "text"),
		wrong("a passthrough without a path", do, with(`"field_passthrough":[{"target_path":"x"}]`), "feature_extractor", "field_passthrough"),
		wrong("from another namespace", do, one(`"source":{"type":"bucket","bucket_ids":["reviews"],"source_namespace_id":"ns_x"}`, extractor), "source", "source_namespace_id"),
		refused("NaN", do, one(source, extractor, `"metadata":{"a":NaN}`), 400, "not JSON"),
		refused("unknown", "GET /v1/collections/col_none", "", 404, "col_none"),
		refused("features of an unknown one", "GET /v1/collections/col_none/features", "", 404, "col_none"),
		refused("trigger of an unknown one", "POST /v1/collections/col_none/trigger", "", 404, "col_none"),
		Step{Name: "nothing is there", Do: "GET /v1/collections", Check: map[string]any{"results.#": 0}},
		Step{Name: "good", Do: do, Body: one(source, extractor), Events: collectionSaved},
		Step{Name: "a name in use", Do: do, Body: one(source, extractor), Status: 409, Check: map[string]any{"error.code": "collection_name_taken"}},
	)
}

func TestTriggerScenario(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	submitted := []string{"batch.saved", "batch.submitted"}
	s.films(t,
		Step{Name: "nothing to run", Do: "POST /v1/collections/texts/trigger", Check: map[string]any{"object_count": 0, "batch_id": nil, "batch_ids": []string{}, "task_id": Present, "message": Match("no objects")}, Save: map[string]string{"nothing": "task_id"}},
		Step{Name: "its task", Do: "GET /v1/tasks/${nothing}", Check: map[string]any{"status": "FAILED", "task_type": "api_collections_trigger", "error": Match("no objects")}},
		Step{Name: "object", Do: "POST /v1/buckets/reviews/objects", Events: objectSaved, Body: `{"title":"Alien","blobs":[{"property":"text","type":"text","data":"In space no one can hear you scream."}]}`, Save: map[string]string{"a": "object_id"}},
		Step{Name: "object without text", Do: "POST /v1/buckets/reviews/objects", Events: objectSaved, Body: `{"title":"Brazil"}`, Save: map[string]string{"b": "object_id"}},
		Step{Name: "all", Do: "POST /v1/collections/texts/trigger", Events: submitted, Check: map[string]any{"object_count": 2, "batch_count": 1, "total_tiers": 2, "collection_id": "${texts}", "source_bucket_ids.0": "${bucket}"}, Save: map[string]string{"task": "task_id", "batch": "batch_id"}},
		Step{Name: "the batch is there", Do: "GET /v1/batches/${batch}", Check: map[string]any{"status": "PROCESSING", "task_id": "${task}", "dag_tiers.#": 2, "dag_tiers.0.0": "${texts}", "dag_tiers.1.0": "${words}"}},
		Step{Name: "by filter", Do: "POST /v1/collections/texts/trigger", Events: submitted, Body: `{"source_filters":{"title":"Alien"}}`, Check: map[string]any{"object_count": 1}},
		Step{Name: "by ids", Do: "POST /v1/collections/words/trigger", Events: submitted, Body: `{"object_ids":["${a}"],"include_buckets":["reviews"]}`, Check: map[string]any{"object_count": 1, "total_tiers": 1}},
		wrong("a bucket that it does not read", "POST /v1/collections/texts/trigger", `{"include_buckets":["none"]}`, "include_buckets"),
		wrong("an object that is not there", "POST /v1/collections/texts/trigger", `{"object_ids":["obj_none"]}`, "object_ids", 0),
		wrong("an empty filter is not all", "POST /v1/collections/texts/trigger", `{"source_filters":{}}`, "source_filters"),
		wrong("a strategy that is none", "POST /v1/collections/texts/trigger", `{"dedup_strategy":"merge"}`, "dedup_strategy"),
		wrong("embedding again", "POST /v1/collections/texts/trigger", `{"reembed":{"model":"x"}}`, "reembed"),
		Step{Name: "a filter on a missing field", Do: "POST /v1/collections/texts/trigger", Body: `{"source_filters":{"nothing":1}}`, Check: map[string]any{"object_count": 0}},
		Step{Name: "disable", Do: "PATCH /v1/collections/texts", Events: collectionSaved, Body: `{"enabled":false}`},
		refused("disabled", "POST /v1/collections/texts/trigger", "", 409, "disabled"),
		Step{Name: "second bucket", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"more","bucket_schema":{"properties":{"text":{"type":"text"}}}}`},
		Step{Name: "of two buckets", Do: "POST /v1/collections", Events: collectionSaved, Body: `{"collection_name":"both","source":{"type":"bucket","bucket_ids":["reviews","more"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"}}}`},
		wrong("an object in neither", "POST /v1/collections/both/trigger", `{"object_ids":["${a}","obj_none"]}`, "object_ids", 1),
		Step{Name: "an object of one", Do: "POST /v1/collections/both/trigger", Body: `{"object_ids":["${a}"]}`, Events: submitted, Check: map[string]any{"batch_count": 1, "object_count": 1}},
	)
}
