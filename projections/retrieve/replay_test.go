package retrieve

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"varve/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Queries run while eight writers change the namespace; each replays afterwards to
// the same hash.
func TestReplayUnderWriters(t *testing.T) {
	w := library(t)
	r := retriever(t, nil, stageOf("attribute_filter", `{"field":"metadata.year","operator":"gt","value":"{{INPUT.year}}"}`),
		stageOf("feature_search", `{"searches":[{"feature_uri":"embedding","query":"{{INPUT.query}}","top_k":20},{"feature_uri":"bm25","query":"{{INPUT.query}}","top_k":20}],"final_top_k":10}`),
		stageOf("attribute_filter", `{"field":"metadata.tags","operator":"nin","value":["tag3"]}`),
		stageOf("sort_attribute", `{"field":"metadata.year"}`), stageOf("limit", `{"limit":8}`))
	ctx, stop := context.WithCancel(context.Background())
	var writers, readers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			words := []string{"flow", "heat", "plate", "wing", "shell", "soup", "layer", "pressure"}
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("w%d-%d", n, i%20)
				if i%7 == 6 {
					w.remove(id, "col_a")
					continue
				}
				w.put(id, "col_a", fmt.Sprintf(`{"text":"%s and %s of %s","metadata":{"year":%d,"tags":["tag%d"]}}`, words[i%8], words[(i+n)%8], words[(3*i)%8], 1950+i%20, i%5))
			}
		})
	}
	for q := range 4 {
		readers.Go(func() {
			for i := range 25 {
				if _, err := w.engine.Execute(context.Background(), w.request(r, fmt.Sprintf(`{"query":"%s","year":%d}`, []string{"flow", "heat of wings", "soup", "pressure layer"}[q], 1950+i%10))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	stop()
	writers.Wait()
	if len(w.records) != 100 {
		t.Fatalf("%d records", len(w.records))
	}
	positions := map[uint64]bool{}
	for _, rec := range w.records {
		positions[rec.header.Position] = true
		again(t, w, rec)
	}
	if len(positions) < 10 {
		t.Errorf("only %d positions were read: the writers did not write meanwhile", len(positions))
	}
}

func TestReplayFindsTheFirstDifference(t *testing.T) {
	w := library(t)
	w.run(retriever(t, nil, searchWords, stageOf("limit", `{"limit":2}`)), `{"query":"flow"}`)
	rec := w.records[0]
	trace, err := DecodeTrace(rec.trace)
	if err != nil {
		t.Fatal(err)
	}
	w.put("a1", "col_a", `{"text":"flow flow flow"}`)
	moved := *rec.header
	moved.Position = w.position // as if data had changed under the record
	p, err := w.engine.Replay(context.Background(), testLog, &moved, trace)
	if err != nil {
		t.Fatal(err)
	}
	if p.Identical || p.Diverged == nil || p.Diverged.Stage != "find" || p.Diverged.Document != "d1" ||
		!strings.HasPrefix(p.Diverged.Recorded, "rank 1: d1, score ") || !strings.HasPrefix(p.Diverged.Replayed, "rank 1: a1, score ") {
		t.Errorf("%+v", p.Diverged)
	}
	moved = *rec.header
	moved.Config = json.RawMessage(strings.Replace(string(moved.Config), `"stages":"stages-v1"`, `"stages":"stages-v0"`, 1))
	if p, err = w.engine.Replay(context.Background(), testLog, &moved, trace); err != nil || !p.Identical || len(p.CodeChanged) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	moved = *rec.header
	moved.ResultHash = "sha256:00" // a record that was altered
	if p, err = w.engine.Replay(context.Background(), testLog, &moved, trace); err != nil || p.Identical || p.Diverged == nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// A golden record of every stage: code that changes what it says, or what it
// replays to, has changed results and needs a new Version.
func TestGoldenExecution(t *testing.T) {
	w := library(t)
	r := retriever(t, []string{"papers", "notes"},
		stageOf("attribute_filter", `{"field":"metadata.year","operator":"exists"}`),
		stageOf("feature_search", `{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":4},{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.query}}","weight":0.5}],"fusion":"weighted","final_top_k":4}`),
		stageOf("attribute_filter", `{"field":"metadata.year","operator":"lt","value":"{{INPUT.before}}"}`),
		stageOf("sort_relevance", `{}`), stageOf("sort_attribute", `{"field":"metadata.year"}`), stageOf("limit", `{"limit":2}`))
	r.InputSchema = json.RawMessage(`{"query":{"type":"string","required":true},"before":{"type":"integer","default":1960}}`)
	req := w.request(r, `{"query":"supersonic flow past a plate"}`)
	req.Filters = json.RawMessage(`{"NOT":[{"field":"metadata.tags","value":"food"}]}`)
	req.Principal, req.KeyID, req.TraceID = "usr_1", "key_1", "trace-1"
	if _, err := w.engine.Execute(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	rec := w.records[0]
	trace, err := DecodeTrace(rec.trace)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(struct {
		Header *domain.ExecutionRecorded
		Trace  *Trace
	}{rec.header, trace}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file, body = "testdata/execution.golden.json", "testdata/execution.golden.trace"
	if *update {
		for name, b := range map[string][]byte{file: append(got, '\n'), body: rec.trace} {
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), append(strings.Split(string(got), "\n"), "")); diff != "" {
		t.Errorf("the record differs from %s: %s", file, diff)
	}
	var golden struct {
		Header *domain.ExecutionRecorded
		Trace  *Trace
	}
	if err := json.Unmarshal(want, &golden); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(body)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := DecodeTrace(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden.Trace, kept); diff != "" {
		t.Errorf("%s reads as another trace: %s", body, diff)
	}
	p, err := w.engine.Replay(context.Background(), testLog, golden.Header, golden.Trace)
	if err != nil || !p.Identical {
		t.Errorf("the golden record replays to %+v, %v", p, err)
	}
}

func TestExplain(t *testing.T) {
	w := library(t)
	r := retriever(t, []string{"papers"}, stageOf("attribute_filter", `{"field":"metadata.year","operator":"lt","value":1960}`), searchWords, stageOf("attribute_filter", `{"field":"a","value":1}`), stageOf("limit", `{"limit":1}`))
	p, err := w.engine.Explain(context.Background(), w.request(r, ``))
	if err != nil {
		t.Fatal(err)
	}
	if p.TotalStages != 4 || len(p.Stages) != 4 || p.Stages[0].Input != 4 || p.Stages[0].Output != 2 || p.Stages[3].Output != 1 || !p.Optimized || len(p.Suggestions) != 1 || p.RetrieverID != "ret_1" {
		t.Errorf("%+v", p)
	}
	if len(w.records) != 0 {
		t.Error("explaining ran something")
	}
	req := w.request(r, `{"query":"flow"}`)
	req.Explain = true
	x, err := w.engine.Execute(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if a := x.Plan.Stages[1].Actual; a == nil || a.Output != 1 || x.Plan.Stages[1].Output == 0 {
		t.Errorf("%+v", x.Plan.Stages[1])
	}
	if _, err := w.engine.Explain(context.Background(), w.request(r, `[]`)); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("inputs that are no object: %v", err)
	}
}
