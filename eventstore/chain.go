package eventstore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
)

// chainFormat is hashed first, so that a later format cannot be taken for this one.
const chainFormat = "varve.record.1"

// ChainHash is the hash of a record that follows one with hash prev (zero for a
// log's first record): SHA-256(prev ‖ fields), each field preceded by its length
// as 4 bytes big-endian: format, id, position, stream, version, type, schema,
// metadata, time in microseconds, digest. Log, shard, feed position and where
// bytes lie are left out, so equal logs have equal hashes on every engine, and a
// branch continues the chain of its source. Salt, data and attachments stand
// behind the digest, so erasing them keeps the chain.
func ChainHash(prev Hash, r *Record) Hash {
	var space [512]byte
	return chainHash(space[:0], prev, r, AppendMetadata(nil, &r.Meta))
}

func chainHash(b []byte, prev Hash, r *Record, meta []byte) Hash {
	b = append(b, prev[:]...)
	b = appendField(b, chainFormat)
	b = appendField(b, r.ID[:])
	b = appendNumber(b, r.Position)
	b = appendField(b, r.Stream)
	b = appendNumber(b, r.Version)
	b = appendField(b, r.Type)
	b = appendNumber(b, uint64(r.Schema))
	b = appendField(b, meta)
	b = appendNumber(b, uint64(r.Time.UnixMicro()))
	b = appendField(b, r.Digest[:])
	return sha256.Sum256(b)
}

func appendField[T ~string | ~[]byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

func appendNumber(b []byte, n uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, n)
}

// DataDigest is SHA-256(salt ‖ data ‖ for each attachment its name and the
// SHA-256 of its bytes), data and names preceded by their length as 4 bytes
// big-endian. The salt keeps short data from being guessed after an erasure.
func DataDigest(salt [16]byte, data json.RawMessage, attachments []Attachment) Hash {
	var space [1024]byte
	b := append(space[:0], salt[:]...)
	b = appendField(b, data)
	for i := range attachments {
		b = appendField(b, attachments[i].Name)
		sum := sha256.Sum256(attachments[i].Bytes)
		b = append(b, sum[:]...)
	}
	return sha256.Sum256(b)
}

// metaFields are the metadata in the order in which they are written. A new
// field goes at the end: trailing empty fields are not written, so records
// without it keep their bytes and hashes.
func metaFields(m *Metadata) [7]*string {
	return [7]*string{&m.Actor, &m.Key, &m.Correlation, &m.Causation, &m.TraceParent, &m.Origin, &m.Reason}
}

// AppendMetadata appends the canonical binary form that is stored and hashed:
// each field preceded by its length as a uvarint, without trailing empty fields.
func AppendMetadata(b []byte, m *Metadata) []byte {
	fields := metaFields(m)
	last := len(fields)
	for last > 0 && *fields[last-1] == "" {
		last--
	}
	n := 0
	for _, f := range fields[:last] {
		n += len(*f) + binary.MaxVarintLen16
	}
	b = slices.Grow(b, n)
	for _, f := range fields[:last] {
		b = binary.AppendUvarint(b, uint64(len(*f)))
		b = append(b, *f...)
	}
	return b
}

// ParseMetadata reads what AppendMetadata wrote. All strings share one copy of b.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	fields := metaFields(&m)
	all := string(b)
	for i := 0; len(b) > 0; i++ {
		n, used := binary.Uvarint(b)
		if used <= 0 || i == len(fields) || n > uint64(len(b)-used) {
			return Metadata{}, storeError("parse metadata: the bytes are damaged")
		}
		start := len(all) - len(b) + used
		*fields[i] = all[start : start+int(n)]
		b = b[used+int(n):]
	}
	return m, nil
}
