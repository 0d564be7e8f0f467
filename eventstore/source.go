package eventstore

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"
)

// Source is where a store takes clock and chance from: record ids, salts and
// times come from nothing else, so a seeded source gives the same store again.
// Both fields may be nil: then the system's clock and crypto/rand serve.
type Source struct {
	Now  func() time.Time
	Rand io.Reader // read under a lock, in one piece per append
}

// chance hands out ids and salts; safe for concurrent use.
type chance struct {
	now func() time.Time
	mu  sync.Mutex
	src io.Reader
}

func newChance(s Source) *chance {
	c := &chance{now: s.Now, src: s.Rand}
	if c.now == nil {
		c.now = time.Now
	}
	if c.src == nil {
		c.src = bufio.NewReaderSize(rand.Reader, 4096)
	}
	return c
}

// fill reads len(b) bytes of chance.
func (c *chance) fill(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.ReadFull(c.src, b); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	return nil
}

// newID makes a UUIDv7 (RFC 9562, method 3: the 12 bits after the milliseconds
// hold the fraction of the millisecond) of 8 random bytes.
func newID(now time.Time, random []byte) ID {
	var id ID
	ms := uint64(now.UnixMilli())
	frac := uint64(now.Nanosecond()%1_000_000) * 4096 / 1_000_000
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70 | byte(frac>>8)
	id[7] = byte(frac)
	copy(id[8:], random[:8])
	id[8] = 0x80 | id[8]&0x3f
	return id
}

// NewID makes a UUIDv7 of a time and 8 bytes of chance or of a key's digest.
func NewID(now time.Time, random [8]byte) ID { return newID(now, random[:]) }

// String is the usual form with hyphens.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ParseID reads the form that String gives.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("parse record id %q: want 8-4-4-4-12 hexadecimal digits", s)
	}
	plain := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(plain)); err != nil {
		return ID{}, fmt.Errorf("parse record id %q: %w", s, err)
	}
	return id, nil
}

// IsZero says that no id was given.
func (id ID) IsZero() bool { return id == ID{} }

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String gives.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("parse hash %q: want %d hexadecimal digits", s, 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse hash %q: %w", s, err)
	}
	return h, nil
}
