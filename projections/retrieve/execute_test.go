package retrieve

import (
	"testing"
)

const searchWords = `{"stage_name":"find","config":{"stage_id":"feature_search","parameters":{"searches":[{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.query}}"}]}}}`

func TestFirstSearch(t *testing.T) {
	w := library(t)
	x := w.run(retriever(t, []string{"papers"}, searchWords), `{"query":"supersonic flow"}`)
	t.Log(ids(x), x.Stages, x.Pagination, x.Documents[0])
	for _, r := range w.records {
		t.Logf("%+v", r.header)
	}
}
