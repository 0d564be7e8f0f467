package storetest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"varve/eventstore"
)

// The benches of the engines write the same events: BenchLogs logs, streams of
// PerStream events, 200 bytes of data and BenchMeta each.
const (
	BenchLogs   = 10
	PerStream   = 10
	benchBytes  = 200
	benchRounds = 10 // of a comparison; one before them warms up
)

// BenchMeta are the metadata of every event of a bench.
var BenchMeta = eventstore.Metadata{Actor: "usr_2f9c1d7e55", Key: "key_9b1c2d3e4f", Correlation: "req_0123456789abcdef", Causation: "01890a5d-ac96-774b-bcce-b302099a8057", Origin: "http"}

// Setting is a number from the environment. The benches work in a store with
// VARVE_BENCH_EVENTS events (20,000; make bench says 1,000,000) and measure each
// way for three times VARVE_BENCH_SECONDS (1).
func Setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// Span is how long one way is measured.
func Span() time.Duration { return 3 * time.Second * time.Duration(Setting("VARVE_BENCH_SECONDS", 1)) }

// BenchData are the data of the event number n.
func BenchData(n int) []byte {
	s := fmt.Sprintf(`{"n":%d,"collection_id":"col_1a2b3c","title":"A varve is one year's layer in lake sediment","score":0.125,"text":"`, n)
	return []byte(s + strings.Repeat("lorem ipsum ", 20)[:benchBytes-2-len(s)] + `"}`)
}

// BenchLog names one of the logs.
func BenchLog(n int) eventstore.LogID { return eventstore.LogID("ns_" + strconv.Itoa(n%BenchLogs)) }

// benchStream names a stream. It is called for each append that is measured, and must cost little beside it.
func benchStream(tag string, numbers ...int) string {
	b := append(make([]byte, 0, 64), "document-doc_"...)
	b = append(b, tag...)
	for _, n := range numbers {
		b = strconv.AppendInt(append(b, '_'), int64(n), 10)
	}
	return string(b)
}

// Preload appends the events that a bench works beside.
func Preload(s eventstore.Store) error {
	for n := 0; n < Setting("VARVE_BENCH_EVENTS", 20_000); n += 1000 {
		var batches []eventstore.Batch
		for st := range 1000 / PerStream {
			b := eventstore.Batch{Log: BenchLog(st), Stream: fmt.Sprint("document-doc_pre", n, "_", st), Meta: BenchMeta}
			for k := range PerStream {
				b.Events = append(b.Events, eventstore.Event{Type: "document.written", Data: BenchData(n + k)})
			}
			batches = append(batches, b)
		}
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: batches}); err != nil {
			return err
		}
	}
	return nil
}

// Drive appends from closed-loop writers, spread over stores, until the time is
// up, and gives how long each append took. A tag names the streams: it is used once.
func Drive(stores []eventstore.Owner, tag string, writers, batch int, long time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(long)
	var wg sync.WaitGroup
	all, errs := make([][]time.Duration, writers), make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			data := BenchData(w)
			for i := 0; errs[w] == nil; i++ {
				began := time.Now()
				if began.After(end) {
					return
				}
				_, errs[w] = stores[w%len(stores)].Append(context.Background(), BenchAppend(tag, w, i, batch, data))
				all[w] = append(all[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...), cmp.Or(errs...)
}

// BenchAppend is the append number i of a writer: of one event, which is the next
// of the writer's newest stream, or of a batch, in streams of their own.
func BenchAppend(tag string, w, i, batch int, data []byte) (a eventstore.Append) {
	for k := range max(1, batch/PerStream) {
		b := eventstore.Batch{Log: BenchLog(w), Stream: benchStream(tag, w, i, k), Expect: eventstore.New(), Meta: BenchMeta}
		if batch == 1 {
			b.Stream, b.Expect = benchStream(tag, w, i/PerStream), eventstore.Exactly(uint64(i%PerStream))
		}
		for range min(batch, PerStream) {
			b.Events = append(b.Events, eventstore.Event{Type: "document.written", Data: data})
		}
		a.Batches = append(a.Batches, b)
	}
	return a
}

// Ack is an answer to an append, and when it came.
type Ack struct {
	After time.Time
	Feed  uint64
}

// Paced appends n times, so many times a second, each when its time has come,
// whatever the answers of others take. It gives when each was called and answered.
func Paced(b *testing.B, s eventstore.Store, perSecond, n int, next func(i int) eventstore.Append) (sent []time.Time, acked []Ack) {
	b.Helper()
	sent, acked = make([]time.Time, n), make([]Ack, n)
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	began := time.Now()
	for at := 0; at < n; <-tick.C {
		for due := int(time.Since(began).Seconds() * float64(perSecond)); at < min(due, n); at++ {
			i, a := at, next(at)
			wg.Go(func() {
				sent[i] = time.Now()
				a, err := s.Append(context.Background(), a)
				if err != nil {
					b.Error(err)
					return
				}
				acked[i] = Ack{time.Now(), a.Feed}
			})
		}
	}
	wg.Wait()
	return sent, acked
}

// Way is how a comparison appends: from how many writers, how many events an
// append, and which part of the bare program's rate is wanted.
type Way struct {
	Writers, Batch int
	Wanted         float64
}

func (w Way) String() string { return fmt.Sprintf("%dx%d", w.Writers, w.Batch) }

// Bare is a program that writes the rows of Drive's events through the same
// driver, into the same indexes, without any checks.
type Bare interface {
	// Commit writes so many rows in one transaction.
	Commit(events int) error
}

// CompareAppends measures a store and the bare program in turns: what the store
// committed in a slice of time, the bare program writes in the same batch sizes.
// The ratio is the median of the slices'. A metric with ">=" or "<=" behind its
// name is what is wanted of it.
func CompareAppends(b *testing.B, way Way, open func(eventstore.Options) eventstore.Owner, bare Bare) {
	b.Helper()
	var sizes []int
	s := open(eventstore.Options{OnCommit: func(_, _, records int) { sizes = append(sizes, records) }})
	var ours, theirs Cost
	var ratios []float64
	var lat []time.Duration
	events, commits := 0, 0
	for round := range benchRounds + 1 {
		sizes = sizes[:0]
		var l []time.Duration
		var err error
		mine := Measure(func() {
			l, err = Drive([]eventstore.Owner{s}, fmt.Sprint(round), way.Writers, way.Batch, Span()/benchRounds)
		})
		if err != nil {
			b.Fatal(err)
		}
		other := Measure(func() {
			for _, size := range sizes {
				if err == nil {
					err = bare.Commit(size)
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		if round == 0 {
			continue
		}
		for _, size := range sizes {
			events += size
		}
		commits += len(sizes)
		lat = append(lat, l...)
		ours.add(mine)
		theirs.add(other)
		ratios = append(ratios, other.Wall.Seconds()/mine.Wall.Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(events)/ours.Wall.Seconds(), "events/s")
	b.ReportMetric(float64(events)/theirs.Wall.Seconds(), "bare/s")
	ReportRatio(b, ratios, way.Wanted)
	b.ReportMetric(float64(events)/float64(commits), "events/commit")
	ReportLatency(b, lat)
	b.ReportMetric(ours.CPU.Seconds()*1e6/float64(events), "cpu_µs/event")
	b.ReportMetric(theirs.CPU.Seconds()*1e6/float64(events), "bare_cpu_µs/event")
}

// CompareReads reads the same records by two programs in turns and reports their
// rates and the ratio.
func CompareReads(b *testing.B, ours, bare func() (records int, err error), wanted float64) {
	b.Helper()
	var spent [2]time.Duration
	var ratios []float64
	n := 0
	for round := range benchRounds + 1 {
		var took [2]time.Duration
		var got [2]int
		for i, read := range []func() (int, error){ours, bare} {
			began := time.Now()
			var err error
			if got[i], err = read(); err != nil {
				b.Fatal(err)
			}
			took[i] = time.Since(began)
		}
		if got[0] != got[1] || got[0] == 0 {
			b.Fatalf("%d and %d records", got[0], got[1])
		}
		if round == 0 {
			continue
		}
		n += got[0]
		spent[0], spent[1] = spent[0]+took[0], spent[1]+took[1]
		ratios = append(ratios, took[1].Seconds()/took[0].Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/spent[0].Seconds(), "events/s")
	b.ReportMetric(float64(n)/spent[1].Seconds(), "bare/s")
	ReportRatio(b, ratios, wanted)
}

// ReportRatio reports the median of ratios, and what is wanted of it.
func ReportRatio(b *testing.B, ratios []float64, wanted float64) {
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(wanted, "ratio>=")
}

// ReportLatency reports the median and the 99th percentile, in milliseconds.
func ReportLatency(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(Milliseconds(all[len(all)/2]), "p50_ms")
	b.ReportMetric(Milliseconds(all[len(all)*99/100]), "p99_ms")
}

// Milliseconds are what benches report of a duration, to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Cost is time by the clock and of the processor: the second also means
// something on a machine that others use.
type Cost struct{ Wall, CPU time.Duration }

func (c *Cost) add(d Cost) { c.Wall, c.CPU = c.Wall+d.Wall, c.CPU+d.CPU }

// Measure is what a function costs this process.
func Measure(fn func()) Cost {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before) // it fails for a wrong argument alone
	began := time.Now()
	fn()
	wall := time.Since(began)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := func(r syscall.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	return Cost{wall, time.Duration(used(after) - used(before))}
}
