package http_test

import (
	"fmt"
	"strings"
	"testing"

	. "varve/http/scenario"
)

var retrieverSaved = []string{"retriever.saved"}

// find is a retriever that searches texts for an input.
const find = `{"retriever_name":"find","collection_identifiers":["texts"],"input_schema":{"query":{"type":"string","required":true},"year":{"type":"integer"}},"stages":[
	{"stage_name":"search","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":10}],"final_top_k":10}}},
	{"stage_name":"since","config":{"stage_id":"attribute_filter","parameters":{"conditions":{"field":"made","operator":"gte","value":"{{INPUT.year}}"}}}},
	{"stage_name":"top","config":{"stage_id":"limit","parameters":{"limit":3}}}]}`

// library makes documents of four films to search.
func library(t *testing.T) *served {
	t.Helper()
	s := tiers(t)
	stop := s.run(t)
	var many []string
	for _, f := range []struct {
		title, text string
		year        int
	}{
		{"Alien", "a crew in a spaceship meets a creature that hunts them in the dark", 1979},
		{"Brazil", "a clerk dreams of flying away from the offices and papers of the state", 1985},
		{"Cube", "strangers wake in a maze of rooms, some of them with traps", 1997},
		{"Dune", "a young man becomes a leader among the people of a desert planet", 2021},
	} {
		many = append(many, fmt.Sprintf(`{"title":%q,"year":%d,"blobs":[{"property":"text","type":"text","data":%q}]}`, f.title, f.year, f.text))
	}
	s.films(t,
		Step{Name: "films", Do: "POST " + objects + "/batch?auto_process=true", AnyEvents: true, Body: `{"objects":[` + strings.Join(many, ",") + `]}`, Save: map[string]string{"alien": "succeeded.0.object_id"}},
		Step{Name: "extracted", Do: "POST /v1/batches/list", Until: true, Check: map[string]any{"results.0.status": "COMPLETED", "results.0.failed_object_count": 0}},
	)
	stop()
	s.Vars["full"] = fmt.Sprint(s.head(t))
	return s
}

func TestRetrieverScenario(t *testing.T) {
	t.Parallel()
	s := tiers(t)
	s.films(t,
		Step{Name: "create", Do: "POST /v1/retrievers", Events: retrieverSaved, Body: find, Save: map[string]string{"r": "retriever_id", "created": "created_at"},
			Check: map[string]any{"retriever_id": Match("^ret_"), "retriever_name": "find", "collection_ids.0": "${texts}", "collection_identifiers.0": "${texts}", "version": 1, "stages.#": 3, "stages.0.config.stage_id": "feature_search", "stages.0.parameters.final_top_k": 10,
				"stages.1.stage_type": "filter", "stages.2.stage_type": "reduce", "input_schema.query.type": "string", "retriever.retriever_id": Present}},
		Step{Name: "get by name", Do: "GET /v1/retrievers/find", Check: map[string]any{"retriever_id": "${r}", "version": 1}},
		Step{Name: "get by id", Do: "GET /v1/retrievers/${r}", Check: map[string]any{"retriever_name": "find"}},
		Step{Name: "spelled as the wrapper does", Do: "POST /v1/retrievers", Events: retrieverSaved, Body: `{"retriever_name":"flat","collection_ids":["texts","words"],"stages":[{"type":"vector_search","query":"{{INPUT.query}}","limit":5}]}`, Check: map[string]any{"stages.0.config.stage_id": "feature_search", "collection_ids.#": 2}},
		Step{Name: "change", Do: "PATCH /v1/retrievers/find", Events: retrieverSaved, Body: `{"description":"films","tags":["a","b"],"stages":[{"stage_name":"all","config":{"stage_id":"attribute_filter","parameters":{"field":"title","operator":"eq","value":"{{INPUT.query}}"}}}]}`, Check: map[string]any{"retriever.version": 2, "retriever.description": "films"}},
		Step{Name: "the next sees it", Do: "GET /v1/retrievers/${r}", Check: map[string]any{"version": 2, "stages.#": 1, "stages.0.stage_name": "all", "tags.#": 2, "created_at": "${created}"}},
		Step{Name: "as it was", Do: "GET /v1/retrievers/${r}?as_of=5", Check: map[string]any{"version": 1, "stages.#": 3}},
		Step{Name: "as of its time", Do: "GET /v1/retrievers/${r}?as_of=${created}", Check: map[string]any{"version": 1}},
		Step{Name: "stale", Do: "PATCH /v1/retrievers/find", Header: map[string]string{"If-Match": `"5"`}, Body: `{"description":"x"}`, Status: 409, Check: map[string]any{"error.code": "version_mismatch"}},
		Step{Name: "a further input is optional", Do: "PATCH /v1/retrievers/find", Events: retrieverSaved, Body: `{"input_schema":{"query":{"type":"string","required":true},"year":{"type":"integer"},"lang":{"type":"string"}}}`},
		Step{Name: "an input that disappears breaks callers", Do: "PATCH /v1/retrievers/find", Body: `{"input_schema":{"year":{"type":"integer"},"lang":{"type":"string"}}}`, Status: 422, Check: map[string]any{"error.details.validation_errors.0.location": []string{"body", "input_schema", "query"}}},
		wrong("the budget stays", "PATCH /v1/retrievers/find", `{"budget_limits":{"max_time_ms":5}}`, "budget_limits"),
		Step{Name: "clone", Do: "POST /v1/retrievers/find/clone", Events: retrieverSaved, Body: `{"retriever_name":"copy"}`, Check: map[string]any{"source_retriever_id": "${r}", "retriever.retriever_name": "copy", "retriever.version": 1, "retriever.stages.0.stage_name": "all"}},
		wrong("a clone without a name", "POST /v1/retrievers/find/clone", `{}`, "retriever_name"),
		Step{Name: "list", Do: "GET /v1/retrievers", Check: map[string]any{"results.#": 3, "total": 3}},
		Step{Name: "list, filtered", Do: "POST /v1/retrievers/list", Body: `{"filters":{"retriever_name":"copy"}}`, Check: map[string]any{"results.#": 1, "total": 1}},
		Step{Name: "list, searched", Do: "POST /v1/retrievers/list", Body: `{"search":"vector_search"}`, Check: map[string]any{"results.#": 0}},
		Step{Name: "stages", Do: "GET /v1/retrievers/stages", Check: map[string]any{"#": 5, "0.stage_id": "attribute_filter"}},
		Step{Name: "another organization", As: "other", Do: "GET /v1/retrievers/${r}", Status: 404},
		Step{Name: "delete", Do: "DELETE /v1/retrievers/find", Events: []string{"retriever.deleted"}, Check: map[string]any{"retriever_id": "${r}"}},
		Step{Name: "deleted", Do: "GET /v1/retrievers/${r}", Status: 404},
		Step{Name: "deleted twice", Do: "DELETE /v1/retrievers/find", Status: 404},
		Step{Name: "not run any more", Do: "POST /v1/retrievers/find/execute", Body: `{"inputs":{"query":"x"}}`, Status: 404},
		Step{Name: "still there as of then", Do: "GET /v1/retrievers/find?as_of=5", Check: map[string]any{"retriever_id": "${r}"}},
	)
}

func TestRetrieverBadInput(t *testing.T) {
	t.Parallel()
	const do = "POST /v1/retrievers"
	s := tiers(t)
	stages := func(list string) string {
		return `{"retriever_name":"r","collection_identifiers":["texts"],"input_schema":{"query":{"type":"string"}},"stages":[` + list + `]}`
	}
	search := func(members string) string {
		return stages(`{"stage_name":"s","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}"` + members + `}]}}}`)
	}
	filter := func(f string) string {
		return stages(`{"stage_name":"s","config":{"stage_id":"attribute_filter","parameters":{"conditions":` + f + `}}}`)
	}
	parameters := []any{"stages", 0, "config", "parameters"}
	at := func(more ...any) []any { return append(append([]any{}, parameters...), more...) }
	s.films(t,
		wrong("no name", do, `{"stages":[{"type":"feature_search"}]}`, "retriever_name"),
		wrong("no stages", do, `{"retriever_name":"r"}`, "stages"),
		wrong("stages that are an object", do, `{"retriever_name":"r","stages":{}}`, "stages"),
		wrong("a stage that is text", do, stages(`"search"`), "stages", 0),
		wrong("a stage that is none", do, stages(`{"stage_name":"s","config":{"stage_id":"magic"}}`), "stages", 0, "config", "stage_id"),
		refused("a stage of the reference that is not here", do, stages(`{"stage_name":"s","config":{"stage_id":"rerank"}}`), 501, "rerank"),
		wrong("a collection that is not there", do, strings.Replace(find, `["texts"]`, `["texts","none"]`, 1), "collection_identifiers", 1),
		wrong("a feature that is not there", do, strings.Replace(find, "text_extractor@v1/embedding", "image_extractor@v1/embedding", 1), at("searches", 0, "feature_uri")...),
		wrong("a template that names nothing", do, strings.Replace(find, "{{INPUT.query}}", "{{INPUT.qery}}", 1), at("searches", 0, "query")...),
		wrong("a namespace of templates that is none", do, strings.Replace(find, "{{INPUT.query}}", "{{USER.query}}", 1), at("searches", 0, "query")...),
		wrong("a template that does not end", do, strings.Replace(find, "{{INPUT.query}}", "{{INPUT.query", 1), at("searches", 0, "query")...),
		wrong("a wrong type", do, search(`,"top_k":"ten"`), at("searches", 0, "top_k")...),
		wrong("out of range", do, search(`,"top_k":0`), at("searches", 0, "top_k")...),
		wrong("an unknown member", do, search(`,"topk":5`), at("searches", 0, "topk")...),
		wrong("an empty filter", do, filter(`{}`), at("conditions")...),
		wrong("a list of nothing", do, filter(`{"OR":[]}`), at("conditions", "OR")...),
		wrong("an operator that is none", do, filter(`{"field":"a","operator":"like","value":1}`), at("conditions", "operator")...),
		wrong("a filter without a value", do, filter(`{"field":"a","operator":"gt"}`), at("conditions", "value")...),
		wrong("a pattern that is none", do, filter(`{"field":"a","operator":"regex","value":"("}`), at("conditions", "value")...),
		wrong("nothing to limit", do, stages(`{"stage_name":"s","config":{"stage_id":"limit","parameters":{"limit":3}}}`), "stages", 0),
		wrong("a direction that is none", do, stages(`{"type":"feature_search","query":"x"},{"stage_name":"s","config":{"stage_id":"sort_attribute","parameters":{"field":"a","direction":"up"}}}`), "stages", 1, "config", "parameters", "direction"),
		wrong("an input of a type that is none", do, strings.Replace(find, `"type":"integer"`, `"type":"whole"`, 1), "input_schema", "year", "type"),
		wrong("an input schema that is a list", do, strings.Replace(find, `"input_schema":{`, `"input_schema":[],"x":{`, 1), "input_schema"),
		wrong("a visibility that is none", do, strings.Replace(find, `{"retriever_name"`, `{"visibility":"secret","retriever_name"`, 1), "visibility"),
		refused("NaN", do, search(`,"min_score":NaN`), 400, "not JSON"),
		refused("too deep", do, filter(strings.Repeat(`{"NOT":[`, 40)+`{"a":1}`+strings.Repeat(`]}`, 40)), 400, "deeper than 64"),
		refused("a filter too deep", do, filter(strings.Repeat(`{"NOT":[`, 25)+`{"a":1}`+strings.Repeat(`]}`, 25)), 422, "deep"),
		refused("an unknown one", "GET /v1/retrievers/ret_none", "", 404, "ret_none"),
		Step{Name: "nothing is there", Do: "GET /v1/retrievers", Check: map[string]any{"results.#": 0}},
		Step{Name: "good", Do: do, Events: retrieverSaved, Body: find},
		Step{Name: "a name in use", Do: do, Body: find, Status: 409, Check: map[string]any{"error.code": "retriever_name_taken"}},
		wrong("a change is held to the same", "PATCH /v1/retrievers/find", `{"stages":[{"stage_name":"s","config":{"stage_id":"limit"}}]}`, "stages", 0),
		wrong("a collection that is not there, later", "PATCH /v1/retrievers/find", `{"collection_identifiers":["none"]}`, "collection_identifiers", 0),
	)
}
