package eventstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// inlineLimit is how many bytes of attachments an append may have before they
// are packed into a blob instead of lying in the records.
const inlineLimit = 64 << 10

// Blobs keeps packed attachments outside the store: the blob store. A blob is
// put before the append that refers to it, so an append that fails leaves one
// that nothing refers to.
type Blobs interface {
	// Put keeps bytes durably and gives the reference by which Get finds them.
	Put(ctx context.Context, b []byte) (ref string, err error)
	Get(ctx context.Context, ref string) ([]byte, error)
}

// BlobDeleter is a Blobs that can delete; otherwise erased attachments stay
// in a blob that nothing refers to until its collector finds it.
type BlobDeleter interface {
	Delete(ctx context.Context, ref string) error
}

// Where attachments lie: first byte of Row.Packed.
const (
	inRow    = 1 // uvarint count, then names and bytes
	inEngine = 2 // a Blob written by the Commit
	inBlobs  = 3 // in Options.Blobs
)

// packed is Row.Packed when the bytes lie in a blob. Each blob begins with 16
// random bytes, so no two are alike and one can be deleted without harm to others.
type packed struct {
	where        byte
	ref          string
	index, count int // this record among those of its append: where the others are that share the blob
	parts        []part
}

type part struct {
	name        string
	sum         Hash
	offset, len int
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func packInline(as []Attachment) []byte {
	if len(as) == 0 {
		return nil
	}
	n := 8
	for i := range as {
		n += len(as[i].Name) + len(as[i].Bytes) + 8
	}
	b := binary.AppendUvarint(append(make([]byte, 0, n), inRow), uint64(len(as)))
	for i := range as {
		b = appendString(b, as[i].Name)
		b = appendString(b, as[i].Bytes)
	}
	return b
}

func (p *packed) encode() []byte {
	b := appendString([]byte{p.where}, p.ref)
	b = binary.AppendUvarint(b, uint64(p.index))
	b = binary.AppendUvarint(b, uint64(p.count))
	b = binary.AppendUvarint(b, uint64(len(p.parts)))
	for _, q := range p.parts {
		b = appendString(b, q.name)
		b = append(b, q.sum[:]...)
		b = binary.AppendUvarint(b, uint64(q.offset))
		b = binary.AppendUvarint(b, uint64(q.len))
	}
	return b
}

// packBlob lays the attachments of all events of an append into one blob and
// gives each event's parts.
func packBlob(salt []byte, events []*Event) (blob []byte, parts [][]part) {
	blob = append(blob, salt...)
	parts = make([][]part, len(events))
	for i, e := range events {
		for j := range e.Attachments {
			a := &e.Attachments[j]
			parts[i] = append(parts[i], part{a.Name, sha256.Sum256(a.Bytes), len(blob), len(a.Bytes)})
			blob = append(blob, a.Bytes...)
		}
	}
	return blob, parts
}

// reader takes numbers and strings off bytes; damage sets bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() int {
	n, used := binary.Uvarint(r.b)
	if used <= 0 || n > 1<<40 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[used:]
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) string() string { return string(r.bytes(r.number())) }

var errDamaged = storeError("the stored attachments are damaged")

// unpackInline reads what packInline wrote; the bytes are not copied.
func unpackInline(b []byte) ([]Attachment, error) {
	r := reader{b: b[1:]}
	n := r.number()
	if n > len(b) {
		return nil, errDamaged
	}
	as := make([]Attachment, n)
	for i := range as {
		as[i].Name = r.string()
		as[i].Bytes = r.bytes(r.number())
	}
	if r.bad || len(r.b) > 0 {
		return nil, errDamaged
	}
	return as, nil
}

func parsePacked(b []byte) (*packed, error) {
	if len(b) == 0 || b[0] != inEngine && b[0] != inBlobs {
		return nil, errDamaged
	}
	r := reader{b: b[1:]}
	p := &packed{where: b[0], ref: r.string(), index: r.number(), count: r.number()}
	n := r.number()
	if r.bad || n > len(b) {
		return nil, errDamaged
	}
	p.parts = make([]part, n)
	for i := range p.parts {
		p.parts[i].name = r.string()
		copy(p.parts[i].sum[:], r.bytes(len(Hash{})))
		p.parts[i].offset, p.parts[i].len = r.number(), r.number()
	}
	if r.bad || len(r.b) > 0 {
		return nil, errDamaged
	}
	return p, nil
}

// unpacker fills in the attachments of rows that are read one after another; it
// keeps the last blob, which the records of one append share.
type unpacker struct {
	s    *store
	ref  string
	blob []byte
}

func (u *unpacker) fill(ctx context.Context, row *Row) error {
	if len(row.Packed) == 0 {
		return nil
	}
	if row.Packed[0] == inRow {
		as, err := unpackInline(row.Packed)
		row.Attachments = as
		return err
	}
	p, err := parsePacked(row.Packed)
	if err != nil {
		return err
	}
	if u.ref != p.ref || u.blob == nil {
		if u.blob, err = u.s.blob(ctx, p); err != nil {
			return fmt.Errorf("read attachments of record %s: %w", row.ID, err)
		}
		u.ref = p.ref
	}
	row.Attachments = make([]Attachment, len(p.parts))
	for i, q := range p.parts {
		if q.offset+q.len > len(u.blob) {
			return errDamaged
		}
		row.Attachments[i] = Attachment{Name: q.name, Bytes: append([]byte{}, u.blob[q.offset:q.offset+q.len]...)}
	}
	return nil
}

func (s *store) blob(ctx context.Context, p *packed) ([]byte, error) {
	if p.where == inEngine {
		return s.engine.Blob(ctx, p.ref)
	}
	if s.opts.Blobs == nil {
		return nil, storeError("they lie in a blob store and none is configured")
	}
	return s.opts.Blobs.Get(ctx, p.ref)
}

// EngineBlob is for engines that truncate: whether a row's attachments lie in
// one of the engine's own blobs, under which reference, and which feed positions
// the append had whose records share it.
func EngineBlob(r *Row) (ref string, first, last uint64, ok bool) {
	if len(r.Packed) == 0 || r.Packed[0] != inEngine {
		return "", 0, 0, false
	}
	p, err := parsePacked(r.Packed)
	if err != nil {
		return "", 0, 0, false
	}
	first = r.Feed - uint64(p.index)
	return p.ref, first, first + uint64(p.count) - 1, true
}
