package http_test

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"varve/http/openapi"
	"varve/http/scenario"
)

// filled makes a stack with one of everything in the namespace films of the
// organization admin. What it holds says zebra; its ids are in Vars.
func filled(t *testing.T) (*scenario.Stack, func(openapi.Operation) bool) {
	t.Helper()
	s, served := openWith(t)
	in := func(do, body string, save ...string) scenario.Step {
		st := scenario.Step{Do: do, Namespace: "films", Body: body, AnyEvents: true}
		if len(save) == 2 {
			st.Save = map[string]string{save[0]: save[1]}
		}
		return st
	}
	done := in("GET /v1/buckets/zebra-bucket/batches/${batch}", "")
	done.Until, done.Check = true, map[string]any{"status": "COMPLETED"}
	s.Play(t,
		in("POST /v1/namespaces", `{"namespace_name":"films","description":"zebra"}`, "namespace", "namespace_id"),
		in("POST /v1/buckets", `{"bucket_name":"zebra-bucket","bucket_schema":{"properties":{"content":{"type":"text"}}}}`, "bucket", "bucket_id"),
		in("POST /v1/collections", `{"collection_name":"zebra-texts","source":{"type":"bucket","bucket_ids":["${bucket}"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"content"}}}`, "collection", "collection_id"),
		in("POST /v1/buckets/zebra-bucket/objects", `{"blobs":[{"property":"content","type":"text","data":"a zebra in the rain"}]}`, "object", "object_id"),
		in("POST /v1/buckets/zebra-bucket/batches", `{"object_ids":["${object}"]}`, "batch", "batch_id"),
		in("POST /v1/buckets/zebra-bucket/batches/${batch}/submit", "", "task", "task_id"),
		done,
		in("POST /v1/collections/zebra-texts/documents/list", "", "document", "results.0.document_id"),
		in("POST /v1/retrievers", `{"retriever_name":"zebra-find","collection_identifiers":["zebra-texts"],"stages":[{"stage_name":"s","stage_type":"filter","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"zebra","top_k":5}],"final_top_k":5}}}]}`, "retriever", "retriever_id"),
		in("POST /v1/retrievers/zebra-find/execute", `{}`, "execution", "execution_id"),
	)
	return s, served
}

// What one organization owns does not exist for another: whatever operation it
// calls, with whatever ids and namespaces, nothing of it is in the answer.
func TestOtherOrganizationSeesNothing(t *testing.T) {
	s, served := filled(t)
	s.Play(t, scenario.Step{As: "other", Do: "POST /v1/namespaces", Body: `{"namespace_name":"own"}`, AnyEvents: true})
	before := feedHeads(t, s)
	for _, o := range openapi.Operations() {
		if !served(o) || o.Public {
			continue
		}
		for _, namespace := range []string{"films", s.Vars["namespace"], "own"} {
			for _, byName := range []bool{false, true} {
				target, about := address(s, o.Path, byName)
				for _, body := range []string{"", `{"collection_identifiers":["${collection}"],"collection_ids":["${collection}"],"document_ids":["${document}"],"object_ids":["${object}"],"namespace_ids":["${namespace}"],"bucket_ids":["${bucket}"],"stages":[{"stage_name":"s","stage_type":"filter","config":{"stage_id":"attribute_filter","parameters":{"field":"text","operator":"exists","value":true}}}],"query":"zebra","filters":null}`} {
					req := httptest.NewRequest(o.Method, target, strings.NewReader(expand(s, body)))
					req.Header.Set("Authorization", "Bearer "+s.Keys["other"])
					req.Header.Set("X-Namespace", namespace)
					w := httptest.NewRecorder()
					s.Handler.ServeHTTP(w, req)
					answer := w.Body.String()
					if about && w.Code < 300 && !strings.Contains(answer, "there is no task") {
						t.Errorf("%s %s in %s: answer %d about what is not theirs: %.300s", o.Method, target, namespace, w.Code, answer)
					}
					if w.Code < 300 && (strings.Contains(answer, "zebra") || strings.Contains(answer, s.Vars["document"]) || strings.Contains(answer, s.Vars["object"])) && !echo(o) {
						t.Errorf("%s %s in %s tells of another organization: %.300s", o.Method, target, namespace, answer)
					}
				}
			}
		}
	}
	for _, r := range appendedSince(t, s, before) {
		if strings.Contains(string(r.Data), "zebra") {
			t.Errorf("%s was appended about another organization's: %s", r.Type, r.Data)
		}
	}
	s.Play(t, scenario.Step{Name: "everything is still there", Do: "GET /v1/documents/${document}", Namespace: "films"})
}

// echo says whether an operation may give back words that the caller itself sent.
func echo(o openapi.Operation) bool {
	return o.Path == "/v1/retrievers/execute" || o.Path == "/v1/documents/batch-get" || o.Path == "/v1/documents/search" || o.Method == "POST" && o.Path == "/v1/retrievers"
}

var braces = regexp.MustCompile(`\{([^}]*)\}`)

// address fills a path with admin's ids, and says whether it names any of admin's.
func address(s *scenario.Stack, path string, byName bool) (target string, about bool) {
	target = braces.ReplaceAllStringFunc(path, func(p string) string {
		kind := strings.TrimSuffix(strings.TrimSuffix(p[1:len(p)-1], "_identifier"), "_id")
		names := map[string]string{"bucket": "zebra-bucket", "collection": "zebra-texts", "retriever": "zebra-find", "namespace": "films", "user_email": "admin@example.com", "key_name": "admin-key"}
		if name, ok := names[kind]; ok && (byName || s.Vars[kind] == "") {
			about = true
			return name
		}
		if id, ok := s.Vars[kind]; ok {
			about = true
			return id
		}
		return "x"
	})
	return target, about
}
