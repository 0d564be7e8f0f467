package postgres

import (
	"encoding/binary"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"

	"varve/eventstore"
)

// The commit's parameters are written in PostgreSQL's binary format by hand: the
// driver's way by reflection costs as much as the rest of a commit.

// parameters are those of one statement.
type parameters struct {
	list  [][]byte
	space []byte // what list points into
}

// keptSpace is how much room is kept for the next commit.
const keptSpace = 1 << 20

// spaces keeps the room of commits that are done. The driver copies what it sends.
var spaces = sync.Pool{New: func() any { return new(parameters) }}

func newParameters() *parameters { return spaces.Get().(*parameters) }

// done gives the room back.
func (p *parameters) done() {
	clear(p.list)
	p.list, p.space = p.list[:0], p.space[:0]
	if cap(p.space) <= keptSpace {
		spaces.Put(p)
	}
}

type integer interface{ ~int | ~int64 | ~uint64 }

func number[T integer](p *parameters, n T) {
	at := len(p.space)
	p.space = binary.BigEndian.AppendUint64(p.space, uint64(n))
	p.list = append(p.list, p.space[at:])
}

// array writes one dimension of n values; value appends one, or says that it is NULL.
func (p *parameters) array(n int, oid uint32, value func(b []byte, i int) (_ []byte, ok bool)) {
	b, begin := p.space, len(p.space)
	dimensions := uint32(min(n, 1))
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 1) // may have NULLs
	b = binary.BigEndian.AppendUint32(b, oid)
	if dimensions > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = binary.BigEndian.AppendUint32(b, 1)
	}
	for i := range n {
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		var ok bool
		if b, ok = value(b, i); !ok {
			b = append(b[:at], 0xff, 0xff, 0xff, 0xff)
			continue
		}
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	p.space, p.list = b, append(p.list, b[begin:])
}

func numbers[R any, T integer](p *parameters, rows []R, of func(r *R) T) {
	p.array(len(rows), pgtype.Int8OID, func(b []byte, i int) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(of(&rows[i]))), true
	})
}

func texts[R any, T ~string](p *parameters, rows []R, of func(r *R) T) {
	p.array(len(rows), pgtype.TextOID, func(b []byte, i int) ([]byte, bool) { return append(b, of(&rows[i])...), true })
}

// raw writes the bytes of rows; nil is NULL.
func raw[R any](p *parameters, rows []R, oid uint32, of func(r *R) []byte) {
	p.array(len(rows), oid, func(b []byte, i int) ([]byte, bool) {
		v := of(&rows[i])
		return append(b, v...), v != nil
	})
}

type row = *eventstore.NewRow

// events are the parameters of the part withEvents.
func (p *parameters) events(rows []row) {
	numbers(p, rows, func(r *row) int64 { return eventKey((*r).Shard, (*r).Feed) })
	numbers(p, rows, func(r *row) int64 { return (*r).LogKey })
	numbers(p, rows, func(r *row) uint64 { return (*r).Position })
	numbers(p, rows, func(r *row) int64 { return (*r).StreamKey })
	numbers(p, rows, func(r *row) uint64 { return (*r).Version })
	texts(p, rows, func(r *row) string { return (*r).Type })
	p.array(len(rows), pgtype.ByteaOID, func(b []byte, i int) ([]byte, bool) { return eventstore.AppendFrame(b, rows[i]), true })
	raw(p, rows, pgtype.TextOID, func(r *row) []byte {
		if (*r).Erased {
			return nil
		}
		return (*r).Data
	})
	raw(p, rows, pgtype.ByteaOID, func(r *row) []byte { return (*r).Packed })
}

// streams are the parameters of the part withStreams.
func (p *parameters) streams(made []eventstore.NewStream) {
	numbers(p, made, func(s *eventstore.NewStream) int64 { return s.Key })
	numbers(p, made, func(s *eventstore.NewStream) int64 { return s.LogKey })
	texts(p, made, func(s *eventstore.NewStream) string { return s.Name })
	numbers(p, made, func(s *eventstore.NewStream) uint64 { return s.Base })
}

// The way back. Values are NULL where they are nil.

func toInt(b []byte) int64   { return int64(binary.BigEndian.Uint64(b)) }
func toUint(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
