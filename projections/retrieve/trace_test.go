package retrieve

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func drawRanking(t *rapid.T) []Scored {
	list := make([]Scored, rapid.IntRange(0, 8).Draw(t, "n"))
	for i := range list {
		id := rapid.OneOf(rapid.StringN(0, 12, 40), rapid.StringMatching(`doc_[0-9a-f]{24}`), rapid.StringMatching(`doc_[0-9a-fA-G]{24}`)).Draw(t, "id")
		list[i] = Scored{id, rapid.Float32().Draw(t, "score")}
	}
	return list
}

func TestTraceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trace := &Trace{}
		for range rapid.IntRange(0, 4).Draw(t, "stages") {
			s := StageTrace{Name: rapid.String().Draw(t, "name"), Kept: drawRanking(t)}
			for range rapid.IntRange(0, 3).Draw(t, "lists") {
				s.Lists = append(s.Lists, TraceList{rapid.String().Draw(t, "uri"), rapid.IntRange(0, 1<<30).Draw(t, "scored"), rapid.Float32().Draw(t, "cutoff"), drawRanking(t)})
			}
			for _, d := range drawRanking(t) {
				s.Dropped = append(s.Dropped, Dropped{d.ID, d.Score, rapid.SampledFrom([]string{ReasonFiltered, ReasonLimit}).Draw(t, "reason"), rapid.String().Draw(t, "detail")})
			}
			trace.Stages = append(trace.Stages, s)
		}
		raw := trace.Encode()
		back, err := DecodeTrace(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(trace, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if !bytes.Equal(raw, back.Encode()) {
			t.Fatal("encoded again it has other bytes")
		}
	})
}

func FuzzDecodeTrace(f *testing.F) {
	f.Add([]byte(nil))
	f.Add((&Trace{}).Encode())
	f.Add(bigTrace(2).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		// As it comes, and as the body of a whole frame, or nothing would be tried
		// behind the checksum.
		section := b[len(b)/2:]
		body := append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(section)), b[:len(b)/2]...)
		framed := binary.AppendUvarint([]byte(traceMagic), uint64(len(section)))
		framed = zstdEncoder().EncodeAll(body, append(framed, section...))
		for _, raw := range [][]byte{b, framed} {
			trace, err := DecodeTrace(raw)
			if err != nil {
				continue
			}
			again, err := DecodeTrace(trace.Encode())
			if err != nil {
				t.Fatalf("encoded again it cannot be read: %v", err)
			}
			if !bytes.Equal(again.Encode(), trace.Encode()) {
				t.Fatal("it changes by being written")
			}
		}
	})
}

func TestDamagedTraces(t *testing.T) {
	raw := bigTrace(50).Encode()
	for cut := range raw {
		if _, err := DecodeTrace(raw[:cut]); err == nil {
			t.Fatalf("the first %d of %d bytes were read", cut, len(raw))
		}
	}
	for i := range raw {
		damaged := bytes.Clone(raw)
		damaged[i] ^= 0x20
		if got, err := DecodeTrace(damaged); err == nil && !cmp.Equal(got, bigTrace(50), cmpopts.EquateEmpty()) {
			t.Fatalf("a changed byte %d was read as another trace", i)
		}
	}
	if _, err := DecodeTrace(append(bytes.Clone(raw), 0)); err == nil {
		t.Fatal("a byte after the end was read")
	}
}

// bigTrace is of a filter that dropped n documents, each for a value of its own.
func bigTrace(n int) *Trace {
	s := StageTrace{Name: "filter"}
	for i := range n {
		id := fmt.Sprintf("doc_%024x", uint64(i)*0x9E3779B97F4A7C15)
		s.Dropped = append(s.Dropped, Dropped{id, float32(i) / 7, ReasonFiltered, fmt.Sprintf("metadata.year gte 2000: found %d", 1900+i%100)})
	}
	return &Trace{Stages: []StageTrace{s}}
}

// A record of 10,000 dropped documents opens within 300 ms; here it has a third.
func TestBigTraceOpensFast(t *testing.T) {
	raw := bigTrace(10_000).Encode()
	best := time.Hour
	for range 5 {
		began := time.Now()
		trace, err := DecodeTrace(raw)
		if err != nil || len(trace.Stages[0].Dropped) != 10_000 {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	t.Logf("%d bytes, opened in %v", len(raw), best)
	if best > 100*time.Millisecond {
		t.Errorf("took %v", best)
	}
}

func BenchmarkDecodeTrace10000(b *testing.B) {
	raw := bigTrace(10_000).Encode()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := DecodeTrace(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPackedTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, want := newPackedTable(rapid.IntRange(0, 20).Draw(t, "room")), map[packedID]int64{}
		for range rapid.IntRange(0, 60).Draw(t, "ids") {
			id, ok := pack(fmt.Sprintf("doc_%024x", rapid.IntRange(0, 40).Draw(t, "id")<<rapid.IntRange(0, 40).Draw(t, "shift")))
			if !ok {
				t.Fatal("not packed")
			}
			n, isNew := table.number(id, int64(len(want)))
			known, had := want[id]
			if had == isNew || had && known != n {
				t.Fatalf("%x is %d, new %v; it was %d, known %v", id, n, isNew, known, had)
			}
			want[id] = n
		}
	})
}
