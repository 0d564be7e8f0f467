package domain

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"sort"
)

// A Feature is what an extractor computed of a document: a dense vector or
// sparse term counts, never both. It travels as an attachment of document.written.
type Feature struct {
	URI    string      // mixpeek://{extractor}@{version}/{output}
	Dense  []float32   // unit length is not required; nil for sparse features
	Terms  []TermCount // sorted by Term, each term once
	Length uint32      // sparse: number of tokens of the text, repeats and terms without count included
}

// TermCount is how often one term occurs in a text.
type TermCount struct {
	Term  string
	Count uint32
}

// FeatureRef names a feature in event data; the bytes are in the attachment of the same name.
type FeatureRef struct {
	URI    string `json:"uri"`
	Kind   string `json:"kind"` // "dense" or "sparse"
	Dims   int    `json:"dims,omitempty"`
	Digest string `json:"digest"` // "sha256:…" of the attachment's bytes
}

const (
	featureDense  = 1
	featureSparse = 2
)

// Encode gives the attachment's bytes. Format: one byte kind; dense (1): uint32
// count, then float32s; sparse (2): uint32 length, uint32 count, then per term
// uint32 count, uint16 bytes of the term, the term. All little-endian.
func (f Feature) Encode() []byte {
	if f.Dense != nil {
		b := make([]byte, 5, 5+4*len(f.Dense))
		b[0] = featureDense
		binary.LittleEndian.PutUint32(b[1:], uint32(len(f.Dense)))
		for _, x := range f.Dense {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	b := make([]byte, 9, 9+12*len(f.Terms))
	b[0] = featureSparse
	binary.LittleEndian.PutUint32(b[1:], f.Length)
	binary.LittleEndian.PutUint32(b[5:], uint32(len(f.Terms)))
	for _, t := range f.Terms {
		b = binary.LittleEndian.AppendUint32(b, t.Count)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(t.Term)))
		b = append(b, t.Term...)
	}
	return b
}

// DecodeFeature is the inverse of Encode. It refuses trailing bytes, terms out
// of order, and numbers that are not finite.
func DecodeFeature(uri string, b []byte) (Feature, error) {
	f := Feature{URI: uri}
	bad := func(what string) (Feature, error) {
		return Feature{}, fmt.Errorf("decode feature %s: %s", uri, what)
	}
	if len(b) < 5 {
		return bad("shorter than its header")
	}
	switch b[0] {
	case featureDense:
		n := int(binary.LittleEndian.Uint32(b[1:]))
		if len(b) != 5+4*n {
			return bad("length does not fit the number of dimensions")
		}
		f.Dense = make([]float32, n)
		for i := range f.Dense {
			x := math.Float32frombits(binary.LittleEndian.Uint32(b[5+4*i:]))
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return bad("a component is not a finite number")
			}
			f.Dense[i] = x
		}
	case featureSparse:
		if len(b) < 9 {
			return bad("shorter than its header")
		}
		f.Length = binary.LittleEndian.Uint32(b[1:])
		n := int(binary.LittleEndian.Uint32(b[5:]))
		if n > (len(b)-9)/6 {
			return bad("fewer terms than the header says")
		}
		f.Terms = make([]TermCount, n)
		b = b[9:]
		for i := range f.Terms {
			if len(b) < 6 {
				return bad("ends inside a term")
			}
			c, l := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint16(b[4:]))
			if len(b) < 6+l {
				return bad("ends inside a term")
			}
			f.Terms[i] = TermCount{Term: string(b[6 : 6+l]), Count: c}
			if i > 0 && f.Terms[i-1].Term >= f.Terms[i].Term {
				return bad("terms are not in order")
			}
			b = b[6+l:]
		}
		if len(b) != 0 {
			return bad("bytes after the last term")
		}
	default:
		return bad("unknown kind")
	}
	return f, nil
}

// SortTerms brings counts into the order that Encode wants.
func SortTerms(counts map[string]uint32) []TermCount {
	terms := make([]TermCount, 0, len(counts))
	for t, c := range counts {
		terms = append(terms, TermCount{t, c})
	}
	sort.Slice(terms, func(i, j int) bool { return terms[i].Term < terms[j].Term })
	return terms
}

// FeatureURI is a parsed feature URI.
type FeatureURI struct {
	Extractor string
	Version   string
	Output    string // empty: the extractor's primary output
}

var featureURI = regexp.MustCompile(`^mixpeek://([A-Za-z0-9_.-]+)@([A-Za-z0-9_.-]+)(?:/([A-Za-z0-9_./-]+))?$`)

// ParseFeatureURI reads mixpeek://{extractor}@{version}/{output}.
func ParseFeatureURI(path, s string) (FeatureURI, error) {
	m := featureURI.FindStringSubmatch(s)
	if m == nil {
		return FeatureURI{}, Invalid(path, "feature_uri", "%q is not a feature URI; write mixpeek://EXTRACTOR@VERSION/OUTPUT, for example mixpeek://text_extractor@v1/embedding", s)
	}
	return FeatureURI{m[1], m[2], m[3]}, nil
}

// String writes the URI.
func (u FeatureURI) String() string {
	s := "mixpeek://" + u.Extractor + "@" + u.Version
	if u.Output != "" {
		s += "/" + u.Output
	}
	return s
}
