//go:build unix

package embedded

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector/vectortest"
)

const benchLog = eventstore.LogID("log-bench")

// corpus gives an index of n documents with dense vectors of the given dimension
// and texts of about 60 words with a natural distribution.
func corpus(b *testing.B, n, dims int, texts bool, opts Options) *Index {
	b.Helper()
	dir := b.TempDir()
	x := open(b, dir, opts)
	start := time.Now()
	fill(b, x, n, dims, texts)
	b.Logf("%d documents of %d dimensions: %.0f documents/s into the index, flushed and merged after %.1f s", n, dims,
		float64(n)/time.Since(start).Seconds(), func() float64 {
			if err := x.Flush(); err != nil {
				b.Fatal(err)
			}
			if err := x.Merge(context.Background()); err != nil {
				b.Fatal(err)
			}
			return time.Since(start).Seconds()
		}())
	return x
}

func fill(b testing.TB, x *Index, n, dims int, texts bool) {
	documents(n, dims, texts, func(f *vectortest.Feed) { give(b, x, f) })
}

// documents makes n documents, in pages.
func documents(n, dims int, texts bool, take func(*vectortest.Feed)) {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 4, 50_000)
	f := &vectortest.Feed{}
	f.SaveCollection(benchLog, "col_a")
	categories := []string{"news", "sport", "science", "music", "film", "food", "travel", "art"}
	for i := range n {
		v := make([]float32, dims)
		for j := range v {
			v[j] = float32(r.NormFloat64())
		}
		features := []domain.Feature{vectortest.Vector(v...)}
		if texts {
			words := make([]string, 40+r.IntN(40))
			for j := range words {
				words[j] = fmt.Sprintf("w%d", zipf.Uint64())
			}
			features = append(features, vectortest.Text(words...))
		}
		f.Write(benchLog, fmt.Sprintf("doc_%08x%08x", r.Uint32(), i), "col_a",
			fmt.Sprintf(`{"category":%q,"price":%d.%02d,"public":%t,"title":"Document number %d"}`, categories[r.IntN(8)], r.IntN(1000), r.IntN(100), r.IntN(2) == 0, i), features...)
		if len(f.Records) == 1000 || i == n-1 {
			take(f)
		}
	}
}

// give applies the feed's records and forgets them, but not where they were.
func give(b testing.TB, x *Index, f *vectortest.Feed) {
	applied := x.Applied(0)
	for i := range f.Records {
		f.Records[i].Feed = applied + uint64(i) + 1
	}
	if err := x.Apply(context.Background(), 0, f.Records); err != nil {
		b.Fatal(err)
	}
	f.Records = nil
}

// processor reports the processor time per operation beside the time that passed:
// it is the same when others use the machine.
func processor(b *testing.B, run func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, n := used(), 0
	for b.Loop() {
		run()
		n++
	}
	b.ReportMetric(float64(used()-before)/float64(n)/1e6, "cpu-ms/op")
}

func fiveTerms(zipf *rand.Zipf) []domain.TermCount {
	terms := map[string]uint32{}
	for range 5 {
		terms[fmt.Sprintf("w%d", zipf.Uint64())]++
	}
	return domain.SortTerms(terms)
}

// BenchmarkDense is exact search over 100,000 × 768 beside a scan of the memory that
// the same vectors take as float32: by all cores, once each.
func BenchmarkDense(b *testing.B) {
	const n, dims = 100_000, 768
	x := corpus(b, n, dims, false, Options{})
	v, err := x.View(context.Background(), benchLog, x.Position(benchLog))
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	set, err := v.Allow(context.Background(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	half, err := domain.Where("public", domain.OpEq, true)
	if err != nil {
		b.Fatal(err)
	}
	halfSet, err := v.Allow(context.Background(), nil, half)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, k := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("exact k=%d", k), func(b *testing.B) {
			processor(b, func() {
				if _, err := v.Dense(context.Background(), set, vectortest.Dense, randomVector(r, dims), k); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
	b.Run("exact half k=10", func(b *testing.B) {
		processor(b, func() {
			if _, err := v.Dense(context.Background(), halfSet, vectortest.Dense, randomVector(r, dims), 10); err != nil {
				b.Fatal(err)
			}
		})
	})
	memory := make([]byte, n*dims*4)
	copy(memory, bytesOf(v.(*view).segments[0].vectors[vectortest.Dense][0].vectors))
	b.Run("memory scan", func(b *testing.B) {
		b.SetBytes(int64(len(memory)))
		processor(b, func() { scanMemory(memory) })
	})
}

// scanMemory reads all bytes as fast as the standard library's vector code can.
func scanMemory(memory []byte) (count int) {
	workers := runtime.GOMAXPROCS(0)
	counts := make([]int, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			counts[w] = bytes.Count(memory[len(memory)*w/workers:len(memory)*(w+1)/workers], []byte{7})
		}()
	}
	wait.Wait()
	for _, c := range counts {
		count += c
	}
	return count
}

// BenchmarkHybrid is one query, dense and BM25, over 100,000 documents of 256
// dimensions, with and without a filter.
func BenchmarkHybrid(b *testing.B) {
	const n, dims = 100_000, 256
	x := corpus(b, n, dims, true, Options{})
	r := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(r, 1.1, 4, 50_000)
	half, err := domain.Where("public", domain.OpEq, true)
	if err != nil {
		b.Fatal(err)
	}
	one := func(r *rand.Rand, zipf *rand.Zipf, filter *domain.Filter, texts bool) error {
		v, err := x.View(context.Background(), benchLog, x.Position(benchLog))
		if err != nil {
			return err
		}
		defer v.Close()
		set, err := v.Allow(context.Background(), []string{"col_a"}, filter)
		if err != nil {
			return err
		}
		if _, err := v.Dense(context.Background(), set, vectortest.Dense, randomVector(r, dims), 100); err != nil || !texts {
			return err
		}
		_, err = v.Sparse(context.Background(), set, vectortest.Sparse, fiveTerms(zipf), 100)
		return err
	}
	query := func(b *testing.B, filter func() *domain.Filter) {
		processor(b, func() {
			if err := one(r, zipf, filter(), true); err != nil {
				b.Fatal(err)
			}
		})
	}
	for _, texts := range []bool{false, true} {
		b.Run(fmt.Sprintf("8 clients, texts %t", texts), func(b *testing.B) {
			var clients sync.WaitGroup
			queries := make(chan struct{})
			for c := range uint64(8) {
				clients.Add(1)
				go func() {
					defer clients.Done()
					r := rand.New(rand.NewPCG(c, 9))
					zipf := rand.NewZipf(r, 1.1, 4, 50_000)
					for range queries {
						filter := half
						if r.IntN(2) == 0 {
							filter = nil
						}
						if err := one(r, zipf, filter, texts); err != nil {
							b.Error(err)
						}
					}
				}()
			}
			processor(b, func() { queries <- struct{}{} })
			close(queries)
			clients.Wait()
		})
	}
	b.Run("all", func(b *testing.B) { query(b, func() *domain.Filter { return nil }) })
	b.Run("half", func(b *testing.B) { query(b, func() *domain.Filter { return half }) })
	price := func() *domain.Filter {
		f, err := domain.Where("price", domain.OpLt, r.Float64()*1000)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	b.Run("new range each time", func(b *testing.B) { query(b, price) })
	b.Run("allow, nothing remembered", func(b *testing.B) {
		v, err := x.View(context.Background(), benchLog, x.Position(benchLog))
		if err != nil {
			b.Fatal(err)
		}
		defer v.Close()
		processor(b, func() {
			x.cache = newCache(1 << 20)
			if _, err := v.Allow(context.Background(), nil, half); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("sparse only", func(b *testing.B) {
		v, err := x.View(context.Background(), benchLog, x.Position(benchLog))
		if err != nil {
			b.Fatal(err)
		}
		defer v.Close()
		set, err := v.Allow(context.Background(), nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		processor(b, func() {
			if _, err := v.Sparse(context.Background(), set, vectortest.Sparse, fiveTerms(zipf), 100); err != nil {
				b.Fatal(err)
			}
		})
	})
}
