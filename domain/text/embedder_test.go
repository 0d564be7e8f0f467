package text

import (
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// The vectors were made by the model's own tools, not by this code.
func TestEmbedderReproducesTheVectors(t *testing.T) {
	var file struct {
		Vectors []struct {
			Text        string    `json:"text"`
			Tokens      []string  `json:"tokens"`
			TokenCount  int       `json:"token_count"`
			FirstSums   []int64   `json:"first_sums"`
			FirstValues []float64 `json:"first_values"`
		} `json:"vectors"`
		Cosines []struct {
			A, B   int
			Cosine float64
		} `json:"cosines"`
	}
	data, err := os.ReadFile("testdata/test_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 20 || len(file.Cosines) != 10 {
		t.Fatalf("%d vectors and %d cosines, want 20 and 10", len(file.Vectors), len(file.Cosines))
	}
	names := strings.Split(embedderVocab, "\n")
	embed := func(s string) []float32 {
		v, ok := Embed(s)
		if !ok {
			return make([]float32, Dimensions)
		}
		return v
	}
	for _, want := range file.Vectors {
		var tokens []string
		BuiltIn().wordPieces(want.Text, func(row int) { tokens = append(tokens, names[row]) })
		if len(tokens) != want.TokenCount || !slices.Equal(tokens[:min(40, len(tokens))], want.Tokens) {
			t.Errorf("%.60q: tokens %q (%d), want %q (%d)", want.Text, tokens, len(tokens), want.Tokens, want.TokenCount)
		}
		sums, n := BuiltIn().Sums(want.Text)
		if n != want.TokenCount || !slices.Equal(sums[:8], want.FirstSums) {
			t.Errorf("%.60q: sums %v, want %v", want.Text, sums[:8], want.FirstSums)
		}
		for k, x := range embed(want.Text)[:8] {
			if math.Abs(float64(x)-want.FirstValues[k]) > 1e-6 {
				t.Errorf("%.60q: value %d is %v, want %v", want.Text, k, x, want.FirstValues[k])
			}
		}
	}
	for _, want := range file.Cosines {
		got := dot(embed(file.Vectors[want.A].Text), embed(file.Vectors[want.B].Text))
		if math.Abs(got-want.Cosine) > 1e-6 {
			t.Errorf("cosine of %d and %d is %v, want %v", want.A, want.B, got, want.Cosine)
		}
	}
}

func dot(a, b []float32) float64 {
	s := 0.0
	for i := range a {
		s += float64(float64(a[i]) * float64(b[i]))
	}
	return s
}

// The vectors state eight values of each text; this pins all bits of some.
func TestEmbedPinsItsBits(t *testing.T) {
	for s, want := range map[string]uint32{
		"Hello, world!": 0xc3c7c0ef,
		"varve: a layer of silt, laid down in one year": 0xd12770c9,
	} {
		v, _ := Embed(s)
		h := crc32.NewIEEE()
		for _, x := range v {
			b := math.Float32bits(x)
			h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
		}
		if h.Sum32() != want {
			t.Errorf("%q: checksum of the vector is %#x, want %#x", s, h.Sum32(), want)
		}
	}
}

func TestNoTokenMeansNoVector(t *testing.T) {
	for _, s := range []string{"", " \t\n", "\u200b\ufffd", strings.Repeat("a", 101), "\xff\xfe"} {
		if v, ok := Embed(s); ok || v != nil {
			t.Errorf("%q has a vector", s)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Straße", "straße"},
		{"Ünïcödé", "unicode"},
		{"ΟΔΥΣΣΕΥΣ", "οδυσσευσ"}, // no final sigma
		{"İstanbul", "istanbul"},
		{"a\u0085b\u00a0c\u2028d", "ab c d"},
		{"漢a字", " 漢 a 字 "},
		{"가", "\u1100\u1161"},    // Hangul is decomposed and not spaced out
		{"x\u0378y", "x\u0378y"}, // unassigned: stays
		{"a\xffb", "ab"},
		{"A\x00\x7fB\tC", "ab c"},
	} {
		if got := fold(c.in); got != c.want {
			t.Errorf("fold(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestNewEmbedderRefusesDamage(t *testing.T) {
	change := func(offset int) []byte {
		b := slices.Clone(embedderBin)
		b[offset] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		bin   []byte
		vocab string
	}{
		"empty":           {nil, ""},
		"magic":           {change(0), embedderVocab},
		"version":         {change(4), embedderVocab},
		"size":            {change(8), embedderVocab},
		"dimensions":      {change(12), embedderVocab},
		"flags":           {change(20), embedderVocab},
		"a weight":        {change(40), embedderVocab},
		"the last row":    {change(len(embedderBin) - 1), embedderVocab},
		"cut":             {embedderBin[:len(embedderBin)-1], embedderVocab},
		"a missing entry": {embedderBin, embedderVocab[1+strings.IndexByte(embedderVocab, '\n'):]},
	} {
		if _, err := NewEmbedder(c.bin, c.vocab); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Another Unicode version splits, folds and decomposes some characters otherwise:
// results of recorded versions would change. Before changing the number here, compare
// the tables (categories C*, M*, P*, Z*, case mapping, NFD) and raise the versions in
// doc.go if any assigned character differs.
func TestUnicodeTablesAreTheRecordedOnes(t *testing.T) {
	if unicode.Version != "15.0.0" || norm.Version != "15.0.0" {
		t.Errorf("Unicode tables %s and %s, versions were recorded with 15.0.0", unicode.Version, norm.Version)
	}
}

func FuzzWordPieces(f *testing.F) {
	for _, s := range []string{"Hello, world!", "naïve café", "漢字かな", "a\xff\x00b", strings.Repeat("x", 101), "don't $5.00"} {
		f.Add(s)
	}
	e := BuiltIn()
	size := len(e.weights) / 2
	f.Fuzz(func(t *testing.T, s string) {
		var first, second []int
		e.wordPieces(s, func(row int) { first = append(first, row) })
		e.wordPieces(s, func(row int) { second = append(second, row) })
		if !slices.Equal(first, second) {
			t.Fatalf("%q: %v, then %v", s, first, second)
		}
		for _, row := range first {
			if row < 0 || row >= size {
				t.Fatalf("%q: row %d of %d", s, row, size)
			}
		}
		// Sums of parts that were cut at white space add up.
		a, n := e.Sums(s)
		b, m := e.Sums(s + " " + s)
		if m != 2*n {
			t.Fatalf("%q: %d tokens, twice the text %d", s, n, m)
		}
		for k := range a {
			if b[k] != 2*a[k] {
				t.Fatalf("%q: sum %d is %d, of twice the text %d", s, k, a[k], b[k])
			}
		}
	})
}

func BenchmarkEmbedQuery(b *testing.B) {
	BuiltIn()
	for b.Loop() {
		Embed("what similarity laws must be obeyed when constructing aeroelastic models")
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := NewEmbedder(embedderBin, embedderVocab); err != nil {
			b.Fatal(err)
		}
	}
}
