package retrieve

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"varve/domain"
)

// judgedQuery is a question of the Cranfield collection with its judgements.
type judgedQuery struct {
	text   string
	grades map[string]int
}

func cranfieldLines(t *testing.T, name string, each func(string)) {
	t.Helper()
	f, err := os.Open("../../cmd/varve/demo/cranfield/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func cranfield(t *testing.T) (*world, []judgedQuery) {
	w := newWorld(t)
	w.config.Version = 1
	cranfieldLines(t, "docs.jsonl.gz", func(line string) {
		var d struct{ ID, Title, Text string }
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		w.put(d.ID, "col_a", `{"text":`+string(domain.EncodeValue(d.Title+"\n\n"+d.Text))+`}`)
	})
	grades := map[string]map[string]int{}
	cranfieldLines(t, "qrels.tsv.gz", func(line string) {
		f := strings.Split(line, "\t")
		grade, err := strconv.Atoi(f[2])
		if err != nil {
			return // the heading
		}
		if grades[f[0]] == nil {
			grades[f[0]] = map[string]int{}
		}
		grades[f[0]][f[1]] = grade
	})
	var queries []judgedQuery
	cranfieldLines(t, "queries.jsonl.gz", func(line string) {
		var q struct{ ID, Text string }
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, judgedQuery{q.Text, grades[q.ID]})
	})
	return w, queries
}

type measures struct{ ndcg, recall, mrr float64 }

func (w *world) evaluate(t *testing.T, r domain.Retriever, queries []judgedQuery) measures {
	var ndcg, recall, mrr []float64
	for _, q := range queries {
		x := w.run(r, `{"query":`+string(domain.EncodeValue(q.text))+`}`)
		ranking := ids(x)
		ndcg = append(ndcg, NDCG(ranking, q.grades, 10))
		recall = append(recall, Recall(ranking, q.grades, 100))
		mrr = append(mrr, ReciprocalRank(ranking, q.grades))
	}
	return measures{Mean(ndcg), Mean(recall), Mean(mrr)}
}

func hybrid(t *testing.T, fusion string, dense, words float64, topK int) domain.Retriever {
	r := retriever(t, []string{"papers"}, stageOf("feature_search", fmt.Sprintf(`{"searches":[
		{"feature_uri":"mixpeek://text_extractor@v1/embedding","query":"{{INPUT.query}}","top_k":%d,"weight":%v},
		{"feature_uri":"mixpeek://text_extractor@v1/bm25","query":"{{INPUT.query}}","top_k":%d,"weight":%v}],"fusion":%q,"final_top_k":100}`, topK, dense, topK, words, fusion)))
	r.RetrieverID = fmt.Sprint(fusion, dense, words, topK)
	return r
}

// The figures that the retrievers must reach on Cranfield, over all 225 queries. Of
// the weighted sum each half is scored with the weight that was best on the other.
func TestCranfield(t *testing.T) {
	w, queries := cranfield(t)
	single := func(uri string) domain.Retriever {
		r := retriever(t, []string{"papers"}, stageOf("feature_search", `{"searches":[{"feature_uri":"`+uri+`","query":"{{INPUT.query}}","top_k":100}],"final_top_k":100}`))
		r.RetrieverID = uri
		return r
	}
	check := func(name string, got measures, ndcg, recall float64) {
		t.Logf("%-10s nDCG@10 %.4f, recall@100 %.4f, MRR %.4f", name, got.ndcg, got.recall, got.mrr)
		if got.ndcg < ndcg || got.recall < recall {
			t.Errorf("%s: below nDCG@10 %v, recall@100 %v", name, ndcg, recall)
		}
	}
	check("bm25", w.evaluate(t, single("bm25"), queries), 0.52, 0.74)
	check("dense", w.evaluate(t, single("embedding"), queries), 0.455, 0.745)
	check("rrf", w.evaluate(t, hybrid(t, "rrf", 1, 1, 1000), queries), 0, 0)
	check("dbsf", w.evaluate(t, hybrid(t, "dbsf", 1, 1, 1000), queries), 0, 0)
	var halves [2][]judgedQuery
	for i, q := range queries {
		halves[i%2] = append(halves[i%2], q)
	}
	weights := []float64{0.4, 0.5, 0.6}
	var sums [2]map[float64]measures
	for h := range halves {
		sums[h] = map[float64]measures{}
		for _, words := range weights {
			sums[h][words] = w.evaluate(t, hybrid(t, "weighted", 1-words, words, 1000), halves[h])
			t.Logf("half %d, words %v: nDCG@10 %.4f, recall@100 %.4f", h, words, sums[h][words].ndcg, sums[h][words].recall)
		}
	}
	var total measures
	for h := range halves {
		best := weights[0]
		for _, words := range weights {
			if sums[1-h][words].ndcg > sums[1-h][best].ndcg {
				best = words
			}
		}
		n := float64(len(halves[h])) / float64(len(queries))
		total.ndcg += n * sums[h][best].ndcg
		total.recall += n * sums[h][best].recall
		total.mrr += n * sums[h][best].mrr
	}
	check("weighted", total, 0.54, 0.775)
}
