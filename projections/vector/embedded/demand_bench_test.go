//go:build unix

package embedded

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// BenchmarkLoad is from a log that is not held to the first answer of it, over
// 100,000 documents of 256 dimensions with texts: from the log, from the segments that it
// left in the folder, and from published ones in a folder of blobs.
func BenchmarkLoad(b *testing.B) {
	const n = 100_000
	h := &history{}
	documents(n, 256, true, func(f *vectortest.Feed) {
		h.add(f.Records...)
		f.Records = nil
	})
	load := func(b *testing.B, x *Index) {
		start := time.Now()
		v, err := x.View(context.Background(), benchLog, uint64(n+1))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/time.Since(start).Seconds(), "documents/s")
		firstAnswer(b, v)
		v.Close()
	}
	dir := b.TempDir()
	opts := Options{OnDemand: true, Prefix: h.prefix, Head: h.head}
	b.Run("from the log", func(b *testing.B) {
		for b.Loop() {
			x := open(b, b.TempDir(), opts)
			load(b, x)
			b.StopTimer()
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	x := open(b, dir, opts)
	before := heapNow()
	load(b, x)
	if err := x.Merge(context.Background()); err != nil {
		b.Fatal(err)
	}
	held, loaded := x.Stats().Memory, heapNow()
	resident := residentNow()
	unloadAll(x)
	b.Logf("heap before %.1f MB, with the log %.1f MB (Stats says %.1f MB; resident %.0f MB), after it left %.1f MB (Stats %.1f MB; resident %.0f MB)",
		mb(before), mb(loaded), mb(held), mb(resident), mb(heapNow()), mb(x.Stats().Memory), mb(residentNow()))
	b.Run("from segments in the folder", func(b *testing.B) {
		for b.Loop() {
			load(b, x)
			b.StopTimer()
			unloadAll(x)
			b.StartTimer()
		}
	})
	opts.Published = published(b, x)
	b.Run("from published segments", func(b *testing.B) {
		for b.Loop() {
			x := open(b, b.TempDir(), opts)
			load(b, x)
			b.StopTimer()
			if s := x.Stats(); s.PublishedError != nil {
				b.Fatal(s.PublishedError)
			}
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

func published(b *testing.B, x *Index) Source {
	s, start := shelf(b), time.Now()
	p, err := x.Publish(context.Background(), benchLog, s)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("published %.1f MB in %d segments up to position %d in %v", mb(p.Bytes), len(p.Segments), p.Position, time.Since(start))
	return s
}

func firstAnswer(b *testing.B, v vector.View) {
	set, err := v.Allow(context.Background(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	query := make([]float32, 256)
	query[7] = 1
	if _, err := v.Dense(context.Background(), set, vectortest.Dense, query, 10); err != nil {
		b.Fatal(err)
	}
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// residentNow is VmRSS, where /proc tells it.
func residentNow() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// BenchmarkNote is what Apply costs for records of logs that nobody asks for.
func BenchmarkNote(b *testing.B) {
	h := &history{}
	x := openOnDemand(b, b.TempDir(), h, Options{})
	records, _ := many(renamed(churn(1000).Records, "log-a"), 10)
	processor(b, func() {
		for i := range records {
			records[i].Feed += uint64(len(records))
		}
		if err := x.Apply(context.Background(), 0, records); err != nil {
			b.Fatal(err)
		}
	})
	b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
}
