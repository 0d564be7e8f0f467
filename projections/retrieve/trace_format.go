package retrieve

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The format of an encoded Trace: "VTR1", uvarint length of the raw section, the
// raw section, then a zstd frame of the body. The raw section has what does not
// get smaller by compression: per packed document id 12 bytes, in the order of the
// dictionary, then every score as the bits of a float32, little-endian, in the order
// of the columns. The body:
//
//	checksum   CRC-32 (IEEE) of the raw section, 4 bytes little-endian
//	texts      uvarint n, then n × (uvarint bytes, the bytes): names, reasons, details
//	documents  uvarint n, then n bytes, a form for each id: 1 is packed, "doc_" and 24
//	           small hex digits in the raw section; 0 is inline; then the inline ids,
//	           each uvarint bytes, the bytes
//	stages     uvarint n, then per stage
//	             uvarint name
//	             uvarint lists, per list: uvarint name, uvarint scored, score, ranking
//	             ranking                     (kept)
//	             ids, scores, n × uvarint reason, n × uvarint detail       (dropped)
//	ranking    ids, scores
//	ids        uvarint n, then n × zigzag varint: the document's number in the
//	           dictionary less that of the one before it in the column
//
// uvarint and varint are those of encoding/binary; names, reasons and details are
// numbers of texts; every text and every id stands once.
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
	texts     map[string]uint64
	textBytes []byte
	last      string // the text before, often the same
	lastText  uint64
	packed    packedTable
	inline    map[string]int64
	forms     []byte
	ids       []byte // packed
	inlines   []byte
	scores    []byte
	b         []byte
}

func (w *traceWriter) count(n int) { w.b = binary.AppendUvarint(w.b, uint64(n)) }

func (w *traceWriter) text(s string) {
	if s == w.last && len(w.texts) > 0 {
		w.b = binary.AppendUvarint(w.b, w.lastText)
		return
	}
	n, known := w.texts[s]
	if !known {
		n = uint64(len(w.texts))
		w.texts[s] = n
		w.textBytes = binary.AppendUvarint(w.textBytes, uint64(len(s)))
		w.textBytes = append(w.textBytes, s...)
	}
	w.last, w.lastText = s, n
	w.b = binary.AppendUvarint(w.b, n)
}

// id writes a document's number, as what is added to the one before.
func (w *traceWriter) id(id string, before int64) int64 {
	n := int64(len(w.forms))
	if p, ok := pack(id); ok {
		known, isNew := w.packed.number(p, n)
		if n = known; isNew {
			w.forms = append(w.forms, 1)
			w.ids = append(w.ids, p[:]...)
		}
	} else if known, ok := w.inline[id]; ok {
		n = known
	} else {
		w.inline[id] = n
		w.forms = append(w.forms, 0)
		w.inlines = binary.AppendUvarint(w.inlines, uint64(len(id)))
		w.inlines = append(w.inlines, id...)
	}
	w.b = binary.AppendVarint(w.b, n-before)
	return n
}

func (w *traceWriter) score(x float32) {
	w.scores = binary.LittleEndian.AppendUint32(w.scores, math.Float32bits(x))
}

func (w *traceWriter) ranking(list []Scored) {
	w.count(len(list))
	at := int64(0)
	for i := range list {
		at = w.id(list[i].ID, at)
		w.score(list[i].Score)
	}
}

// Encode gives the attachment's bytes; equal traces give equal bytes.
func (t *Trace) Encode() []byte {
	rows, most := 0, 0
	for i := range t.Stages {
		s := &t.Stages[i]
		found := len(s.Kept) + len(s.Dropped)
		rows += found
		most = max(most, found)
		for j := range s.Lists {
			rows += len(s.Lists[j].Hits)
		}
	}
	w := &traceWriter{
		texts: map[string]uint64{}, packed: newPackedTable(most), inline: map[string]int64{},
		forms: make([]byte, 0, most), ids: make([]byte, 0, 12*most), scores: make([]byte, 0, 4*rows+16), b: make([]byte, 0, 64+4*rows),
	}
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
		at := int64(0)
		for j := range s.Dropped {
			at = w.id(s.Dropped[j].ID, at)
			w.score(s.Dropped[j].Score)
		}
		for j := range s.Dropped {
			w.text(s.Dropped[j].Reason)
		}
		for j := range s.Dropped {
			w.text(s.Dropped[j].Detail)
		}
	}
	sum := crc32.Update(crc32.ChecksumIEEE(w.ids), crc32.IEEETable, w.scores)
	body := make([]byte, 0, 32+len(w.textBytes)+len(w.forms)+len(w.inlines)+len(w.b))
	body = binary.LittleEndian.AppendUint32(body, sum)
	body = binary.AppendUvarint(body, uint64(len(w.texts)))
	body = append(body, w.textBytes...)
	body = binary.AppendUvarint(body, uint64(len(w.forms)))
	body = append(body, w.forms...)
	body = append(body, w.inlines...)
	body = append(body, w.b...)
	raw := len(w.ids) + len(w.scores)
	out := append(make([]byte, 0, raw+len(body)/2+64), traceMagic...)
	out = binary.AppendUvarint(out, uint64(raw))
	out = append(append(out, w.ids...), w.scores...)
	return zstdEncoder().EncodeAll(body, out)
}

type traceReader struct {
	b      []byte // of the body
	raw    []byte // of the raw section
	texts  []string
	ids    []string
	broken string
}

func (r *traceReader) fail(what string) {
	if r.broken == "" {
		r.broken = what
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

func (r *traceReader) bytes(n int) string {
	if n > len(r.b) {
		r.fail("ends inside a text")
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *traceReader) text() string {
	n := r.number()
	if n >= uint64(len(r.texts)) {
		r.fail("names a text that it does not have")
		return ""
	}
	return r.texts[n]
}

func (r *traceReader) id(before int64) (string, int64) {
	add, used := binary.Varint(r.b)
	if used <= 0 {
		r.fail("ends inside a number")
		return "", 0
	}
	r.b = r.b[used:]
	n := before + add
	if n < 0 || n >= int64(len(r.ids)) {
		r.fail("names a document that it does not have")
		return "", 0
	}
	return r.ids[n], n
}

func (r *traceReader) score() float32 {
	if len(r.raw) < 4 {
		r.fail("has too few scores")
		return 0
	}
	x := math.Float32frombits(binary.LittleEndian.Uint32(r.raw))
	r.raw = r.raw[4:]
	return x
}

func (r *traceReader) ranking() []Scored {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]Scored, n)
	at := int64(0)
	for i := range list {
		if list[i].ID, at = r.id(at); r.broken != "" {
			return nil
		}
		list[i].Score = r.score()
	}
	return list
}

// DecodeTrace is the inverse of Encode. It refuses what is damaged or has bytes
// after its end, and takes no more memory than a fixed multiple of the body.
func DecodeTrace(b []byte) (*Trace, error) {
	rest, ours := strings.CutPrefix(string(b), traceMagic)
	n, used := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
	if !ours || used <= 0 || n > uint64(len(rest)-used) {
		return nil, fmt.Errorf("decode trace: not a trace of this format")
	}
	at := len(b) - len(rest) + used
	raw := b[at : at+int(n)]
	body, err := zstdDecoder().DecodeAll(b[at+int(n):], nil)
	if err != nil {
		return nil, fmt.Errorf("decode trace: %w", err)
	}
	r := &traceReader{b: body, raw: raw}
	t := r.trace()
	if r.broken == "" && len(r.b)+len(r.raw) > 0 {
		r.fail("has bytes after its end")
	}
	if r.broken != "" {
		return nil, fmt.Errorf("decode trace: the body %s", r.broken)
	}
	return t, nil
}

func (r *traceReader) trace() *Trace {
	if len(r.b) < 4 || binary.LittleEndian.Uint32(r.b) != crc32.ChecksumIEEE(r.raw) {
		r.fail("does not fit its raw section")
		return nil
	}
	r.b = r.b[4:]
	r.texts = make([]string, r.count(1))
	for i := range r.texts {
		r.texts[i] = r.bytes(r.count(1))
	}
	forms := r.bytes(r.count(1))
	r.ids = make([]string, len(forms))
	for i := range r.ids {
		switch {
		case forms[i] == 0:
			r.ids[i] = r.bytes(r.count(1))
		case forms[i] == 1 && len(r.raw) >= 12:
			r.ids[i] = packedPrefix + hex.EncodeToString(r.raw[:12])
			r.raw = r.raw[12:]
		default:
			r.fail("has an id that cannot be read")
			return nil
		}
	}
	t := &Trace{}
	for n := r.count(4); n > 0 && r.broken == ""; n-- {
		t.Stages = append(t.Stages, r.stage())
	}
	return t
}

func (r *traceReader) stage() StageTrace {
	s := StageTrace{Name: r.text()}
	for n := r.count(3); n > 0 && r.broken == ""; n-- {
		l := TraceList{Name: r.text(), Scored: int(min(r.number(), math.MaxInt32)), Cutoff: r.score()}
		l.Hits = r.ranking()
		s.Lists = append(s.Lists, l)
	}
	s.Kept = r.ranking()
	n := r.count(3)
	if n == 0 || r.broken != "" {
		return s
	}
	s.Dropped = make([]Dropped, n)
	at := int64(0)
	for i := range s.Dropped {
		s.Dropped[i].ID, at = r.id(at)
		s.Dropped[i].Score = r.score()
	}
	for i := range s.Dropped {
		s.Dropped[i].Reason = r.text()
	}
	for i := range s.Dropped {
		s.Dropped[i].Detail = r.text()
	}
	return s
}
