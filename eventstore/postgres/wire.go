package postgres

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgtype"

	"varve/eventstore"
)

// The commit's parameters are written in PostgreSQL's binary format by hand: the
// driver's way by reflection costs as much as the rest of a commit.

type integer interface{ ~int | ~int64 | ~uint64 }

func number[T integer](n T) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// array writes one dimension of n values; value appends one, or says that it is NULL.
func array(n int, oid uint32, each int, value func(b []byte, i int) (_ []byte, ok bool)) []byte {
	b := make([]byte, 0, 20+n*(4+each))
	dimensions := uint32(1)
	if n == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 1) // may have NULLs
	b = binary.BigEndian.AppendUint32(b, oid)
	if n == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, 1)
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
	return b
}

func numbers[R any, T integer](rows []R, of func(r *R) T) []byte {
	return array(len(rows), pgtype.Int8OID, 8, func(b []byte, i int) ([]byte, bool) {
		return binary.BigEndian.AppendUint64(b, uint64(of(&rows[i]))), true
	})
}

func texts[R any, T ~string](rows []R, of func(r *R) T) []byte {
	return array(len(rows), pgtype.TextOID, 24, func(b []byte, i int) ([]byte, bool) { return append(b, of(&rows[i])...), true })
}

// raw writes the bytes of rows; nil is NULL.
func raw[R any](rows []R, oid uint32, each int, of func(r *R) []byte) []byte {
	return array(len(rows), oid, each, func(b []byte, i int) ([]byte, bool) {
		v := of(&rows[i])
		return append(b, v...), v != nil
	})
}

// The way back. Values are NULL where they are nil.

func toInt(b []byte) int64   { return int64(binary.BigEndian.Uint64(b)) }
func toUint(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

type row = *eventstore.Row

// eventParams are the parameters of the part withEvents.
func eventParams(params [][]byte, rows []row) [][]byte {
	return append(params,
		numbers(rows, func(r *row) int64 { return eventKey((*r).Shard, (*r).Feed) }),
		numbers(rows, func(r *row) int64 { return (*r).LogKey }),
		numbers(rows, func(r *row) uint64 { return (*r).Position }),
		numbers(rows, func(r *row) int64 { return (*r).StreamKey }),
		numbers(rows, func(r *row) uint64 { return (*r).Version }),
		texts(rows, func(r *row) string { return (*r).Type }),
		array(len(rows), pgtype.ByteaOID, eventstore.FrameMeta+128, func(b []byte, i int) ([]byte, bool) { return eventstore.AppendFrame(b, rows[i]), true }),
		raw(rows, pgtype.TextOID, 256, func(r *row) []byte {
			if (*r).Erased {
				return nil
			}
			return (*r).Data
		}),
		raw(rows, pgtype.ByteaOID, 0, func(r *row) []byte { return (*r).Packed }))
}
