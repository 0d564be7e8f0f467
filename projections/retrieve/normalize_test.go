package retrieve

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"varve/domain"
)

func TestNormalizeReadsEverySpelling(t *testing.T) {
	search := `{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}"}]}`
	tests := []struct {
		name, in string
		want     domain.Stage
	}{
		{"canonical", `{"stage_name":"s","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[]},"pre_filters":{"a":1},"post_filters":null},
			"batch_size":"{{INPUT.n}}","description":"d","on_error":"skip","output_alias":"found"}`,
			domain.Stage{Name: "s", Type: "filter", ID: "feature_search", Parameters: json.RawMessage(`{"searches":[]}`),
				PreFilters: json.RawMessage(`{"a":1}`), BatchSize: "{{INPUT.n}}", Description: "d", OnError: "skip", OutputAlias: "found"}},
		{"canonical as answers give it, with the mirror of parameters", `{"stage_name":"s","config":{"stage_id":"limit","parameters":{"limit":5}},"parameters":{"limit":5}}`,
			domain.Stage{Name: "s", Type: "reduce", ID: "limit", Parameters: json.RawMessage(`{"limit":5}`)}},
		{"type follows the registry", `{"stage_name":"s","stage_type":"apply","config":{"stage_id":"limit"}}`,
			domain.Stage{Name: "s", Type: "reduce", ID: "limit", Parameters: json.RawMessage(`{}`)}},
		{"flat", `{"stage_type":"sort","stage_id":"sort_attribute","parameters":{"field":"a"}}`,
			domain.Stage{Name: "sort_attribute", Type: "sort", ID: "sort_attribute", Parameters: json.RawMessage(`{"field":"a"}`)}},
		{"parameters beside the stage id", `{"stage_name":"x","config":{"stage_id":"limit","limit":3}}`,
			domain.Stage{Name: "x", Type: "reduce", ID: "limit", Parameters: json.RawMessage(`{"limit":3}`)}},
		{"the stage's name is its id", `{"stage_name":"limit","config":{"parameters":{"limit":2}}}`,
			domain.Stage{Name: "limit", Type: "reduce", ID: "limit", Parameters: json.RawMessage(`{"limit":2}`)}},
		{"wrapper: filter", `{"type":"attribute_filter","conditions":{"field":"a","operator":"eq","value":1}}`,
			domain.Stage{Name: "attribute_filter", Type: "filter", ID: "attribute_filter", Parameters: json.RawMessage(`{"conditions":{"field":"a","operator":"eq","value":1}}`)}},
		{"wrapper: search", `{"type":"feature_search","feature_extractor":{"type":"text"},"query":"{{INPUT.query}}","collection_ids":["c"],"limit":7}`,
			domain.Stage{Name: "feature_search", Type: "filter", ID: "feature_search",
				Parameters: json.RawMessage(`{"collection_identifiers":["c"],"final_top_k":7,"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}"}]}`)}},
		{"vector_search", `{"type":"vector_search","feature_uri":"mixpeek://x@v1/y","query":"q","top_k":9}`,
			domain.Stage{Name: "feature_search", Type: "filter", ID: "feature_search",
				Parameters: json.RawMessage(`{"final_top_k":9,"searches":[{"feature_uri":"mixpeek://x@v1/y","query":"q","top_k":9}]}`)}},
		{"stale id", `{"stage_id":"semantic_search","parameters":` + search + `}`,
			domain.Stage{Name: "feature_search", Type: "filter", ID: "feature_search", Parameters: json.RawMessage(search)}},
		{"hybrid_search", `{"type":"hybrid_search","query":"q"}`,
			domain.Stage{Name: "feature_search", Type: "filter", ID: "feature_search",
				Parameters: json.RawMessage(`{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"q"},{"feature_uri":"mixpeek://text_extractor@v1/embedding","lexical":true,"query":"q"}]}`)}},
		{"structured_filter", `{"stage_id":"structured_filter","parameters":{"field":"a","value":1}}`,
			domain.Stage{Name: "attribute_filter", Type: "filter", ID: "attribute_filter", Parameters: json.RawMessage(`{"field":"a","value":1}`)}},
		{"sort_by_field", `{"type":"sort_by_field","field":"a","order":"asc"}`,
			domain.Stage{Name: "sort_attribute", Type: "sort", ID: "sort_attribute", Parameters: json.RawMessage(`{"direction":"asc","field":"a"}`)}},
		{"a list of pre_filters", `{"stage_id":"limit","pre_filters":[{"field":"a","value":1}]}`,
			domain.Stage{Name: "limit", Type: "reduce", ID: "limit", Parameters: json.RawMessage(`{}`), PreFilters: json.RawMessage(`{"AND":[{"field":"a","value":1}]}`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Normalize("stages", []json.RawMessage{json.RawMessage(tt.in)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got[0]); diff != "" {
				t.Error(diff)
			}
			again, err := json.Marshal(map[string]any{"stage_name": got[0].Name, "config": map[string]any{"stage_id": got[0].ID, "parameters": got[0].Parameters,
				"pre_filters": got[0].PreFilters, "post_filters": got[0].PostFilters}, "batch_size": got[0].BatchSize, "description": got[0].Description, "output_alias": got[0].OutputAlias})
			if err != nil {
				t.Fatal(err)
			}
			twice, err := Normalize("stages", []json.RawMessage{again})
			if err != nil {
				t.Fatal(err)
			}
			twice[0].OnError = got[0].OnError
			if diff := cmp.Diff(got, twice); diff != "" {
				t.Errorf("normalized again: %s", diff)
			}
		})
	}
}

func TestNormalizeMakesNamesUnique(t *testing.T) {
	s := json.RawMessage(`{"stage_id":"limit"}`)
	got, err := Normalize("stages", []json.RawMessage{s, s, json.RawMessage(`{"stage_name":"limit_2","stage_id":"limit"}`), s})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"limit", "limit_2", "limit_2_2", "limit_3"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestNormalizeRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		code     domain.Code
		contains string
	}{
		{"no object", `7`, domain.CodeInvalid, "stages[0]: a stage is an object"},
		{"no JSON", `{`, domain.CodeInvalid, "stages[0]"},
		{"no stage", `{}`, domain.CodeInvalid, "stages[0].config: a stage needs config"},
		{"unknown stage", `{"config":{"stage_id":"magic"}}`, domain.CodeInvalid, `stages[0].config.stage_id: "magic" is no stage; there are attribute_filter, feature_search, limit`},
		{"a stage of the reference", `{"config":{"stage_id":"rerank","parameters":{}}}`, domain.CodeUnsupported, `the stage "rerank" is not in this version; there are attribute_filter`},
		{"a stale id of one", `{"type":"llm_enrichment"}`, domain.CodeUnsupported, "llm_enrich"},
		{"stage type", `{"stage_type":"group","config":{"stage_id":"limit"}}`, domain.CodeInvalid, "stages[0].stage_type"},
		{"stage name", `{"stage_name":1,"config":{"stage_id":"limit"}}`, domain.CodeInvalid, "stages[0].stage_name: must be a string, not 1"},
		{"on_error", `{"on_error":"explode","config":{"stage_id":"limit"}}`, domain.CodeInvalid, "stages[0].on_error"},
		{"unknown member", `{"config":{"stage_id":"limit"},"colour":1}`, domain.CodeInvalid, "stages[0].colour: is not read here"},
		{"parameters", `{"config":{"stage_id":"limit","parameters":[]}}`, domain.CodeInvalid, "stages[0].config.parameters: must be an object"},
		{"empty pre_filters", `{"config":{"stage_id":"limit","pre_filters":{}}}`, domain.CodeInvalid, "stages[0].pre_filters"},
		{"lost condition", `{"config":{"stage_id":"limit","post_filters":{"AND":[null]}}}`, domain.CodeInvalid, "post_filters.AND[0]"},
		{"twice the same key", `{"config":{"stage_id":"limit"},"config":{"stage_id":"limit"}}`, domain.CodeInvalid, "stages[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Normalize("stages", []json.RawMessage{json.RawMessage(tt.in)})
			if domain.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.contains) {
				t.Errorf("%s: %v", domain.CodeOf(err), err)
			}
		})
	}
	if _, err := Normalize("stages", nil); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("no stages: %v", err)
	}
	if _, err := Normalize("stages", make([]json.RawMessage, MaxStages+1)); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("too many stages: %v", err)
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add([]byte(`{"stage_name":"s","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.q}}"}]}}}`))
	f.Add([]byte(`{"type":"hybrid_search","query":{"input_mode":"vector","value":[1,2]},"limit":3}`))
	f.Add([]byte(`{"stage_id":"attribute_filter","parameters":{"field":"a","operator":"in","value":["{{INPUT.x}}"],"conditions":{"NOT":[{"field":"b"}]}}}`))
	f.Add([]byte(`{"stage_id":"sort_relevance","parameters":{"missing_score":"top","score_field":"x.y"}}`))
	config := newWorldConfig()
	f.Fuzz(func(t *testing.T, raw []byte) {
		stages, err := Normalize("stages", []json.RawMessage{raw})
		if err != nil {
			var e *domain.Error
			if !asError(err, &e) {
				t.Fatalf("not a client's error: %v", err)
			}
			return
		}
		if kinds[stages[0].ID] == nil || stages[0].Name == "" || !json.Valid(stages[0].Parameters) {
			t.Fatalf("normalized to %+v", stages[0])
		}
		r := domain.Retriever{Stages: stages}
		err = Check(config, r)
		var e *domain.Error
		if err != nil && !asError(err, &e) {
			t.Fatalf("not a client's error: %v", err)
		}
	})
}
