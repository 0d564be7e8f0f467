package retrieve

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawTexts gives documents of few words, so that many have equal scores.
func drawTexts(t *rapid.T) []string {
	words := []string{"flow", "plate", "heat", "wing"}
	list := make([]string, rapid.IntRange(1, 12).Draw(t, "documents"))
	for i := range list {
		list[i] = fmt.Sprintf(`{"text":"%s %s","metadata":{"year":%d}}`, rapid.SampledFrom(words).Draw(t, "word"), rapid.SampledFrom(words).Draw(t, "word"), 1950+rapid.IntRange(0, 3).Draw(t, "year"))
	}
	return list
}

// The answer is a function of the documents: neither the order in which they were
// written, nor versions that are over, change its hash.
func TestAnswersDependOnDocumentsOnly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		texts := drawTexts(rt)
		order := make([]int, len(texts))
		for i := range order {
			order[i] = i
		}
		shuffled := rapid.Permutation(order).Draw(rt, "order")
		fusion := rapid.SampledFrom([]string{"rrf", "dbsf", "weighted", "max"}).Draw(rt, "fusion")
		r := retriever(t, nil, stageOf("feature_search", fmt.Sprintf(`{"searches":[{"feature_uri":"embedding","query":"{{INPUT.query}}","top_k":5},{"feature_uri":"bm25","query":"{{INPUT.query}}","top_k":%d,"weight":0.5}],"fusion":%q,"final_top_k":6}`,
			rapid.IntRange(1, 8).Draw(rt, "top_k"), fusion)))
		a, b := newWorld(t), newWorld(t)
		for _, i := range order {
			a.put(fmt.Sprintf("d%02d", i), "col_a", texts[i])
		}
		for _, i := range shuffled {
			if i%3 == 0 {
				b.put(fmt.Sprintf("d%02d", i), "col_a", `{"text":"flow flow flow"}`)
			}
			if i%4 == 0 {
				b.put("gone", "col_a", `{"text":"flow"}`)
				b.remove("gone", "col_a")
			}
			b.put(fmt.Sprintf("d%02d", i), "col_a", texts[i])
		}
		x, y := a.run(r, `{"query":"flow of heat"}`), b.run(r, `{"query":"flow of heat"}`)
		if x.ResultHash != y.ResultHash {
			rt.Fatal(cmp.Diff(x.Header.Results, y.Header.Results))
		}
	})
}

// One filter selects the same documents wherever it may stand in front of a search.
func TestFiltersBeforeASearchAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for i, text := range drawTexts(rt) {
			w.put(fmt.Sprintf("d%02d", i), "col_a", text)
		}
		filter := fmt.Sprintf(`{"field":"metadata.year","operator":%q,"value":%d}`, rapid.SampledFrom([]string{"lt", "gte", "eq", "ne"}).Draw(rt, "operator"), 1950+rapid.IntRange(0, 3).Draw(rt, "value"))
		search := fmt.Sprintf(`{"searches":[{"feature_uri":"bm25","query":"flow plate","top_k":%d}]}`, rapid.IntRange(1, 6).Draw(rt, "top_k"))
		plain := stageOf("feature_search", search)
		want := w.run(retriever(t, nil, stageOf("attribute_filter", `{"conditions":`+filter+`}`), plain), `{}`).ResultHash
		own := search[:len(search)-3] + `,"filters":` + filter + `}]}`
		for name, stages := range map[string][]string{
			"pre_filters":          {`{"config":{"stage_id":"feature_search","pre_filters":` + filter + `,"parameters":` + search + `}}`},
			"the search's filters": {stageOf("feature_search", own)},
			"two stages":           {stageOf("attribute_filter", `{"field":"document_id","operator":"exists"}`), stageOf("attribute_filter", `{"conditions":`+filter+`}`), plain},
			"not pushed down":      {`{"output_alias":"a","stage_id":"attribute_filter","parameters":{"conditions":` + filter + `}}`, plain},
		} {
			if got := w.run(retriever(t, nil, stages...), `{}`).ResultHash; got != want {
				rt.Fatalf("%s gives another result", name)
			}
		}
		req := w.request(retriever(t, nil, plain), `{}`)
		req.Filters = json.RawMessage(filter)
		x, err := w.engine.Execute(t.Context(), req)
		if err != nil {
			rt.Fatal(err)
		}
		if x.ResultHash != want {
			rt.Fatal("the request's filters give another result")
		}
		for _, rec := range w.records {
			again(t, w, rec)
		}
	})
}
