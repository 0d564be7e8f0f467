package retrieve

import (
	"encoding/json"
	"strings"
	"testing"

	"varve/domain"
)

func stageOf(id, parameters string) string {
	return `{"config":{"stage_id":"` + id + `","parameters":` + parameters + `}}`
}

func searchOf(search string) string {
	return stageOf("feature_search", `{"searches":[`+search+`]}`)
}

func TestCheck(t *testing.T) {
	const dense, words = `"feature_uri":"mixpeek://text_extractor@v1/embedding"`, `"feature_uri":"mixpeek://text_extractor@v1/bm25"`
	tests := []struct {
		name        string
		collections []string
		schema      string
		stages      []string
		wants       []string // parts of violations, in order; none: it is right
		code        domain.Code
	}{
		{name: "alias of a feature", stages: []string{searchOf(`{` + dense + `,"query":"x"}`)}},
		{name: "primary feature", stages: []string{searchOf(`{"feature_uri":"mixpeek://text_extractor@v1","query":"x"}`)}},
		{name: "bare name of an output", stages: []string{searchOf(`{"feature_uri":"bm25","query":"x"}`)}},
		{name: "collections by name and id", collections: []string{"papers", "col_b"}, stages: []string{searchOf(`{` + words + `,"query":"x"}`)}},
		{name: "templates stand for any value", schema: `{"k":{"type":"integer"},"q":{"type":"string"}}`,
			stages: []string{stageOf("feature_search", `{"searches":[{`+words+`,"query":"{{INPUT.q}}","top_k":"{{INPUT.k}}","min_score":"{{INPUT.k}}","lexical":"{{INPUT.k}}"}],"fusion":"{{INPUT.q}}"}`)}},
		{name: "vectors of a passthrough collection", collections: []string{"vectors"},
			stages: []string{searchOf(`{"feature_uri":"mixpeek://passthrough_extractor@v1/v","query":{"input_mode":"vector","value":[1,0,0]}}`)}},

		{name: "no stage", wants: []string{"stages: a retriever needs at least one stage"}},
		{name: "unknown collection", collections: []string{"nope"}, stages: []string{searchOf(`{` + words + `,"query":"x"}`)},
			wants: []string{`collection_identifiers[0]: the collection "nope" does not exist; there are papers (col_a), notes (col_b), vectors (col_v)`}},
		{name: "unknown feature", stages: []string{searchOf(`{"feature_uri":"mixpeek://text_extractor@v1/clip","query":"x"}`)},
			wants: []string{`stages[0].config.parameters.searches[0].feature_uri: "mixpeek://text_extractor@v1/clip" names no feature of the collections that are searched; there are mixpeek://passthrough_extractor@v1/v, mixpeek://text_extractor@v1/minilm_l6_v2_static_256, mixpeek://text_extractor@v1/bm25`}},
		{name: "a feature of other collections", collections: []string{"vectors"}, stages: []string{searchOf(`{` + words + `,"query":"x"}`)},
			wants: []string{`names no feature of the collections that are searched; there are mixpeek://passthrough_extractor@v1/v`}},
		{name: "no feature URI", stages: []string{searchOf(`{"feature_uri":"mixpeek://x","query":"x"}`)}, wants: []string{"is not a feature URI"}},
		{name: "dimensions", collections: []string{"vectors"},
			stages: []string{searchOf(`{"feature_uri":"mixpeek://passthrough_extractor@v1/v","query":{"input_mode":"vector","value":[1,0]}}`)},
			wants:  []string{"searches[0].query.value: the vector has 2 dimensions; mixpeek://passthrough_extractor@v1/v has 3"}},
		{name: "every wrong value is named", stages: []string{stageOf("feature_search", `{"searches":[{`+words+`,"top_k":0,"weight":2,"extra":1},{"query":"x"}],"final_top_k":"many","fusion":"best"}`)},
			wants: []string{"searches[0].query: is required", "searches[0].top_k: 0 is out of range; allowed are 1 to 5000", "searches[0].weight: 2 is out of range; allowed are 0 to 1",
				"searches[0].extra: is not read here; allowed are feature_uri, query", "searches[1].feature_uri: is required",
				`final_top_k: must be a number, not "many"`, `fusion: "best" is not allowed; allowed are rrf, dbsf, weighted, max, learned`}},
		{name: "a wrong value beside an unknown feature", stages: []string{searchOf(`{"feature_uri":"mixpeek://text_extractor@v1/clip","query":"x","top_k":0}`)},
			wants: []string{"searches[0].top_k: 0 is out of range", `searches[0].feature_uri: "mixpeek://text_extractor@v1/clip" names no feature`}},
		{name: "too many searches", stages: []string{stageOf("feature_search", `{"searches":[`+strings.TrimSuffix(strings.Repeat(`{`+words+`,"query":"x"},`, 11), ",")+`]}`)},
			wants: []string{"searches: has 11 elements; at most 10"}},
		{name: "no searches", stages: []string{stageOf("feature_search", `{"searches":[]}`)}, wants: []string{"searches: has 0 elements; at least 1"}},
		{name: "learned fusion", stages: []string{stageOf("feature_search", `{"searches":[{`+words+`,"query":"x"}],"fusion":"learned"}`)}, code: domain.CodeUnsupported,
			wants: []string{"learned fusion is not in this version; there are rrf, dbsf, weighted, max"}},
		{name: "query form", stages: []string{searchOf(`{` + words + `,"query":{"input_mode":"image","value":"x"}}`)}, code: domain.CodeUnsupported, wants: []string{"image queries are not in this version"}},
		{name: "query type", stages: []string{searchOf(`{` + words + `,"query":true}`)}, wants: []string{"searches[0].query: must be a text"}},
		{name: "vector component", stages: []string{searchOf(`{` + dense + `,"query":{"input_mode":"vector","value":["x"]}}`)}, wants: []string{`searches[0].query.value[0]: must be a number`}},
		{name: "filters of a search", stages: []string{searchOf(`{` + words + `,"query":"x","filters":{"field":"a","operator":"near","value":1}}`)}, wants: []string{`searches[0].filters.operator: "near" is no operator`}},
		{name: "documents are not there yet", stages: []string{searchOf(`{` + words + `,"query":"{{DOC.title}}"}`)}, wants: []string{"searches[0].query: {{DOC.title}}: DOC is not available here"}},
		{name: "an input that is not declared", schema: `{"q":{"type":"string"}}`, stages: []string{searchOf(`{` + words + `,"query":"{{INPUT.query}}"}`)},
			wants: []string{"searches[0].query: {{INPUT.query}} names nothing; known in INPUT are q"}},
		{name: "an alias that no stage gives", stages: []string{stageOf("attribute_filter", `{"field":"a","value":"{{CONTEXT.before[0].x}}"}`)}, wants: []string{"{{CONTEXT.before}} names nothing"}},
		{name: "template of a feature URI", stages: []string{searchOf(`{"feature_uri":"{{INPUT.f}}","query":"x"}`)}, wants: []string{"searches[0].feature_uri: a feature URI cannot be a template"}},
		{name: "a template that cannot be read", stages: []string{searchOf(`{` + words + `,"query":"{{ INPUT. }}"}`)}, wants: []string{"searches[0].query: the template"}},
		{name: "a sort first", stages: []string{stageOf("sort_relevance", `{}`)}, wants: []string{"stages[0]: sort_relevance works on what a stage before it gives"}},
		{name: "empty filter", stages: []string{stageOf("attribute_filter", `{}`)}, wants: []string{"stages[0].config.parameters: the filter is empty"}},
		{name: "empty conditions", stages: []string{stageOf("attribute_filter", `{"conditions":{}}`)}, wants: []string{"parameters.conditions"}},
		{name: "no value", stages: []string{stageOf("attribute_filter", `{"field":"a","operator":"gt"}`)}, wants: []string{"parameters.value: the operator gt needs a value"}},
		{name: "natural language", stages: []string{stageOf("attribute_filter", `{"natural_language":"cheap ones"}`)}, code: domain.CodeUnsupported, wants: []string{"natural language"}},
		{name: "limit", stages: []string{searchOf(`{` + words + `,"query":"x"}`), stageOf("limit", `{"limit":0,"offset":-1}`)},
			wants: []string{"stages[1].config.parameters.limit: 0 is out of range; allowed are 1 to 10000", "stages[1].config.parameters.offset: -1 is out of range"}},
		{name: "feature address", stages: []string{searchOf(`{` + words + `,"query":"x"}`), stageOf("sort_relevance", `{"feature_address":"mixpeek://a@v1/b"}`)}, wants: []string{"stages[1].config.parameters.feature_address"}},
		{name: "narrowing to a collection of others", collections: []string{"papers"}, stages: []string{stageOf("feature_search", `{"searches":[{`+words+`,"query":"x"}],"collection_identifiers":["notes","none"]}`)},
			wants: []string{`parameters.collection_identifiers[0]: the collection "notes" is not one of the retriever's`, `collection_identifiers[1]: the collection "none" does not exist`}},
		{name: "input schema", schema: `{"q":{"type":"colour"}}`, stages: []string{searchOf(`{` + words + `,"query":"x"}`)}, wants: []string{"input_schema.q.type"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := domain.Retriever{CollectionIDs: tt.collections, InputSchema: json.RawMessage(tt.schema)}
			if len(tt.stages) > 0 {
				r = retriever(t, tt.collections, tt.stages...)
				r.InputSchema = json.RawMessage(tt.schema)
			}
			err := Check(newWorldConfig(), r)
			if len(tt.wants) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			want := domain.CodeInvalid
			if tt.code != "" {
				want = tt.code
			}
			var e *domain.Error
			if !asError(err, &e) || e.Code != want {
				t.Fatalf("got %v", err)
			}
			if want == domain.CodeUnsupported {
				if !strings.Contains(e.Message, tt.wants[0]) {
					t.Error(e.Message)
				}
				return
			}
			var got []string
			for _, v := range e.Violations {
				got = append(got, v.Path+": "+v.Message)
			}
			if len(got) != len(tt.wants) {
				t.Fatalf("violations:\n%s", strings.Join(got, "\n"))
			}
			for i := range got {
				if !strings.Contains(got[i], tt.wants[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.wants[i])
				}
			}
		})
	}
}

func TestStageDefinitions(t *testing.T) {
	missing := map[string]bool{"attribute_filter": true, "feature_search": true, "limit": true, "sort_attribute": true, "sort_relevance": true}
	all := StageDefinitions()
	for _, d := range all {
		delete(missing, d.StageID)
		var example struct {
			StageID    string          `json:"stage_id"`
			Parameters json.RawMessage `json:"parameters"`
		}
		if err := json.Unmarshal(d.ExampleConfig, &example); err != nil || example.StageID != d.StageID {
			t.Errorf("%s: example %s: %v", d.StageID, d.ExampleConfig, err)
		}
		r := retriever(t, nil, `{"config":`+string(d.ExampleConfig)+`}`)
		if !d.RequiresSource {
			r = retriever(t, nil, searchWords, `{"config":`+string(d.ExampleConfig)+`}`)
		}
		if err := Check(newWorldConfig(), r); err != nil {
			t.Errorf("%s: its example: %v", d.StageID, err)
		}
		if d.Description == "" || d.Icon == "" || d.Category == "" || len(d.CommonUseCases) == 0 {
			t.Errorf("%s is not described: %+v", d.StageID, d)
		}
		raw, err := json.Marshal(d.ParameterSchema)
		if err != nil {
			t.Fatal(err)
		}
		checkSchema(t, d.StageID, raw, example.Parameters)
	}
	if len(missing) > 0 {
		t.Errorf("stages are missing: %v", missing)
	}
}
