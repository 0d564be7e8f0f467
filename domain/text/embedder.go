package text

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"sync"
)

// Dimensions is the length of the vectors that Embed gives.
const Dimensions = 256

//go:embed data/embedder.bin
var embedderBin []byte

//go:embed data/vocab.txt
var embedderVocab string

// builtIn reads the embedder that is carried in the program, at first use.
var builtIn = sync.OnceValues(func() (*Embedder, error) { return NewEmbedder(embedderBin, embedderVocab) })

// Embedder gives a sentence vector as the weighted sum of the token vectors of a
// text, at unit length. The sum is exact in integers, so the same text gives the
// same bits on every machine. Safe for concurrent use.
type Embedder struct{ model }

// model is the file format of version 1: "VEMB", version, vocabulary size V,
// dimensions D, longest word, flags, unit, CRC-32 of the rest; then V uint16 weights
// and V rows of D int8, all little-endian.
type model struct {
	weights   []byte // V × uint16
	rows      []byte // V × Dimensions × int8
	first     map[string]int32
	continued map[string]int32 // entries written with "##", without it
	longest   int              // bytes of the longest entry
}

const (
	modelMagic      = "VEMB"
	modelVersion    = 1
	modelHeaderSize = 32
)

// NewEmbedder reads a model (format version 1, 256 dimensions) and its vocabulary,
// one entry a line. The bytes of bin are used in place and must not be changed.
func NewEmbedder(bin []byte, vocab string) (*Embedder, error) {
	if len(bin) < modelHeaderSize || string(bin[:4]) != modelMagic {
		return nil, fmt.Errorf("read embedder: not a %s file", modelMagic)
	}
	header := func(offset int) uint32 { return binary.LittleEndian.Uint32(bin[offset:]) }
	if v := header(4); v != modelVersion {
		return nil, fmt.Errorf("read embedder: format version %d, want %d", v, modelVersion)
	}
	size, dims := int(header(8)), int(header(12))
	if dims != Dimensions || header(16) != maxWordRunes || header(20) != 0 {
		return nil, fmt.Errorf("read embedder: %d dimensions, words of %d characters, flags %#x; want %d, %d, 0", dims, header(16), header(20), Dimensions, maxWordRunes)
	}
	if want := modelHeaderSize + 2*size + size*dims; len(bin) != want {
		return nil, fmt.Errorf("read embedder: %d bytes, want %d", len(bin), want)
	}
	if crc32.ChecksumIEEE(bin[modelHeaderSize:]) != header(28) {
		return nil, fmt.Errorf("read embedder: checksum differs")
	}
	lines := strings.Split(strings.TrimSuffix(vocab, "\n"), "\n")
	if len(lines) != size {
		return nil, fmt.Errorf("read embedder: vocabulary has %d entries, want %d", len(lines), size)
	}
	m := model{
		weights:   bin[modelHeaderSize : modelHeaderSize+2*size],
		rows:      bin[modelHeaderSize+2*size:],
		first:     make(map[string]int32, size),
		continued: make(map[string]int32, size/4),
	}
	for row, entry := range lines {
		m.longest = max(m.longest, len(entry))
		m.first[entry] = int32(row)
		if rest, ok := strings.CutPrefix(entry, "##"); ok && rest != "" {
			m.continued[rest] = int32(row)
		}
	}
	return &Embedder{m}, nil
}

// Sums adds up the token vectors of s, exactly, and says of how many tokens. Sums
// of parts of a text may be added.
func (e *Embedder) Sums(s string) (sums [Dimensions]int64, tokens int) {
	e.wordPieces(s, func(row int) {
		tokens++
		w := int64(binary.LittleEndian.Uint16(e.weights[2*row:]))
		for k, q := range e.rows[row*Dimensions : (row+1)*Dimensions] {
			sums[k] += w * int64(int8(q))
		}
	})
	return sums, tokens
}

// Embed gives the unit vector of s with Dimensions components, or false where s has
// no token in the vocabulary: then there is no vector.
func (e *Embedder) Embed(s string) ([]float32, bool) {
	sums, _ := e.Sums(s)
	return unit(&sums)
}

// unit brings integer sums to length one. Each square is rounded before it is
// added, so that no processor fuses multiplication and addition.
func unit(sums *[Dimensions]int64) ([]float32, bool) {
	s := 0.0
	for _, a := range sums {
		x := float64(a)
		s += float64(x * x)
	}
	if s == 0 {
		return nil, false
	}
	root := math.Sqrt(s)
	v := make([]float32, Dimensions)
	for k, a := range sums {
		v[k] = float32(float64(a) / root)
	}
	return v, true
}

// Embed gives the built-in embedder's vector (EmbedderVersion) of s, or false where
// there is none. The model is read at the first call (some milliseconds).
func Embed(s string) ([]float32, bool) { return BuiltIn().Embed(s) }

// BuiltIn gives the embedder that is carried in the program. It panics if the
// program's own data is damaged, which a test excludes.
func BuiltIn() *Embedder {
	e, err := builtIn()
	if err != nil {
		panic(err)
	}
	return e
}
