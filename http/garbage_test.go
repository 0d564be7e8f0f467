package http_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	nethttp "net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"varve/http/openapi"
	"varve/http/scenario"
)

// TestGarbage sends every operation that is served what no client should:
// every member of its body with every kind of value, identifiers of nothing,
// bad queries. Whatever comes, the answer is never 500 and always fits the contract.
func TestGarbage(t *testing.T) {
	s, served := openWith(t)
	s.Play(t,
		scenario.Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, AnyEvents: true},
		scenario.Step{Do: "POST /v1/buckets", Namespace: "films", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"content":{"type":"text"}}}}`, AnyEvents: true, Save: map[string]string{"bucket": "bucket_id"}},
		scenario.Step{Do: "POST /v1/collections", Namespace: "films", Body: `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"content"}}}`, AnyEvents: true},
		scenario.Step{Do: "POST /v1/retrievers", Namespace: "films", Body: `{"retriever_name":"find","collection_identifiers":["texts"],"stages":[{"stage_name":"s","stage_type":"filter","config":{"stage_id":"attribute_filter","parameters":{"field":"year","operator":"eq","value":1}}}]}`, AnyEvents: true},
	)
	values := []string{`null`, `7`, `-1`, `1.5`, `1e300`, `"x"`, `""`, `"{{INPUT.x}}"`, `[]`, `{}`, `true`, `[null]`, `[7]`, `[{}]`, `["x"]`, `{"a":null}`, `{"a":{"b":[1]}}`, `"` + strings.Repeat("é", 3000) + `"`}
	names := map[string]string{"bucket": "reviews", "collection": "texts", "retriever": "find", "namespace": "films", "user_email": "admin@example.com", "key_name": "admin-key", "model": "documents"}
	parameter := regexp.MustCompile(`\{([^}]*)\}`)
	sent := 0
	for _, o := range openapi.Operations() {
		if !served(o) || o.Method == "DELETE" && strings.HasSuffix(o.Path, "{namespace_identifier}") {
			continue
		}
		fill := func(existing bool) string {
			return parameter.ReplaceAllStringFunc(o.Path, func(p string) string {
				kind := strings.TrimSuffix(strings.TrimSuffix(p[1:len(p)-1], "_identifier"), "_id")
				if name, ok := names[kind]; ok && existing {
					return name
				}
				return "x%2F%00%F0%9F%98%80"
			})
		}
		bodies := []string{``, `null`, `[]`, `{}`, `7`, `"x"`, `{`, `{"a":`, "\xff", strings.Repeat(`{"a":`, 80), `{"filters":{"AND":[null]}}`}
		for _, m := range o.BodyMembers() {
			for _, v := range values {
				bodies = append(bodies, fmt.Sprintf(`{%q:%s}`, m, v))
			}
		}
		if o.Method == "GET" {
			bodies = bodies[:1]
		}
		var targets []string
		for _, existing := range []bool{true, false} {
			targets = append(targets, fill(existing))
		}
		for _, query := range []string{"?limit=x&offset=-1&page=0&cursor=%00", "?limit=1000&cursor=zzz", "?as_of=x", "?as_of=99999999999", "?namespace=nowhere", "?%zz"} {
			targets = append(targets, fill(true)+query)
		}
		for i, target := range targets {
			for j, body := range bodies {
				if i > 0 && j > 3 {
					break
				}
				sent++
				if problem := send(s, o, target, body); problem != "" {
					t.Errorf("%s %s with %.200s: %s", o.Method, target, body, problem)
				}
			}
		}
	}
	t.Logf("%d requests", sent)
}

func send(s *scenario.Stack, o openapi.Operation, target, body string) string {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req := httptest.NewRequest(o.Method, target, strings.NewReader(body)).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer "+s.Keys["admin"])
	req.Header.Set("X-Namespace", "films")
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, req)
	if w.Code >= 500 && w.Code != nethttp.StatusNotImplemented {
		return fmt.Sprintf("answer %d %s", w.Code, w.Body)
	}
	if ct := w.Header().Get("Content-Type"); w.Code == 200 && !strings.HasPrefix(ct, "application/json") {
		return "" // a stream or another format that was asked for
	}
	if w.Code >= 400 && !json.Valid(w.Body.Bytes()) {
		return "the error is not JSON: " + w.Body.String()
	}
	if err := openapi.ValidateResponse(o.Method, o.Path, w.Code, w.Body.Bytes()); err != nil {
		return err.Error()
	}
	return ""
}

// TestMutations takes good bodies and puts every kind of value in the place of
// every part of them, and leaves every part out.
func TestMutations(t *testing.T) {
	s, _ := openWith(t)
	s.Play(t,
		scenario.Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films"}`, AnyEvents: true},
		scenario.Step{Do: "POST /v1/buckets", Namespace: "films", Body: `{"bucket_name":"reviews","bucket_schema":{"properties":{"content":{"type":"text"},"year":{"type":"integer"}}}}`, AnyEvents: true, Save: map[string]string{"bucket": "bucket_id"}},
		scenario.Step{Do: "POST /v1/collections", Namespace: "films", Body: `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"content"}}}`, AnyEvents: true},
		scenario.Step{Do: "POST /v1/retrievers", Namespace: "films", Body: `{"retriever_name":"find","collection_identifiers":["texts"],"input_schema":{"query":{"type":"string"}},"stages":[{"stage_name":"s","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":5}],"final_top_k":5}}}]}`, AnyEvents: true},
	)
	values := []string{`null`, `7`, `-1.5`, `1e300`, `"x"`, `""`, `"{{INPUT.x}}"`, `"{{"`, `[]`, `{}`, `true`, `[null]`, `[{}]`, `{"a":null}`}
	sent := 0
	for do, good := range map[string]string{
		"POST /v1/namespaces":                                 `{"namespace_name":"n","feature_extractors":[{"feature_extractor_name":"text_extractor","version":"v1","params":{}}],"payload_indexes":[{"field_name":"a","type":"integer"}],"vector_configs":[{"name":"v","dimension":3}]}`,
		"POST /v1/buckets":                                    `{"bucket_name":"b","bucket_schema":{"properties":{"content":{"type":"text","required":true},"tags":{"type":"array","items":{"type":"string"}},"meta":{"type":"object","properties":{"a":{"type":"integer","enum":[1]}}}}},"unique_key":{"fields":["tags"],"default_policy":"upsert"}}`,
		"POST /v1/collections":                                `{"collection_name":"c","source":{"type":"bucket","bucket_ids":["reviews"],"source_filters":{"AND":[{"field":"year","operator":"gt","value":1}]}},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","parameters":{},"input_mappings":{"text":"content"},"field_passthrough":[{"source_path":"year","target_path":"y"}]}}`,
		"POST /v1/retrievers":                                 `{"retriever_name":"r","collection_identifiers":["texts"],"input_schema":{"query":{"type":"string","required":true}},"stages":[{"stage_name":"s","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":{"input_mode":"text","value":"{{INPUT.query}}"},"top_k":5,"filters":{"AND":[{"field":"year","operator":"gt","value":1}]}}],"final_top_k":5,"fusion":"rrf"}}},{"stage_name":"l","stage_type":"sort","config":{"stage_id":"sort_attribute","parameters":{"sort_field":"year","order":"asc"}}}]}`,
		"POST /v1/retrievers/find/execute":                    `{"inputs":{"query":"x"},"filters":{"AND":[{"field":"year","operator":"in","value":[1,2]}]},"pagination":{"method":"offset","page_size":3,"page_number":1},"limit":3}`,
		"POST /v1/retrievers/execute":                         `{"collection_identifiers":["texts"],"inputs":{"query":"x"},"stages":[{"stage_name":"a","stage_type":"filter","config":{"stage_id":"attribute_filter","parameters":{"field":"year","operator":"eq","value":1}}}]}`,
		"POST /v1/buckets/reviews/objects":                    `{"year":1,"key_prefix":"/a","blobs":[{"property":"content","type":"text","data":"words","metadata":{"a":1}}],"skip_duplicates":false,"idempotency_key":"k"}`,
		"POST /v1/buckets/reviews/objects/list":               `{"filters":{"OR":[{"field":"year","operator":"gte","value":1},{"NOT":[{"field":"a.b","operator":"regex","value":"^x"}]}]},"sort":{"field":"year","direction":"desc"},"limit":3,"offset":0}`,
		"POST /v1/buckets/reviews/batches":                    `{"object_ids":["obj_1"],"collection_ids":["texts"]}`,
		"POST /v1/collections/texts/documents":                `{"content":"x","metadata":{"a":1}}`,
		"POST /v1/collections/texts/documents/list":           `{"filters":{"AND":[{"field":"year","operator":"eq","value":1}]},"sort":{"field":"year","direction":"asc"},"select":["year"],"group_by":"year","return_vectors":true}`,
		"POST /v1/documents/search":                           `{"query":"x","collection_ids":["texts"],"page_size":3}`,
		"POST /v1/documents/batch-get":                        `{"document_ids":["doc_1"]}`,
		"PATCH /v1/organizations":                             `{"organization_name":"o","metadata":{"a":1},"rate_limit_overrides":{"data":6000},"default_llm_credentials":{"openai":"k"}}`,
		"POST /v1/organizations/users":                        `{"email":"z@example.com","user_name":"Zed","role":"member","metadata":{"a":1}}`,
		"POST /v1/organizations/users/z@example.com/api-keys": `{"name":"k","permissions":["read"],"scopes":[{"resource_type":"bucket","resource_id":"*","operations":["read_data"]}],"expires_at":"2099-01-01T00:00:00Z","allowed_origins":["https://a.example"]}`,
	} {
		method, target, _ := strings.Cut(do, " ")
		o, ok := openapi.Find(method, target)
		if !ok {
			t.Fatalf("%s is not in the document", do)
		}
		var tree any
		if err := json.Unmarshal([]byte(good), &tree); err != nil {
			t.Fatalf("%s: %v", do, err)
		}
		mutate(tree, tree, values, func(body []byte) {
			sent++
			if problem := send(s, o, target, string(body)); problem != "" {
				t.Errorf("%s with %s: %s", do, body, problem)
			}
		})
	}
	t.Logf("%d requests", sent)
}

// mutate calls use with the whole, each time with another part of it replaced or left out.
func mutate(whole, at any, values []string, use func([]byte)) {
	send := func() {
		if b, err := json.Marshal(whole); err == nil {
			use(b)
		}
	}
	replace := func(set func(any), before any) {
		for _, v := range values {
			set(json.RawMessage(v))
			send()
		}
		set(before)
	}
	switch at := at.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(at)) {
			before := at[k]
			replace(func(v any) { at[k] = v }, before)
			delete(at, k)
			send()
			at[k] = before
			mutate(whole, before, values, use)
		}
	case []any:
		for i, before := range at {
			replace(func(v any) { at[i] = v }, before)
			mutate(whole, before, values, use)
		}
	}
}
