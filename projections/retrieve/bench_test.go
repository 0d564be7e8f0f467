package retrieve

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// benchWorld holds n texts of words that are drawn like those of a language.
func benchWorld(b *testing.B, n int) *world {
	w := newWorld(b)
	w.engine.Now = time.Now
	w.config.Version = 1
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.2, 4, 4000)
	for i := range n {
		words := make([]string, 40)
		for j := range words {
			words[j] = benchWord(zipf.Uint64())
		}
		w.put(fmt.Sprintf("doc_%024x", uint64(i)*0x9E3779B97F4A7C15), "col_a", fmt.Sprintf(`{"text":"%s","metadata":{"year":%d}}`, strings.Join(words, " "), 1950+i%60))
	}
	return w
}

func benchWord(n uint64) string {
	s := ""
	for n += 7; n > 0; n /= 14 {
		s += string("bdfgklmnprstvz"[n%14]) + string("aeiou"[n%5])
	}
	return s
}

func benchRetriever(b *testing.B, topK int) domain.Retriever {
	r := retriever(b, []string{"papers"}, stageOf("feature_search", fmt.Sprintf(`{"searches":[{"feature_uri":"embedding","query":"{{INPUT.query}}","top_k":%d},{"feature_uri":"bm25","query":"{{INPUT.query}}","top_k":%d}],"fusion":"weighted","final_top_k":10}`, topK, topK)))
	r.RetrieverID = fmt.Sprint("ret_", topK)
	return r
}

func benchRequests(b *testing.B, w *world) []Request {
	r := benchRetriever(b, 100)
	list := make([]Request, 64)
	for i := range list {
		list[i] = w.request(r, fmt.Sprintf(`{"query":"%s %s %s"}`, benchWord(uint64(i+3)), benchWord(uint64(2*i+40)), benchWord(uint64(i*i%4000))))
		if i%2 == 0 {
			list[i].Filters = json.RawMessage(`{"field":"metadata.year","operator":"gte","value":1980}`)
		}
	}
	return list
}

// BenchmarkExecute compares executions with their records, encoded as an append
// encodes them, and without; the difference is what a record costs the processor.
func BenchmarkExecute(b *testing.B) {
	w := benchWorld(b, 5000)
	requests := benchRequests(b, w)
	bytes := 0
	record := func(_ context.Context, _ eventstore.LogID, h *domain.ExecutionRecorded, trace []byte) error {
		data, err := domain.EncodeEvent(h)
		bytes = len(data) + len(trace)
		return err
	}
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("record=%v", with), func(b *testing.B) {
			if w.engine.Record = nil; with {
				w.engine.Record = record
			}
			i, began := 0, processorTime()
			for b.Loop() {
				if _, err := w.engine.Execute(context.Background(), requests[i%len(requests)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64((processorTime()-began).Microseconds())/float64(i), "cpu-µs/op")
			if with {
				b.ReportMetric(float64(bytes), "record-bytes")
			}
		})
	}
}

// processorTime is what this process used, which other processes do not stretch.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCompile is the part of an execution that reads the retriever.
func BenchmarkCompile(b *testing.B) {
	w := newWorld(b)
	r := benchRequests(b, w)[0].Retriever
	for b.Loop() {
		if _, err := compile(w.config, r, func(string) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodeTrace is the part of a record that grows with what was found.
func BenchmarkEncodeTrace(b *testing.B) {
	w := benchWorld(b, 3000)
	for _, topK := range []int{100, 300, 1000} {
		b.Run(fmt.Sprintf("top_k=%d", topK), func(b *testing.B) {
			x := w.run(benchRetriever(b, topK), `{"query":"`+benchWord(3)+` `+benchWord(50)+`"}`)
			began, n := processorTime(), 0
			for b.Loop() {
				x.Trace.Encode()
				n++
			}
			b.ReportMetric(float64((processorTime()-began).Microseconds())/float64(n), "cpu-µs/op")
			b.ReportMetric(float64(len(x.Trace.Encode())), "bytes")
		})
	}
}

func BenchmarkEncodeHeader(b *testing.B) {
	w := benchWorld(b, 2000)
	x := w.run(benchRequests(b, w)[1].Retriever, `{"query":"`+benchWord(3)+` `+benchWord(50)+`"}`)
	for b.Loop() {
		if _, err := domain.EncodeEvent(x.Header); err != nil {
			b.Fatal(err)
		}
	}
}
