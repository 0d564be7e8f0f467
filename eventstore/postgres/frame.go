package postgres

import (
	"encoding/binary"
	"fmt"
	"time"

	"varve/eventstore"
)

// The frame of an event holds what is never searched for, in fixed places:
//
//	0 id · 16 digest · 48 hash · 80 time, microseconds · 88 schema version ·
//	92 salt, zero when erased · 108 metadata
//
// Numbers are big-endian.
const (
	frameDigest = 16
	frameHash   = 48
	frameTime   = 80
	frameSchema = 88
	frameSalt   = 92
	frameMeta   = 108
)

func appendFrame(b []byte, r *eventstore.Row) []byte {
	b = append(b, r.ID[:]...)
	b = append(b, r.Digest[:]...)
	b = appendBase(b, r.Hash, r.Time)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Schema))
	b = append(b, r.Salt[:]...)
	return append(b, r.MetaBytes...)
}

func readFrame(b []byte, r *eventstore.Row) (err error) {
	if len(b) < frameMeta {
		return fmt.Errorf("record %d of the feed is damaged", r.Feed)
	}
	copy(r.ID[:], b)
	copy(r.Digest[:], b[frameDigest:])
	copy(r.Hash[:], b[frameHash:])
	r.Time = frameMicros(b[frameTime:])
	r.Schema = int(binary.BigEndian.Uint32(b[frameSchema:]))
	copy(r.Salt[:], b[frameSalt:])
	if r.Meta, err = eventstore.ParseMetadata(b[frameMeta:]); err != nil {
		return fmt.Errorf("record %d of the feed: %w", r.Feed, err)
	}
	return nil
}

// A log's base is the part of a frame from the hash to the time.
func appendBase(b []byte, h eventstore.Hash, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, h[:]...), uint64(micros(t)))
}

func readBase(b []byte) (h eventstore.Hash, t time.Time, err error) {
	if len(b) != frameSchema-frameHash {
		return h, t, fmt.Errorf("the base of a log is damaged")
	}
	copy(h[:], b)
	return h, frameMicros(b[len(h):]), nil
}

func frameMicros(b []byte) time.Time { return fromMicros(int64(binary.BigEndian.Uint64(b))) }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
