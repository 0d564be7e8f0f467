//go:build unix

package embedded

import (
	"context"
	"testing"

	"varve/projections/vector/vectortest"
)

// BenchmarkOpen is from nothing to the first answer over 100,000 documents of 256
// dimensions with texts.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	x := open(b, dir, Options{})
	fill(b, x, 100_000, 256, true)
	if err := x.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
	processor(b, func() {
		x, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		v, err := x.View(context.Background(), benchLog, x.Position(benchLog))
		if err != nil {
			b.Fatal(err)
		}
		set, err := v.Allow(context.Background(), nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		query := make([]float32, 256)
		query[7] = 1
		if _, err := v.Dense(context.Background(), set, vectortest.Dense, query, 10); err != nil {
			b.Fatal(err)
		}
		v.Close()
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	})
}
