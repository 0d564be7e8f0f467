package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"unsafe"
)

// The file of a segment, all numbers little-endian:
//
//	magic "VARVESG1"
//	sections, each aligned to 64 bytes
//	footer: JSON, see footer
//	trailer: uint32 length of the footer, uint32 CRC-32C of the footer, "VARVEEND"
//
// A reader fetches the trailer, the footer and then the sections that it needs.
// The file's name is the SHA-256 of all its bytes. It says nothing of its log and
// has no positions but those of its rows, so it can be dropped and built again.
//
// Rows are ordered by document id, then by the position from which they hold.
// When they end is not in the segment (see manifest.go). With n rows:
//
//	id.at    uint32 × n+1, then id.text: ids, one after the other
//	coll     uint32 × n: place in footer.Collections
//	from     uint64 × n
//	raw.at   uint64 × n+1, then raw.json: what filters see, as canonical JSON
//	d<i>.*   the i-th dense feature with m entries: of uint32 × m (rows; left out where every row has the
//	         feature), vec float32 × m × dims, norm float64 × m, code int8 × m × stride, scale and bound float32 × m
//	s<i>.*   the i-th sparse feature with t terms: len uint32 × n (0: the row has none, else length + 1),
//	         term.at uint32 × t+1, term.text (terms in byte order), post.at uint64 × t+1, post.n uint32 × t
//	         (documents), post (for each: varints of row − row before − 1, or row for the first, and count)
//	c<i>.*   the column of the i-th of footer.Columns with v values: val.at uint32 × v+1, val.json (numbers first, ascending),
//	         code n × Width bytes (0: the row has no such field, else place + 1)
const (
	segmentMagic = "VARVESG1"
	segmentEnd   = "VARVEEND"
	trailerSize  = 16
	sectionAlign = 64
)

// footer describes a segment.
type footer struct {
	Rows        int                `json:"rows"`
	First       uint64             `json:"first"` // lowest and highest position from which a row holds
	Last        uint64             `json:"last"`
	Collections []string           `json:"collections"`
	Dense       []denseMeta        `json:"dense,omitempty"`
	Sparse      []sparseMeta       `json:"sparse,omitempty"`
	Columns     []columnMeta       `json:"columns,omitempty"`
	Fields      []string           `json:"fields,omitempty"`   // all field names, where Complete
	Complete    bool               `json:"complete,omitempty"` // whether Fields lists them all
	Sections    map[string]section `json:"sections"`
}

type denseMeta struct {
	URI     string `json:"uri"`
	Metric  string `json:"metric"` // "cosine"
	Dims    int    `json:"dims"`
	Entries int    `json:"entries"`
	Zeros   bool   `json:"zeros,omitempty"`
}

type sparseMeta struct {
	URI       string `json:"uri"`
	Terms     int    `json:"terms"`
	Documents uint64 `json:"documents"`
	Length    uint64 `json:"length"`
}

type columnMeta struct {
	Field   string `json:"field"`
	Values  int    `json:"values"`
	Numbers int    `json:"numbers"` // how many of the values are numbers
	Width   int    `json:"width"`   // bytes of a code: 1, 2 or 4
}

type section struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
	CRC    uint32 `json:"crc"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errTorn = errors.New("the segment is damaged")

func torn(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errTorn, fmt.Sprintf(format, args...))
}

// readFooter gives the footer of a segment's bytes.
func readFooter(data []byte) (footer, error) {
	var f footer
	if len(data) < len(segmentMagic)+trailerSize || string(data[:len(segmentMagic)]) != segmentMagic || string(data[len(data)-8:]) != segmentEnd {
		return f, torn("no segment, or cut off")
	}
	trailer := data[len(data)-trailerSize:]
	length := uint64(binary.LittleEndian.Uint32(trailer))
	if length > uint64(len(data)-len(segmentMagic)-trailerSize) {
		return f, torn("the footer is longer than the file")
	}
	text := data[uint64(len(data)-trailerSize)-length : len(data)-trailerSize]
	if crc32.Checksum(text, castagnoli) != binary.LittleEndian.Uint32(trailer[4:]) {
		return f, torn("the footer's checksum does not fit")
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, torn("footer: %v", err)
	}
	return f, nil
}

// cast sees bytes as numbers of the machine, which is little-endian wherever
// Varve is built for. The bytes are aligned, as sections are.
func cast[T uint16 | uint32 | uint64 | int8 | float32 | float64](b []byte) []T {
	var zero T
	n := len(b) / int(unsafe.Sizeof(zero))
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// bytesOf is the inverse of cast.
func bytesOf[T uint16 | uint32 | uint64 | int8 | float32 | float64](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(zero)))
}
