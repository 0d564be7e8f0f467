package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"varve/projections/retrieve"
)

// quality is how well and how fast a retriever answered all queries.
type quality struct {
	Retriever string  `json:"retriever"`
	NDCG      float64 `json:"ndcg@10"`
	Recall    float64 `json:"recall@100"`
	MRR       float64 `json:"mrr"`
	P50       float64 `json:"p50_ms"`
	P95       float64 `json:"p95_ms"`
	P99       float64 `json:"p99_ms"`
	Queries   int     `json:"queries"`
}

// evaluate asks every query of every retriever through the API, one at a time,
// and prints quality (gain 2^grade − 1) and latency as the client saw it.
func evaluate(ctx context.Context, api *client, o output) error {
	queries, err := demoQueries()
	if err != nil {
		return err
	}
	var all []quality
	for _, r := range demoRetrievers {
		q, err := measure(ctx, api, o, r.name, queries)
		if err != nil {
			return fmt.Errorf("evaluate %s: %w", r.name, err)
		}
		all = append(all, q)
	}
	return o.print(all, func(w io.Writer) {
		fmt.Fprintf(w, "%-10s %8s %11s %8s %9s %9s %9s\n", "retriever", "nDCG@10", "recall@100", "MRR", "p50 ms", "p95 ms", "p99 ms")
		for _, q := range all {
			fmt.Fprintf(w, "%-10s %8.4f %11.4f %8.4f %9.2f %9.2f %9.2f\n", q.Retriever, q.NDCG, q.Recall, q.MRR, q.P50, q.P95, q.P99)
		}
	})
}

func measure(ctx context.Context, api *client, o output, retriever string, queries []demoQuery) (quality, error) {
	var ndcg, recall, mrr []float64
	var took []time.Duration
	bar := progress(o, len(queries), retriever)
	for _, q := range queries {
		a, err := search(ctx, api, retriever, q.Text, 100)
		if err != nil {
			return quality{}, err
		}
		ranking := make([]string, len(a.Documents))
		for i, d := range a.Documents {
			ranking[i] = d.Number
		}
		ndcg, recall, mrr = append(ndcg, retrieve.NDCG(ranking, q.Grades, 10)), append(recall, retrieve.Recall(ranking, q.Grades, 100)), append(mrr, retrieve.ReciprocalRank(ranking, q.Grades))
		took = append(took, a.took)
		_ = bar.Add(1)
	}
	ms := func(p float64) float64 { return float64(retrieve.Percentile(took, p).Microseconds()) / 1000 }
	return quality{retriever, retrieve.Mean(ndcg), retrieve.Mean(recall), retrieve.Mean(mrr), ms(50), ms(95), ms(99), len(queries)}, nil
}
