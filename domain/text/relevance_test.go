package text

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"varve/domain"
)

// Cranfield: 1,400 abstracts on aerodynamics, 225 questions, graded judgements.
const cranfieldDir = "../../cmd/varve/demo/cranfield/"

type cranfield struct {
	ids     []string // of documents, in file order
	docs    []string
	queries []query
}

type query struct {
	text   string
	grades map[string]int
}

func readCranfield(t testing.TB) cranfield {
	t.Helper()
	var c cranfield
	lines(t, "docs.jsonl.gz", func(line string) {
		var d struct{ ID, Title, Text string }
		decode(t, line, &d)
		c.ids = append(c.ids, d.ID)
		c.docs = append(c.docs, d.Title+"\n\n"+d.Text) // as the text extractor joins two inputs
	})
	grades := map[string]map[string]int{}
	lines(t, "qrels.tsv.gz", func(line string) {
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
	lines(t, "queries.jsonl.gz", func(line string) {
		var q struct{ ID, Text string }
		decode(t, line, &q)
		c.queries = append(c.queries, query{q.Text, grades[q.ID]})
	})
	if len(c.docs) != 1400 || len(c.queries) != 225 {
		t.Fatalf("%d documents, %d queries, want 1400 and 225", len(c.docs), len(c.queries))
	}
	return c
}

func decode(t testing.TB, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatal(err)
	}
}

func lines(t testing.TB, name string, do func(string)) {
	t.Helper()
	f, err := os.Open(cranfieldDir + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(z)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			do(line)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bm25 scores every document for every query: k1 1.2, b 0.75, idf ln(1 + (N-n+½)/(n+½)).
func bm25(c cranfield, queryTerms func(string) []domain.TermCount) [][]float64 {
	const k1, b = 1.2, 0.75
	type posting struct{ doc, count int }
	postings := map[string][]posting{}
	lengths := make([]float64, len(c.docs))
	total := 0.0
	for i, d := range c.docs {
		counts, n := Terms(d)
		lengths[i] = float64(n)
		total += float64(n)
		for _, tc := range counts {
			postings[tc.Term] = append(postings[tc.Term], posting{i, int(tc.Count)})
		}
	}
	n, mean := float64(len(c.docs)), total/float64(len(c.docs))
	scores := make([][]float64, len(c.queries))
	for qi, q := range c.queries {
		scores[qi] = make([]float64, len(c.docs))
		for _, tc := range queryTerms(q.text) {
			list := postings[tc.Term]
			df := float64(len(list))
			idf := math.Log(1 + (n-df+0.5)/(df+0.5))
			for _, p := range list {
				tf := float64(p.count)
				scores[qi][p.doc] += float64(tc.Count) * idf * tf * (k1 + 1) / (tf + k1*(1-b+b*lengths[p.doc]/mean))
			}
		}
	}
	return scores
}

// dense scores every document for every query by cosine.
func dense(c cranfield) [][]float64 {
	vectors := make([][]float32, len(c.docs))
	for i, d := range c.docs {
		vectors[i], _ = Embed(d)
	}
	scores := make([][]float64, len(c.queries))
	for qi, q := range c.queries {
		scores[qi] = make([]float64, len(c.docs))
		v, _ := Embed(q.text)
		for i, d := range vectors {
			if d == nil {
				scores[qi][i] = -1
				continue
			}
			scores[qi][i] = dot(v, d)
		}
	}
	return scores
}

// weighted adds two scorings, each brought to 0…1 over the documents of a query.
func weighted(a, b [][]float64, weightOfB float64) [][]float64 {
	sum := make([][]float64, len(a))
	for q := range a {
		x, y := minMax(a[q]), minMax(b[q])
		sum[q] = make([]float64, len(x))
		for i := range x {
			sum[q][i] = (1-weightOfB)*x[i] + weightOfB*y[i]
		}
	}
	return sum
}

func minMax(s []float64) []float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, x := range s {
		low, high = min(low, x), max(high, x)
	}
	out := make([]float64, len(s))
	for i, x := range s {
		if high > low {
			out[i] = (x - low) / (high - low)
		}
	}
	return out
}

func reciprocalRank(a, b [][]float64, k float64) [][]float64 {
	sum := make([][]float64, len(a))
	for q := range a {
		sum[q] = make([]float64, len(a[q]))
		for _, s := range [][]float64{a[q], b[q]} {
			for rank, doc := range ranking(s) {
				sum[q][doc] += 1 / (k + float64(rank+1))
			}
		}
	}
	return sum
}

// ranking orders documents by score, equal ones by their order in the file.
func ranking(scores []float64) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return scores[order[i]] > scores[order[j]] })
	return order
}

// quality gives the means of nDCG@10 (gain 2^grade-1) and recall@100 over the queries that keep says.
func quality(c cranfield, scores [][]float64, keep func(query int) bool) (ndcg, recall float64) {
	n := 0.0
	for qi, q := range c.queries {
		if !keep(qi) {
			continue
		}
		n++
		gain := func(grade int) float64 { return math.Exp2(float64(grade)) - 1 }
		var ideal []float64
		for _, g := range q.grades {
			ideal = append(ideal, gain(g))
		}
		sort.Sort(sort.Reverse(sort.Float64Slice(ideal)))
		best, got, found := 0.0, 0.0, 0.0
		for i, g := range ideal[:min(10, len(ideal))] {
			best += g / math.Log2(float64(i+2))
		}
		for i, doc := range ranking(scores[qi])[:100] {
			grade := q.grades[c.ids[doc]]
			if grade > 0 {
				found++
			}
			if i < 10 {
				got += gain(grade) / math.Log2(float64(i+2))
			}
		}
		ndcg += got / best
		recall += found / float64(len(ideal))
	}
	return ndcg / n, recall / n
}

func all(int) bool { return true }

func even(q int) bool { return q%2 == 0 }
func odd(q int) bool  { return q%2 == 1 }

// The thresholds are what the design asks for; the numbers reached are printed with -v.
func TestRelevanceOnCranfield(t *testing.T) {
	c := readCranfield(t)
	words := bm25(c, QueryTerms)
	allWords := bm25(c, func(s string) []domain.TermCount { terms, _ := Terms(s); return terms })
	vectors := dense(c)
	check := func(name string, ndcg, recall, wantNDCG, wantRecall float64) {
		t.Helper()
		t.Logf("%-44s nDCG@10 %.4f  recall@100 %.4f", name, ndcg, recall)
		if ndcg < wantNDCG || recall < wantRecall {
			t.Errorf("%s: nDCG@10 %.4f, recall@100 %.4f, want %.3f, %.3f", name, ndcg, recall, wantNDCG, wantRecall)
		}
	}
	n, r := quality(c, allWords, all)
	check("BM25, all words of the query", n, r, 0.52, 0.74)
	n, r = quality(c, words, all)
	check("BM25, query without stop words", n, r, 0.535, 0.755)
	n, r = quality(c, vectors, all)
	check("embedder alone", n, r, 0.455, 0.745)
	n, r = quality(c, reciprocalRank(words, vectors, 60), all)
	check("reciprocal rank fusion, k 60", n, r, 0.53, 0.78)
	n, r = quality(c, weighted(words, vectors, 0.4), all)
	check("min-max weighted sum, 0.4 embedder", n, r, 0.54, 0.775)

	// The weight that one half of the queries likes best, measured on the other half.
	best := func(keep func(int) bool) float64 {
		weight, top := 0.0, 0.0
		for w := 0.0; w <= 1.001; w += 0.1 {
			if n, _ := quality(c, weighted(words, vectors, w), keep); n > top {
				weight, top = w, n
			}
		}
		return weight
	}
	forEven, forOdd := best(odd), best(even)
	n1, r1 := quality(c, weighted(words, vectors, forEven), even)
	n2, r2 := quality(c, weighted(words, vectors, forOdd), odd)
	t.Logf("weights chosen on the other half: %.1f and %.1f", forEven, forOdd)
	check("min-max weighted sum, weight of the other half", (113*n1+112*n2)/225, (113*r1+112*r2)/225, 0.54, 0.775)
}
