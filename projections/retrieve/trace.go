package retrieve

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Trace is the body of an execution record: per stage which documents it handed
// on and which it dropped, and why. What an index never handed over is counted in
// the header (StageRecord.Unseen), with the score below which it lies.
type Trace struct {
	Stages []StageTrace `json:"stages"`
}

// StageTrace is one stage's part.
type StageTrace struct {
	Name    string      `json:"name"`
	Lists   []TraceList `json:"lists,omitempty"` // of a search, in the order of its searches
	Kept    []Scored    `json:"kept"`            // in rank order
	Dropped []Dropped   `json:"dropped,omitempty"`
}

// TraceList is what an index handed over for one search.
type TraceList struct {
	Name   string   `json:"name"`             // feature URI
	Scored int      `json:"scored"`           // documents that had a score
	Cutoff float32  `json:"cutoff,omitempty"` // score of the last, where more had one
	Hits   []Scored `json:"hits"`             // in rank order
}

// Scored is a document with its score; its rank is its place, from 1.
type Scored struct {
	ID    string  `json:"id"`
	Score float32 `json:"score"`
}

// Dropped is a document that a stage did not hand on.
type Dropped struct {
	ID     string  `json:"id"`
	Score  float32 `json:"score"`
	Reason string  `json:"reason"` // one of the Reason constants
	Detail string  `json:"detail,omitempty"`
}

// The format: the bytes "VTR1", then a zstd frame of the body. The body is columns:
//
//	texts   uvarint n, then n texts: uvarint bytes, the bytes. Each text stands once
//	        (document ids, names, reasons, details); columns name it by its number.
//	stages  uvarint n, then per stage
//	          uvarint name
//	          uvarint lists, per list: uvarint name, uvarint scored, float32 cutoff, ranking
//	          ranking                     (kept)
//	          uvarint n, n × uvarint id, n × float32 score, n × uvarint reason, n × uvarint detail
//	ranking uvarint n, n × uvarint id, n × float32 score
//
// uvarints are those of encoding/binary; a float32 is its bits, little-endian.
const traceMagic = "VTR1"

// maxTraceBytes bounds a decoded body.
const maxTraceBytes = 64 << 20

var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(128<<10), zstd.WithEncoderCRC(true))
	if err != nil {
		panic("make the trace encoder: " + err.Error())
	}
	return e
})

var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(maxTraceBytes))
	if err != nil {
		panic("make the trace decoder: " + err.Error())
	}
	return d
})

type traceWriter struct {
	numbers map[string]uint64
	texts   []string
	bytes   int
	b       []byte
}

func (w *traceWriter) count(n int) { w.b = binary.AppendUvarint(w.b, uint64(n)) }

func (w *traceWriter) text(s string) {
	n, known := w.numbers[s]
	if !known {
		n = uint64(len(w.texts))
		w.numbers[s] = n
		w.texts = append(w.texts, s)
		w.bytes += len(s) + 2
	}
	w.b = binary.AppendUvarint(w.b, n)
}

func (w *traceWriter) score(x float32) {
	w.b = binary.LittleEndian.AppendUint32(w.b, math.Float32bits(x))
}

func (w *traceWriter) ranking(list []Scored) {
	w.count(len(list))
	for i := range list {
		w.text(list[i].ID)
	}
	for i := range list {
		w.score(list[i].Score)
	}
}

// Encode gives the attachment's bytes; equal traces give equal bytes.
func (t *Trace) Encode() []byte {
	rows := 0
	for i := range t.Stages {
		s := &t.Stages[i]
		rows += len(s.Kept) + len(s.Dropped)
		for j := range s.Lists {
			rows += len(s.Lists[j].Hits)
		}
	}
	w := &traceWriter{numbers: make(map[string]uint64, rows/2+16), b: make([]byte, 0, 64+7*rows)}
	w.count(len(t.Stages))
	for i := range t.Stages {
		s := &t.Stages[i]
		w.text(s.Name)
		w.count(len(s.Lists))
		for j := range s.Lists {
			l := &s.Lists[j]
			w.text(l.Name)
			w.count(l.Scored)
			w.score(l.Cutoff)
			w.ranking(l.Hits)
		}
		w.ranking(s.Kept)
		w.count(len(s.Dropped))
		for j := range s.Dropped {
			w.text(s.Dropped[j].ID)
		}
		for j := range s.Dropped {
			w.score(s.Dropped[j].Score)
		}
		for j := range s.Dropped {
			w.text(s.Dropped[j].Reason)
		}
		for j := range s.Dropped {
			w.text(s.Dropped[j].Detail)
		}
	}
	body := make([]byte, 0, w.bytes+len(w.b)+10)
	body = binary.AppendUvarint(body, uint64(len(w.texts)))
	for _, s := range w.texts {
		body = binary.AppendUvarint(body, uint64(len(s)))
		body = append(body, s...)
	}
	body = append(body, w.b...)
	return zstdEncoder().EncodeAll(body, append(make([]byte, 0, len(body)/2+64), traceMagic...))
}

type traceReader struct {
	b     []byte
	texts []string
	bad   string
}

func (r *traceReader) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
	r.b = nil
}

func (r *traceReader) number() uint64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 {
		r.fail("ends inside a number")
		return 0
	}
	r.b = r.b[used:]
	return n
}

// count reads how many things follow, each of which takes at least so many bytes.
func (r *traceReader) count(bytes int) int {
	n := r.number()
	if n > uint64(len(r.b)/bytes) {
		r.fail("says more than it holds")
		return 0
	}
	return int(n)
}

func (r *traceReader) text() string {
	n := r.number()
	if n >= uint64(len(r.texts)) {
		r.fail("names a text that it does not have")
		return ""
	}
	return r.texts[n]
}

func (r *traceReader) score() float32 {
	if len(r.b) < 4 {
		r.fail("ends inside a score")
		return 0
	}
	x := math.Float32frombits(binary.LittleEndian.Uint32(r.b))
	r.b = r.b[4:]
	return x
}

func (r *traceReader) ranking() []Scored {
	n := r.count(5)
	if n == 0 {
		return nil
	}
	list := make([]Scored, n)
	for i := range list {
		list[i].ID = r.text()
	}
	for i := range list {
		list[i].Score = r.score()
	}
	return list
}

// DecodeTrace is the inverse of Encode. It refuses what is damaged or has bytes
// after its end, and takes no more memory than a fixed multiple of the body.
func DecodeTrace(b []byte) (*Trace, error) {
	if len(b) < len(traceMagic) || string(b[:len(traceMagic)]) != traceMagic {
		return nil, fmt.Errorf("decode trace: not a trace of this format")
	}
	body, err := zstdDecoder().DecodeAll(b[len(traceMagic):], nil)
	if err != nil {
		return nil, fmt.Errorf("decode trace: %w", err)
	}
	r := &traceReader{b: body}
	whole := string(body) // texts share it
	r.texts = make([]string, r.count(1))
	for i := range r.texts {
		n := r.count(1)
		at := len(whole) - len(r.b)
		r.texts[i] = whole[at : at+n]
		if r.bad != "" {
			break
		}
		r.b = r.b[n:]
	}
	t := &Trace{}
	for n := r.count(4); n > 0 && r.bad == ""; n-- {
		t.Stages = append(t.Stages, r.stage())
	}
	if r.bad == "" && len(r.b) > 0 {
		r.fail("has bytes after its end")
	}
	if r.bad != "" {
		return nil, fmt.Errorf("decode trace: the body %s", r.bad)
	}
	return t, nil
}

func (r *traceReader) stage() StageTrace {
	s := StageTrace{Name: r.text()}
	for n := r.count(7); n > 0 && r.bad == ""; n-- {
		l := TraceList{Name: r.text(), Scored: int(min(r.number(), math.MaxInt32)), Cutoff: r.score()}
		l.Hits = r.ranking()
		s.Lists = append(s.Lists, l)
	}
	s.Kept = r.ranking()
	if n := r.count(7); n > 0 {
		s.Dropped = make([]Dropped, n)
		for i := range s.Dropped {
			s.Dropped[i].ID = r.text()
		}
		for i := range s.Dropped {
			s.Dropped[i].Score = r.score()
		}
		for i := range s.Dropped {
			s.Dropped[i].Reason = r.text()
		}
		for i := range s.Dropped {
			s.Dropped[i].Detail = r.text()
		}
	}
	return s
}
