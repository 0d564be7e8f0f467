package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"varve/eventstore"
)

// The benchmarks work in a store with VARVE_BENCH_EVENTS events (20,000; make
// bench says 1,000,000) and measure each way for VARVE_BENCH_SECONDS (1) in three
// rounds. Read the ratios to the bare program, which writes the same rows and
// indexes through the same driver in the same batch sizes, without any checks.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

const (
	benchLogs  = 10
	perStream  = 10 // events of a stream
	benchBytes = 200
)

func benchData(n int) []byte {
	s := fmt.Sprintf(`{"n":%d,"collection_id":"col_1a2b3c","title":"A varve is one year's layer in lake sediment","score":0.125,"text":"`, n)
	for len(s) < benchBytes-2 {
		s += "lorem ipsum dolor "[:min(18, benchBytes-2-len(s))]
	}
	return []byte(s + `"}`)
}

var benchMeta = eventstore.Metadata{Actor: "usr_2f9c1d7e55", Key: "key_9b1c2d3e4f", Correlation: "req_0123456789abcdef", Causation: "01890a5d-ac96-774b-bcce-b302099a8057", Origin: "http"}

// PreloadDir is where preload put its store; TestMain removes it.
var PreloadDir string

// preload makes the store that all benchmarks start from, once.
var preload = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "varve-bench")
	if err != nil {
		return "", err
	}
	PreloadDir = dir
	path := filepath.Join(dir, "log.db")
	s, err := Open(path, Options{})
	if err != nil {
		return "", err
	}
	events := setting("VARVE_BENCH_EVENTS", 20_000)
	for n := 0; n < events; n += 1000 {
		var batches []eventstore.Batch
		for st := range 1000 / perStream {
			b := eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("ns_", st%benchLogs)), Stream: fmt.Sprint("document-doc_pre", n, "_", st), Meta: benchMeta}
			for k := range perStream {
				b.Events = append(b.Events, eventstore.Event{Type: "document.written", Data: benchData(n + k)})
			}
			batches = append(batches, b)
		}
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: batches}); err != nil {
			return "", err
		}
	}
	return path, s.Close()
})

func benchFile(b *testing.B, name string) string {
	src, err := preload()
	if err != nil {
		b.Fatal(err)
	}
	dst := filepath.Join(b.TempDir(), name)
	in, err := os.Open(src)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		b.Fatal(err)
	}
	if err := out.Sync(); err != nil {
		b.Fatal(err)
	}
	out.Close()
	return dst
}

// BenchmarkAppend prints events/s of the store and of the bare program, and their ratio.
func BenchmarkAppend(b *testing.B) {
	for _, way := range []struct {
		name           string
		writers, batch int
		target         float64
	}{{"1x1", 1, 1, 0.75}, {"64x1", 64, 1, 0.65}, {"1x100", 1, 100, 0.85}} {
		b.Run(way.name, func(b *testing.B) {
			var sizes []int
			s, err := Open(benchFile(b, "log.db"), Options{Options: eventstore.Options{OnCommit: func(_, _, records int) { sizes = append(sizes, records) }}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			bare, err := openBare(benchFile(b, "bare.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer bare.c.close()
			const rounds = 10
			slice := time.Duration(setting("VARVE_BENCH_SECONDS", 1)) * time.Second * 3 / rounds
			var ours, theirs cost
			var ratios []float64
			var lat []time.Duration
			events, commits := 0, 0
			for round := range rounds + 1 {
				sizes = sizes[:0]
				var l []time.Duration
				mine := measure(func() { l = drive(b, s, round, way.writers, way.batch, slice) })
				other := measure(func() { err = bare.replay(sizes) })
				if err != nil {
					b.Fatal(err)
				}
				if round == 0 { // warming up
					continue
				}
				for _, size := range sizes {
					events += size
				}
				commits += len(sizes)
				lat = append(lat, l...)
				ours.add(mine)
				theirs.add(other)
				ratios = append(ratios, other.wall.Seconds()/mine.wall.Seconds())
			}
			slices.Sort(ratios)
			slices.Sort(lat)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(events)/ours.wall.Seconds(), "events/s")
			b.ReportMetric(float64(events)/theirs.wall.Seconds(), "bare/s")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(way.target, "wanted")
			b.ReportMetric(float64(events)/float64(commits), "events/commit")
			b.ReportMetric(float64(lat[len(lat)/2].Microseconds())/1000, "p50_ms")
			b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds())/1000, "p99_ms")
			b.ReportMetric(ours.cpu.Seconds()*1e6/float64(events), "cpu_µs/event")
			b.ReportMetric(theirs.cpu.Seconds()*1e6/float64(events), "bare_cpu_µs/event")
		})
	}
}

// cost is wall clock and processor time: the second also means something on a
// machine that others use.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(d cost) { c.wall, c.cpu = c.wall+d.wall, c.cpu+d.cpu }

func measure(fn func()) cost {
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	fn()
	wall := time.Since(began)
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := func(r syscall.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	return cost{wall, time.Duration(used(after) - used(before))}
}

// drive appends from closed-loop writers until the time is up.
func drive(b *testing.B, s eventstore.Owner, round, writers, batch int, long time.Duration) []time.Duration {
	end := time.Now().Add(long)
	var wg sync.WaitGroup
	all := make([][]time.Duration, writers)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			log := eventstore.LogID(fmt.Sprint("ns_", w%benchLogs))
			data := benchData(w)
			for i := 0; ; i++ {
				began := time.Now()
				if began.After(end) {
					return
				}
				var a eventstore.Append
				if batch == 1 {
					a.Batches = []eventstore.Batch{{Log: log, Stream: fmt.Sprintf("document-doc_%d_%d_%d", round, w, i/perStream), Meta: benchMeta,
						Expect: eventstore.Exactly(uint64(i % perStream)), Events: []eventstore.Event{{Type: "document.written", Data: data}}}}
				} else {
					for k := range batch / perStream {
						bt := eventstore.Batch{Log: log, Stream: fmt.Sprintf("document-doc_%d_%d_%d_%d", round, w, i, k), Expect: eventstore.New(), Meta: benchMeta}
						for range perStream {
							bt.Events = append(bt.Events, eventstore.Event{Type: "document.written", Data: data})
						}
						a.Batches = append(a.Batches, bt)
					}
				}
				if _, err := s.Append(context.Background(), a); err != nil {
					b.Error(err)
					return
				}
				all[w] = append(all[w], time.Since(began))
			}
		}()
	}
	wg.Wait()
	return slices.Concat(all...)
}

// bare writes rows as they come.
type bare struct {
	c       *conn
	feed    int64
	streams int64
	pos     [benchLogs]int64
	events  int64
	data    []byte
	meta    []byte
}

func openBare(path string) (*bare, error) {
	c, err := dial(path, false)
	if err != nil {
		return nil, err
	}
	h, err := head(c, 0)
	if err != nil {
		return nil, err
	}
	b := &bare{c: c, feed: int64(h.Feed), streams: h.Streams, data: benchData(1), meta: eventstore.AppendMetadata(nil, &benchMeta)}
	for i := range b.pos {
		b.pos[i] = int64(h.Feed)
	}
	return b, nil
}

func (b *bare) replay(sizes []int) error {
	for _, size := range sizes {
		if err := b.commit(size); err != nil {
			return err
		}
	}
	return nil
}

func (b *bare) commit(size int) error {
	if _, err := b.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if _, err := b.c.exec("UPDATE heads SET token = token + 1, feed = ? WHERE shard = 0", b.feed+int64(size)); err != nil {
		return err
	}
	for k := range size {
		if (b.events+int64(k))%perStream == 0 {
			st := b.streams + 1 + (b.events+int64(k))/perStream
			if _, err := b.c.exec("INSERT INTO streams VALUES (?, ?, ?, 0)", st, 1+st%benchLogs, fmt.Sprintf("document-doc_%d_1_%d", st%4, st)); err != nil {
				return err
			}
		}
	}
	left := size
	var args []driver.Value
	for _, n := range insertSizes {
		for left >= n {
			args = args[:0]
			for range n {
				st := b.streams + 1 + b.events/perStream
				log := st % benchLogs
				b.feed++
				b.pos[log]++
				frame := make([]byte, eventstore.FrameMeta, eventstore.FrameMeta+len(b.meta))
				binary.BigEndian.PutUint64(frame, uint64(b.feed))
				args = append(args, b.feed, 1+log, b.pos[log], st, b.events%perStream+1, "document.written", append(frame, b.meta...), b.data, nil)
				b.events++
			}
			if err := b.insert(n, args); err != nil {
				return err
			}
			left -= n
		}
	}
	_, err := b.c.exec("COMMIT")
	return err
}

func (b *bare) insert(rows int, args []driver.Value) error {
	s, err := b.c.prepare(insertSQL(rows))
	if err != nil {
		return err
	}
	_, err = s.exec(args...)
	return err
}

// BenchmarkRead reads one log from its beginning.
func BenchmarkRead(b *testing.B) {
	s, err := Open(benchFile(b, "log.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	type document struct {
		N          int     `json:"n"`
		Collection string  `json:"collection_id"`
		Title      string  `json:"title"`
		Score      float64 `json:"score"`
		Text       string  `json:"text"`
	}
	for _, way := range []struct {
		name   string
		decode bool
		log    eventstore.LogID
	}{{"log/json", true, "ns_3"}, {"log/raw", false, "ns_3"}, {"feed/raw", false, ""}} {
		b.Run(way.name, func(b *testing.B) {
			n := 0
			spent := measure(func() {
				for b.Loop() {
					seq := s.Read(context.Background(), way.log, 0, 0)
					if way.log == "" {
						seq = s.Feed(context.Background(), 0, 0, 100_000)
					}
					for r, err := range seq {
						if err != nil {
							b.Fatal(err)
						}
						if way.decode {
							var d document
							if err := json.Unmarshal(r.Data, &d); err != nil {
								b.Fatal(err)
							}
						}
						n++
					}
				}
			})
			b.ReportMetric(float64(n)/spent.wall.Seconds(), "events/s")
			b.ReportMetric(float64(n)/spent.cpu.Seconds(), "events/cpu_s")
		})
	}
	b.Run("verify", func(b *testing.B) {
		n := 0
		spent := measure(func() {
			for b.Loop() {
				rep, err := eventstore.Verify(context.Background(), s, "ns_3")
				if err != nil || !rep.OK() {
					b.Fatal(rep, err)
				}
				n += rep.Records
			}
		})
		b.ReportMetric(float64(n)/spent.wall.Seconds(), "events/s")
		b.ReportMetric(float64(n)/spent.cpu.Seconds(), "events/cpu_s")
	})
}

// BenchmarkBranch compares a plain log with a branch of 32 ancestors that has the
// same records: reading all, reading a stream of 10 events, appending.
func BenchmarkBranch(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "log.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	put := func(batches ...eventstore.Batch) {
		if _, err := s.Append(ctx, eventstore.Append{Batches: batches}); err != nil {
			b.Fatal(err)
		}
	}
	const depth, each = 32, 300
	pos := uint64(0)
	name := func(i int) eventstore.LogID { return eventstore.LogID(fmt.Sprint("gen", i)) }
	for i := range depth + 1 {
		if i > 0 {
			put(eventstore.Batch{Log: name(i), Fork: &eventstore.Fork{From: name(i - 1), UpTo: pos}})
		}
		for _, log := range []eventstore.LogID{name(i), "plain"} {
			var bs []eventstore.Batch
			for k := range each {
				bs = append(bs, eventstore.Batch{Log: log, Stream: fmt.Sprint("doc", (i*each+k)%1000), Meta: benchMeta,
					Events: []eventstore.Event{{Type: "document.written", Data: benchData(k)}}})
			}
			put(bs...)
		}
		pos += each
	}
	for _, log := range []eventstore.LogID{"plain", name(depth)} {
		kind := "plain"
		if log != "plain" {
			kind = "32ancestors"
		}
		b.Run("read/"+kind, func(b *testing.B) {
			n := 0
			for b.Loop() {
				for _, err := range s.Read(ctx, log, 0, 0) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run("stream/"+kind, func(b *testing.B) {
			i := 0
			for b.Loop() {
				n := 0
				for _, err := range s.ReadStream(ctx, log, fmt.Sprint("doc", i%1000), 0) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n < 9 {
					b.Fatal(n)
				}
				i++
			}
		})
		b.Run("append/"+kind, func(b *testing.B) {
			i := 0
			for b.Loop() {
				put(eventstore.Batch{Log: log, Stream: fmt.Sprint("fresh", b.N, i), Expect: eventstore.New(), Meta: benchMeta,
					Events: []eventstore.Event{{Type: "document.written", Data: benchData(i)}}})
				i++
			}
		})
	}
}
