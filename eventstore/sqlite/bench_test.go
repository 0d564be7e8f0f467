package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"varve/eventstore"
	"varve/eventstore/storetest"
)

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
	if err := storetest.Preload(s); err != nil {
		return "", errors.Join(err, s.Close())
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

// BenchmarkAppend prints events/s of the store and of the bare program, which
// writes the same rows and indexes through the same driver in the same batch
// sizes, without any checks. Read their ratio.
func BenchmarkAppend(b *testing.B) {
	for _, way := range []storetest.Way{{Writers: 1, Batch: 1, Wanted: 0.75}, {Writers: 64, Batch: 1, Wanted: 0.65}, {Writers: 1, Batch: 100, Wanted: 0.85}} {
		b.Run(way.String(), func(b *testing.B) {
			bare, err := openBare(benchFile(b, "bare.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer bare.c.close()
			storetest.CompareAppends(b, way, func(o eventstore.Options) eventstore.Owner {
				s, err := Open(benchFile(b, "log.db"), Options{Options: o})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { s.Close() })
				return s
			}, bare)
		})
	}
}

// bare writes rows as they come.
type bare struct {
	c       *conn
	feed    int64
	streams int64
	pos     [storetest.BenchLogs]int64
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
	b := &bare{c: c, feed: int64(h.Feed), streams: h.Streams, data: storetest.BenchData(1), meta: eventstore.AppendMetadata(nil, &storetest.BenchMeta)}
	for i := range b.pos {
		b.pos[i] = int64(h.Feed)
	}
	return b, nil
}

// Commit writes the next rows.
func (b *bare) Commit(size int) error {
	if _, err := b.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if _, err := b.c.exec("UPDATE heads SET token = token + 1, feed = ? WHERE shard = 0", b.feed+int64(size)); err != nil {
		return err
	}
	for k := range size {
		if (b.events+int64(k))%storetest.PerStream == 0 {
			st := b.streams + 1 + (b.events+int64(k))/storetest.PerStream
			if _, err := b.c.exec("INSERT INTO streams VALUES (?, ?, ?, 0)", st, 1+st%storetest.BenchLogs, fmt.Sprintf("document-doc_%d_1_%d", st%4, st)); err != nil {
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
				st := b.streams + 1 + b.events/storetest.PerStream
				log := st % storetest.BenchLogs
				b.feed++
				b.pos[log]++
				frame := make([]byte, eventstore.FrameMeta, eventstore.FrameMeta+len(b.meta))
				binary.BigEndian.PutUint64(frame, uint64(b.feed))
				args = append(args, b.feed, 1+log, b.pos[log], st, b.events%storetest.PerStream+1, "document.written", append(frame, b.meta...), b.data, nil)
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
			spent := storetest.Measure(func() {
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
			b.ReportMetric(float64(n)/spent.Wall.Seconds(), "events/s")
			b.ReportMetric(float64(n)/spent.CPU.Seconds(), "events/cpu_s")
		})
	}
	b.Run("verify", func(b *testing.B) {
		n := 0
		spent := storetest.Measure(func() {
			for b.Loop() {
				rep, err := eventstore.Verify(context.Background(), s, "ns_3")
				if err != nil || !rep.OK() {
					b.Fatal(rep, err)
				}
				n += rep.Records
			}
		})
		b.ReportMetric(float64(n)/spent.Wall.Seconds(), "events/s")
		b.ReportMetric(float64(n)/spent.CPU.Seconds(), "events/cpu_s")
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
				bs = append(bs, eventstore.Batch{Log: log, Stream: fmt.Sprint("doc", (i*each+k)%1000), Meta: storetest.BenchMeta,
					Events: []eventstore.Event{{Type: "document.written", Data: storetest.BenchData(k)}}})
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
				put(eventstore.Batch{Log: log, Stream: fmt.Sprint("fresh", b.N, i), Expect: eventstore.New(), Meta: storetest.BenchMeta,
					Events: []eventstore.Event{{Type: "document.written", Data: storetest.BenchData(i)}}})
				i++
			}
		})
	}
}
