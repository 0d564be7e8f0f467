package eventstore

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The frame of an event holds what SQL engines never search for, as one binary
// column with fixed places:
//
//	0 id · 16 digest · 48 hash · 80 time, microseconds · 88 schema version ·
//	92 salt, zero when erased · 108 metadata
//
// Numbers are big-endian.
const (
	frameDigest = 16
	FrameHash   = 48 // where a log's base begins
	frameTime   = 80
	FrameSchema = 88 // where it ends
	FrameSalt   = 92
	FrameMeta   = 108 // length of a frame without metadata
)

// AppendFrame writes a row's frame.
func AppendFrame(b []byte, r *NewRow) []byte {
	b = append(b, r.ID[:]...)
	b = append(b, r.Digest[:]...)
	b = AppendBase(b, r.Hash, r.Time)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Schema))
	b = append(b, r.Salt[:]...)
	return append(b, r.MetaBytes...)
}

// ReadFrame reads a frame into its row, which has its feed position already.
func ReadFrame(b []byte, r *Row) (err error) {
	if len(b) < FrameMeta {
		return fmt.Errorf("record %d of the feed is damaged", r.Feed)
	}
	copy(r.ID[:], b)
	copy(r.Digest[:], b[frameDigest:])
	copy(r.Hash[:], b[FrameHash:])
	r.Time = frameMicros(b[frameTime:])
	r.Schema = int(binary.BigEndian.Uint32(b[FrameSchema:]))
	copy(r.Salt[:], b[FrameSalt:])
	if r.Meta, err = ParseMetadata(b[FrameMeta:]); err != nil {
		return fmt.Errorf("record %d of the feed: %w", r.Feed, err)
	}
	return nil
}

// AppendBase writes a log's base: the part of a frame from the hash to the time.
func AppendBase(b []byte, h Hash, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, h[:]...), uint64(Micros(t)))
}

// ReadBase is the inverse of AppendBase.
func ReadBase(b []byte) (h Hash, t time.Time, err error) {
	if len(b) != FrameSchema-FrameHash {
		return h, t, fmt.Errorf("the base of a log is damaged")
	}
	copy(h[:], b)
	return h, frameMicros(b[len(h):]), nil
}

func frameMicros(b []byte) time.Time { return FromMicros(int64(binary.BigEndian.Uint64(b))) }

// Micros is a time as engines keep it: microseconds of Unix time, 0 for none.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of Micros, in UTC.
func FromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
