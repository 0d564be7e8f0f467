package retrieve

import (
	"math"
	"testing"
	"time"
)

func TestMeasures(t *testing.T) {
	grades := map[string]int{"a": 3, "b": 1, "c": 2, "z": 0}
	tests := []struct {
		name    string
		ranking []string
		k       int
		ndcg    float64
		recall  float64
		rr      float64
	}{
		// ideal a c b: 7 + 3/1.58496 + 1/2 = 9.39279
		{"best", []string{"a", "c", "b"}, 10, 1, 1, 1},
		// b x a: 1 + 7/2 = 4.5
		{"worse", []string{"b", "x", "a"}, 10, 4.5 / 9.392789, 2.0 / 3, 1},
		{"cut", []string{"x", "z", "a"}, 2, 0, 0, 1.0 / 3},
		{"at one", []string{"c", "a"}, 1, 3.0 / 7, 1.0 / 3, 1},
		{"nothing found", nil, 10, 0, 0, 0},
	}
	for _, tt := range tests {
		near := func(what string, got, want float64) {
			if math.Abs(got-want) > 1e-6 {
				t.Errorf("%s: %s is %v, not %v", tt.name, what, got, want)
			}
		}
		near("nDCG", NDCG(tt.ranking, grades, tt.k), tt.ndcg)
		near("recall", Recall(tt.ranking, grades, tt.k), tt.recall)
		near("reciprocal rank", ReciprocalRank(tt.ranking, grades), tt.rr)
	}
	if NDCG([]string{"a"}, nil, 10) != 0 || Recall([]string{"a"}, map[string]int{"a": 0}, 10) != 0 {
		t.Error("nothing is relevant")
	}
	if got := Judged([]string{"a", "x", "z", "y"}, grades, 4); got != 0.5 {
		t.Errorf("judged %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var ten []time.Duration
	for i := 10; i > 0; i-- {
		ten = append(ten, time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 5, 51: 6, 90: 9, 99: 10, 100: 10} {
		if got := Percentile(ten, p); got != want {
			t.Errorf("p%v is %v, not %v", p, got, want)
		}
	}
	if Percentile(nil, 50) != 0 || ten[0] != 10 || Mean([]float64{1, 2}) != 1.5 || Mean(nil) != 0 {
		t.Error("edges")
	}
}
