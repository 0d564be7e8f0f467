package retrieve

import (
	"encoding/binary"
	"strings"
)

// packedID is the 12 bytes of a document id as Varve makes them.
type packedID [12]byte

const packedPrefix = "doc_"

// pack gives the 12 bytes of an id as documents have it.
func pack(id string) (p packedID, ok bool) {
	if len(id) != len(packedPrefix)+2*len(p) || id[:len(packedPrefix)] != packedPrefix {
		return p, false
	}
	digits := id[len(packedPrefix):]
	for i := range p {
		high, low := unhex[digits[2*i]], unhex[digits[2*i+1]]
		if high|low > 15 {
			return p, false
		}
		p[i] = high<<4 | low
	}
	return p, true
}

// unhex gives the value of a small hex digit, 255 for other bytes.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
		if at := strings.IndexByte("0123456789abcdef", byte(i)); at >= 0 {
			t[i] = byte(at)
		}
	}
	return t
}()

// packedTable numbers packed ids: open addressing with room for twice as many.
type packedTable struct {
	slots []struct {
		id packedID
		n  int32 // number plus one; 0 is free
	}
	used int
}

func newPackedTable(n int) packedTable {
	size := 16
	for size < 2*n {
		size *= 2
	}
	var t packedTable
	t.grow(size)
	return t
}

func (t *packedTable) grow(size int) {
	old := t.slots
	t.slots = make([]struct {
		id packedID
		n  int32
	}, size)
	t.used = 0
	for _, s := range old {
		if s.n > 0 {
			t.number(s.id, int64(s.n-1))
		}
	}
}

// number gives an id's number, which is next where the id is new.
func (t *packedTable) number(id packedID, next int64) (n int64, isNew bool) {
	if 2*t.used >= len(t.slots) {
		t.grow(2 * len(t.slots))
	}
	h := binary.LittleEndian.Uint64(id[:8]) ^ uint64(binary.LittleEndian.Uint32(id[8:]))*0x9E3779B97F4A7C15
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	for i := h & uint64(len(t.slots)-1); ; i = (i + 1) & uint64(len(t.slots)-1) {
		s := &t.slots[i]
		if s.n == 0 {
			s.id, s.n = id, int32(next+1)
			t.used++
			return next, true
		}
		if s.id == id {
			return int64(s.n - 1), false
		}
	}
}
