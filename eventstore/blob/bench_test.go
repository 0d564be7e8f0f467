package blob

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
)

// BenchmarkStore puts and reads blobs of 128 KiB, in a directory and, where one is
// named, in a bucket: one after another, and 16 at once.
func BenchmarkStore(b *testing.B) {
	locations := map[string]string{"directory": b.TempDir()}
	if where := os.Getenv(s3Variable); where != "" {
		locations["s3"] = where
	}
	var n atomic.Uint64
	for name, location := range locations {
		s := open(b, location, Options{})
		once := func(tb testing.TB) string {
			text := bytes.Repeat([]byte("x"), 128<<10)
			binary.LittleEndian.PutUint64(text, n.Add(1))
			ref, err := s.Put(ctx, "bench", bytes.NewReader(text))
			if err != nil {
				tb.Error(err)
			}
			return ref.Digest
		}
		b.Run(name+"/put", func(b *testing.B) {
			for b.Loop() {
				once(b)
			}
		})
		b.Run(name+"/put-16", func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					once(b)
				}
			})
		})
		digest := once(b)
		b.Run(name+"/read", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Read(ctx, "bench", digest); err != nil {
					b.Fatal(err)
				}
			}
		})
		if err := s.Each(ctx, func(scope string, ref Ref) error {
			if scope != "bench" {
				return nil
			}
			return s.Delete(ctx, scope, ref.Digest)
		}); err != nil {
			b.Error(err)
		}
	}
}
