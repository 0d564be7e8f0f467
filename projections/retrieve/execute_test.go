package retrieve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"varve/domain"
	"varve/projections"
)

const (
	searchWords = `{"stage_name":"find","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.query}}"}]}}}`
	searchBoth  = `{"stage_name":"find","config":{"stage_id":"feature_search","parameters":{"searches":[
		{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":"{{INPUT.top_k}}"},
		{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":{"input_mode":"text","value":"{{INPUT.query}}"},"weight":0.5}],"fusion":"weighted"}}}`
)

func TestExecute(t *testing.T) {
	filterFlow := stageOf("attribute_filter", `{"conditions":{"field":"metadata.tags","operator":"contains","value":"flow"}}`)
	tests := []struct {
		name        string
		collections []string
		stages      []string
		inputs      string
		filters     string
		want        []string
	}{
		{name: "words", stages: []string{searchWords}, inputs: `{"query":"supersonic flow"}`, want: []string{"d1", "d5", "d2"}},
		{name: "only the retriever's collections", collections: []string{"notes"}, stages: []string{searchWords}, inputs: `{"query":"supersonic flow"}`, want: []string{"d5"}},
		{name: "fused, with a top_k from an input", stages: []string{searchBoth}, inputs: `{"query":"supersonic flow","top_k":2}`, want: []string{"d5", "d1", "d2"}},
		{name: "nothing matches", stages: []string{searchWords}, inputs: `{"query":"zebra"}`, want: []string{}},
		{name: "the request's filters", stages: []string{searchWords}, inputs: `{"query":"supersonic flow"}`, filters: `{"metadata.year":1955}`, want: []string{"d1"}},
		{name: "text that looks like a template is text", stages: []string{searchWords}, inputs: `{"query":"flow {{INPUT.nothing}} {% if %}"}`, want: []string{"d1", "d2", "d5"}},
		{name: "a filter first selects for the search", stages: []string{filterFlow, searchWords}, inputs: `{"query":"flow plate"}`, want: []string{"d1", "d2", "d5"}},
		{name: "two filters first", stages: []string{filterFlow, stageOf("attribute_filter", `{"field":"metadata.year","operator":"lt","value":"{{INPUT.year}}"}`), searchWords},
			inputs: `{"query":"flow","year":1958}`, want: []string{"d1", "d5"}},
		{name: "a filter alone", stages: []string{filterFlow}, want: []string{"d1", "d2", "d5"}},
		{name: "a filter on what was found", stages: []string{searchWords, stageOf("attribute_filter", `{"field":"metadata.year","operator":"gte","value":1957}`)}, inputs: `{"query":"flow"}`, want: []string{"d2", "d5"}},
		{name: "a filter that reads the document", stages: []string{searchWords, stageOf("attribute_filter", `{"field":"document_id","operator":"ne","value":"{{DOC.document_id}}"}`)}, inputs: `{"query":"flow"}`, want: []string{}},
		{name: "a filter first that reads the document", stages: []string{stageOf("attribute_filter", `{"field":"metadata.year","value":"{{DOC.metadata.year}}"}`)}, want: []string{"d1", "d2", "d3", "d4", "d5"}},
		{name: "an optional filter value that is absent is left out", stages: []string{stageOf("attribute_filter", `{"conditions":{"AND":[{"field":"metadata.year","operator":"lt","value":"{{INPUT.year | default(1957)}}"}]}}`)}, want: []string{"d1"}},
		{name: "case", stages: []string{stageOf("attribute_filter", `{"field":"metadata.tags","operator":"contains","value":"FLOW"}`)}, want: []string{}},
		{name: "without case", stages: []string{stageOf("attribute_filter", `{"field":"metadata.tags","operator":"contains","value":"FLOW","case_insensitive":true}`)}, want: []string{"d1", "d2", "d5"}},
		{name: "sorted by a field, missing last", stages: []string{stageOf("attribute_filter", `{"field":"document_id","operator":"exists"}`), stageOf("sort_attribute", `{"field":"metadata.year","direction":"asc"}`)},
			want: []string{"d1", "d5", "d3", "d2", "d4", "d6"}},
		{name: "sorted down, missing last", stages: []string{stageOf("attribute_filter", `{"field":"document_id","operator":"exists"}`), stageOf("sort_attribute", `{"field":"metadata.year"}`)},
			want: []string{"d4", "d2", "d3", "d5", "d1", "d6"}},
		{name: "missing first", stages: []string{stageOf("attribute_filter", `{"field":"document_id","operator":"exists"}`), stageOf("sort_attribute", `{"field":"metadata.year","nulls_last":false}`)},
			want: []string{"d6", "d4", "d2", "d3", "d5", "d1"}},
		{name: "sorted by relevance upwards", stages: []string{searchWords, stageOf("sort_relevance", `{"direction":"asc"}`)}, inputs: `{"query":"supersonic flow"}`, want: []string{"d2", "d5", "d1"}},
		{name: "sorted by one feature's score", stages: []string{searchBoth, stageOf("sort_relevance", `{"feature_address":"mixpeek://text_extractor@v1/bm25"}`)}, inputs: `{"query":"slip flow","top_k":6}`, want: []string{"d2", "d1", "d5", "d3", "d4", "d6"}},
		{name: "a window", stages: []string{searchWords, stageOf("limit", `{"limit":1,"offset":1}`)}, inputs: `{"query":"supersonic flow"}`, want: []string{"d5"}},
		{name: "pre_filters of a search", stages: []string{`{"config":{"stage_id":"feature_search","pre_filters":{"metadata.year":1960},"parameters":{"searches":[{"feature_uri":"bm25","query":"flow"}]}}}`}, want: []string{"d2"}},
		{name: "post_filters of a search", stages: []string{`{"config":{"stage_id":"feature_search","post_filters":{"NOT":[{"field":"metadata.year","value":1960}]},"parameters":{"searches":[{"feature_uri":"bm25","query":"flow"}]}}}`}, want: []string{"d1", "d5"}},
		{name: "a search's own filters and collections", stages: []string{searchOf(`{"feature_uri":"bm25","query":"flow","filters":{"field":"metadata.year","operator":"lt","value":1960},"collection_identifiers":["papers"]}`)}, want: []string{"d1"}},
		{name: "searches of different collections", stages: []string{stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"flow","collection_identifiers":["papers"]},{"feature_uri":"bm25","query":"soup","collection_identifiers":["notes"]}]}`)}, want: []string{"d1", "d6", "d2"}},
		{name: "lexical", stages: []string{searchOf(`{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"flow","lexical":true}`)}, want: []string{"d1", "d2", "d5"}},
		{name: "like a document", stages: []string{stageOf("feature_search", `{"searches":[{"feature_uri":"embedding","query":{"input_mode":"document","document_ref":{"collection_id":"col_a","document_id":"d1"}}}],"final_top_k":1}`)}, want: []string{"d1"}},
		{name: "content that is text", stages: []string{searchOf(`{"feature_uri":"bm25","query":{"input_mode":"content","content":{"base64":"c291cA=="}}}`)}, want: []string{"d6"}},
		{name: "an optional search is left out", stages: []string{stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"soup"},{"feature_uri":"embedding","query":"{{INPUT.more}}","optional":true}]}`)}, inputs: `{"more":""}`, want: []string{"d6"}},
		{name: "min_score", stages: []string{searchOf(`{"feature_uri":"bm25","query":"supersonic flow","min_score":1}`)}, want: []string{"d1", "d5"}},
		{name: "a search among what was found", stages: []string{stageOf("attribute_filter", `{"field":"document_id","operator":"in","value":["d2","d6"]}`), stageOf("limit", `{"limit":2}`), searchWords}, inputs: `{"query":"flow"}`, want: []string{"d2"}},
		{name: "a filter on the score", stages: []string{`{"config":{"stage_id":"feature_search","post_filters":{"field":"score","operator":"gt","value":1.5},"parameters":{"searches":[{"feature_uri":"bm25","query":"supersonic flow"}]}}}`}, want: []string{"d1", "d5"}},
		{name: "what Varve knows, before a search", stages: []string{stageOf("attribute_filter", `{"conditions":{"AND":[{"field":"_internal.lineage.root_object_id","value":"obj_d2"},{"field":"_internal.metadata.year","value":1960}]}}`), searchWords}, inputs: `{"query":"flow"}`, want: []string{"d2"}},
		{name: "by its other name", stages: []string{stageOf("attribute_filter", `{"field":"root_object_id","value":"obj_d2"}`), searchWords}, inputs: `{"query":"flow"}`, want: []string{"d2"}},
		{name: "what Varve knows, after a search", stages: []string{searchWords, stageOf("attribute_filter", `{"field":"_internal.lineage.root_object_id","value":"obj_d2"}`)}, inputs: `{"query":"flow"}`, want: []string{"d2"}},
		{name: "by its other name, after a search", stages: []string{searchWords, stageOf("attribute_filter", `{"field":"root_object_id","value":"obj_d2"}`)}, inputs: `{"query":"flow"}`, want: []string{"d2"}},
		{name: "when it was made, after a search", stages: []string{searchWords, stageOf("attribute_filter", `{"field":"_internal.created_at","operator":"lt","value":"2021-01-01T00:00:00Z"}`)}, inputs: `{"query":"flow"}`, want: []string{"d1", "d2", "d5"}},
		{name: "the best of each group", stages: []string{stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"supersonic flow"}],"group_by":{"field":"collection_id"}}`)}, want: []string{"d1", "d5"}},
		{name: "groups one after the other", stages: []string{stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"supersonic flow"}],"group_by":{"field":"collection_id","max_per_group":5}}`)}, want: []string{"d1", "d2", "d5"}},
		{name: "a failing stage that may be skipped", stages: []string{searchWords, `{"on_error":"skip","config":{"stage_id":"limit","parameters":{"limit":"{{INPUT.query}}"}}}`}, inputs: `{"query":"flow"}`, want: []string{"d1", "d2", "d5"}},
		{name: "a first search that fails and is skipped", stages: []string{`{"on_error":"skip","stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"bm25","query":"{{INPUT.none | default('')}}"}]}}`, stageOf("limit", `{}`)}, want: []string{}},
		{name: "a search instead of one that fails", stages: []string{`{"on_error":"skip","stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"embedding","query":"{{INPUT.none | default('')}}"}]}}`, searchWords}, inputs: `{"query":"soup"}`, want: []string{"d6"}},
		{name: "an alias", stages: []string{`{"output_alias":"first","stage_id":"attribute_filter","parameters":{"field":"document_id","value":"d6"}}`, stageOf("attribute_filter", `{"field":"metadata.tags","value":"{{CONTEXT.first[0].metadata.tags}}"}`)}, want: []string{"d6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := library(t)
			req := w.request(retriever(t, tt.collections, tt.stages...), tt.inputs)
			req.Filters = json.RawMessage(tt.filters)
			x, err := w.engine.Execute(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ids(x)); diff != "" {
				t.Error(diff)
			}
			checkAccounts(t, w.records[0], x)
			again(t, w, w.records[0])
		})
	}
}

// checkAccounts holds a record to what it promises: what a stage was given and
// does not hand on is listed, and counts fit.
func checkAccounts(t *testing.T, r recorded, x *Execution) {
	t.Helper()
	trace, err := DecodeTrace(r.trace)
	if err != nil {
		t.Fatal(err)
	}
	var before []string
	for i, s := range trace.Stages {
		rec := r.header.Stages[i]
		if rec.Dropped != len(s.Dropped) || rec.Plan != "pushed_down" && rec.Output != len(s.Kept) {
			t.Errorf("%s: the header says %d kept, %d dropped, the trace %d and %d", s.Name, rec.Output, rec.Dropped, len(s.Kept), len(s.Dropped))
		}
		if rec.Error == "" && rec.Input != rec.Output+rec.Dropped+rec.Unseen {
			t.Errorf("%s: input %d is not output %d + dropped %d + unseen %d", s.Name, rec.Input, rec.Output, rec.Dropped, rec.Unseen)
		}
		accounted := map[string]bool{}
		for _, k := range s.Kept {
			accounted[k.ID] = true
		}
		for _, d := range s.Dropped {
			if accounted[d.ID] {
				t.Errorf("%s: %s is kept and dropped, or dropped twice", s.Name, d.ID)
			}
			accounted[d.ID] = true
		}
		for _, l := range s.Lists {
			for _, h := range l.Hits {
				if !accounted[h.ID] {
					t.Errorf("%s: %s was handed over and is nowhere", s.Name, h.ID)
				}
			}
		}
		for _, id := range before {
			if rec.Error == "" && !accounted[id] {
				t.Errorf("%s: %s was given and is nowhere", s.Name, id)
			}
		}
		before = nil
		for _, k := range s.Kept {
			before = append(before, k.ID)
		}
	}
	if r.header.ResultHash != HashResults(r.header.Results) || r.header.ResultHash != x.ResultHash {
		t.Errorf("hash %s of the record, %s of its results, %s of the answer", r.header.ResultHash, HashResults(r.header.Results), x.ResultHash)
	}
}

// again replays a record and wants the identical hash.
func again(t *testing.T, w *world, r recorded) {
	t.Helper()
	trace, err := DecodeTrace(r.trace)
	if err != nil {
		t.Fatal(err)
	}
	header := throughJSON(t, r.header)
	p, err := w.engine.Replay(context.Background(), testLog, header, trace)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Identical {
		t.Errorf("replay gave %s, the record has %s; %+v", p.Hash, p.Recorded, p.Diverged)
	}
}

// throughJSON is a header as it comes out of the store.
func throughJSON(t *testing.T, h *domain.ExecutionRecorded) *domain.ExecutionRecorded {
	t.Helper()
	raw, err := domain.EncodeEvent(h)
	if err != nil {
		t.Fatal(err)
	}
	e, err := domain.DecodeEvent(h.EventType(), 1, raw)
	if err != nil {
		t.Fatal(err)
	}
	return e.(*domain.ExecutionRecorded)
}

func TestResultDocuments(t *testing.T) {
	w := library(t)
	req := w.request(retriever(t, nil, searchBoth), `{"query":"supersonic flow","top_k":2}`)
	req.ReturnVectors = true
	x, err := w.engine.Execute(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	d := x.Documents[1]
	p := d["_provenance"].(Provenance)
	if d["text"] != "Supersonic flow over a flat plate" || d["collection_id"] != "col_a" || d["_source_tier"] != "hot" || p.Rank != 2 || p.Position != 1 || len(p.Searches) != 2 {
		t.Errorf("%v %v %+v", d["text"], d["collection_id"], p)
	}
	if p.Searches[0].FeatureURI != denseURI || p.Searches[0].Rank != 2 || p.Searches[1].FeatureURI != wordsURI || p.Searches[1].Weight != 0.5 || p.Searches[1].Contribution != 0.5 {
		t.Errorf("%+v", p)
	}
	if v := d["_vectors"].(map[string][]float32)[denseURI]; len(v) != 256 {
		t.Errorf("%d components", len(v))
	}
	if score, ok := d["score"].(float32); !ok || score != x.Header.Results[1].Score {
		t.Errorf("score %v", d["score"])
	}
	if doc := w.versions["d1"][0].doc; doc["score"] != nil {
		t.Error("the document of the read model was changed")
	}
	s := x.Stages["find"]
	if s.InputCount != 6 || s.OutputCount != 3 || s.Efficiency != 0.5 {
		t.Errorf("%+v", s)
	}
}

func TestFacets(t *testing.T) {
	w := library(t)
	x := w.run(retriever(t, nil, stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"flow"}],"final_top_k":1,"facets":[{"key":"metadata.tags","limit":2}]}`)), `{}`)
	want := []FacetCounts{{Key: "metadata.tags", Values: []FacetCount{{"flow", 3}, {"layer", 1}}}}
	if diff := cmp.Diff(want, x.Facets); diff != "" {
		t.Error(diff)
	}
}

func TestDroppedDocumentsHaveReasons(t *testing.T) {
	w := library(t)
	w.run(retriever(t, nil,
		stageOf("feature_search", `{"searches":[{"feature_uri":"bm25","query":"supersonic flow heat soup","min_score":0.9}],"final_top_k":3}`),
		stageOf("attribute_filter", `{"field":"metadata.year","operator":"lte","value":1957}`),
		stageOf("limit", `{"limit":1}`)), `{}`)
	trace, err := DecodeTrace(w.records[0].trace)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range trace.Stages {
		for _, d := range s.Dropped {
			got = append(got, fmt.Sprintf("%s %s %s: %s", s.Name, d.ID, d.Reason, d.Detail))
		}
	}
	for i, want := range []string{"feature_search d2 below_min_score", "feature_search d3 outranked: final_top_k 3, last score", "attribute_filter d6 filtered: metadata.year lte 1957: the field is missing", "limit d5 limit: limit 1"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("got\n%s\nwant at %d\n%s", strings.Join(got, "\n"), i, want)
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := library(t)
	schema := `{"query":{"type":"string","required":true},"n":{"type":"integer"}}`
	tests := []struct {
		name, inputs, filters, pagination string
		limit                             int
		want                              string
	}{
		{name: "missing input", inputs: `{}`, want: "inputs.query"},
		{name: "type of an input", inputs: `{"query":"x","n":"many"}`, want: "inputs.n"},
		{name: "inputs", inputs: `[]`, want: "inputs: must be an object"},
		{name: "empty query", inputs: `{"query":" "}`, want: "stages[0].config.parameters.searches[0].query: the query is empty"},
		{name: "empty filters", inputs: `{"query":"x"}`, filters: `{}`, want: "filters: the filter is empty"},
		{name: "a field that no index has", inputs: `{"query":"x"}`, filters: `{"_internal.created_at":"2020-01-01T00:00:00Z"}`, want: "documents cannot be selected by _internal.created_at before a search"},
		{name: "limit", inputs: `{"query":"x"}`, limit: 501, want: "limit: 501 is out of range; allowed are 1 to 500"},
		{name: "method", inputs: `{"query":"x"}`, pagination: `{"method":"magic"}`, want: "pagination.method"},
		{name: "page size", inputs: `{"query":"x"}`, pagination: `{"method":"offset","page_size":501}`, want: "pagination.page_size: 501 is out of range; allowed are 1 to 500"},
		{name: "cursor", inputs: `{"query":"x"}`, pagination: `{"method":"cursor","cursor":"AAAA"}`, want: "pagination.cursor"},
		{name: "keyset", inputs: `{"query":"x"}`, pagination: `{"method":"keyset","after":{"score":1}}`, want: "pagination.after"},
		{name: "keyset of another result", inputs: `{"query":"flow"}`, pagination: `{"method":"keyset","after":{"document_id":"d6"}}`, want: "pagination.after.document_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := retriever(t, nil, searchWords)
			r.InputSchema = json.RawMessage(schema)
			req := w.request(r, tt.inputs)
			req.Filters, req.Pagination, req.Limit = json.RawMessage(tt.filters), json.RawMessage(tt.pagination), tt.limit
			_, err := w.engine.Execute(context.Background(), req)
			if domain.CodeOf(err) != domain.CodeInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", domain.CodeOf(err), err)
			}
		})
	}
}

func TestNoAnswerWithoutARecord(t *testing.T) {
	w := library(t)
	w.failing = errors.New("disk full")
	req := w.request(retriever(t, nil, searchWords), `{"query":"flow"}`)
	if _, err := w.engine.Execute(context.Background(), req); domain.CodeOf(err) != domain.CodeUnavailable || !errors.Is(err, w.failing) {
		t.Fatalf("got %v", err)
	}
	req.BestEffortTrace = true
	x, err := w.engine.Execute(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if x.TraceRecorded || len(x.Documents) != 3 || !slices.ContainsFunc(x.Warnings, func(s string) bool { return strings.Contains(s, "could not be recorded") }) {
		t.Errorf("%+v", x)
	}
}

func TestFailedExecutionsAreRecorded(t *testing.T) {
	w := library(t)
	_, err := w.engine.Execute(context.Background(), w.request(retriever(t, nil, searchWords), `{"query":""}`))
	var e *domain.Error
	if !asError(err, &e) || e.Details["execution_id"] != "exec_1" {
		t.Fatalf("got %v", err)
	}
	h := w.records[0].header
	if h.Status != "failed" || !strings.Contains(h.Error, "the query is empty") || h.Stages[0].Error == "" || h.ResultHash != "" {
		t.Errorf("%+v", h)
	}
	if _, err := w.engine.Replay(context.Background(), testLog, h, nil); domain.CodeOf(err) != domain.CodeConflict {
		t.Errorf("replay of a failed execution: %v", err)
	}
}

func TestIndexBehindIsUnavailable(t *testing.T) {
	w := library(t)
	req := w.request(retriever(t, nil, searchWords), `{"query":"flow"}`)
	req.At.Position += 5
	if _, err := w.engine.Execute(context.Background(), req); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if len(w.records) != 0 {
		t.Error("recorded, and nothing ran")
	}
}

func TestDeletedCollectionsDegrade(t *testing.T) {
	w := library(t)
	r := retriever(t, []string{"col_a", "col_gone"}, searchWords)
	x := w.run(r, `{"query":"flow"}`)
	if x.Status != "degraded" || len(x.Degraded) != 1 || x.Degraded[0].ID != "col_gone" || len(x.Documents) != 2 {
		t.Errorf("%s %+v %v", x.Status, x.Degraded, ids(x))
	}
	r.CollectionIDs = []string{"col_gone"}
	if _, err := w.engine.Execute(context.Background(), w.request(r, `{"query":"flow"}`)); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("got %v", err)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := library(t)
		documents := w.engine.Documents
		w.engine.Documents = func(ctx context.Context, at projections.At, ids []string) (map[string]map[string]any, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Second):
			}
			return documents(ctx, at, ids)
		}
		r := retriever(t, nil, searchWords, stageOf("sort_attribute", `{"field":"metadata.year"}`))
		r.BudgetLimits = json.RawMessage(`{"max_credits":1,"max_time_ms":500}`)
		_, err := w.engine.Execute(context.Background(), w.request(r, `{"query":"flow"}`))
		var e *domain.Error
		if !asError(err, &e) || e.Reason != "budget_exceeded" || w.records[0].header.Status != "failed" {
			t.Fatalf("got %v", err)
		}
		r.BudgetLimits = json.RawMessage(`{"max_time_ms":5000}`)
		if x := w.run(r, `{"query":"flow"}`); len(x.Documents) != 3 {
			t.Errorf("%v", ids(x))
		}
		r.BudgetLimits = json.RawMessage(`{"max_time_ms":0}`)
		if err := Check(w.config, r); domain.CodeOf(err) != domain.CodeInvalid || !strings.Contains(err.Error(), "budget_limits.max_time_ms") {
			t.Errorf("got %v", err)
		}
	})
}
