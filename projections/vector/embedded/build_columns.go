package embedded

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"varve/domain"
)

// Limits of automatic columns. Other fields are read from the rows' JSON.
const (
	maxColumns     = 32
	maxTracked     = 128 // fields that are looked at while a segment is built
	maxColumnValue = 96  // bytes of a value, on average
)

// column collects the values of one field.
type column struct {
	field  string
	place  map[string]uint32 // of a value
	values [][]byte
	codes  []uint32 // by row: place + 1; shorter than the rows where the last have none
	rows   int
	bytes  int // of the values
	full   bool
}

// fields writes what filters see of the rows, and columns of the fields that
// most rows have and whose values are short.
func (b *builder) fields() {
	columns := map[string]*column{}
	b.meta.Complete = true
	at := make([]uint64, 1, len(b.rows)+1)
	b.begin("raw.json")
	for row, o := range b.rows {
		raw := b.parts[o.part].raw(o.row)
		b.write(raw)
		at = append(at, at[len(at)-1]+uint64(len(raw)))
		splitObject(raw, func(name string, value []byte) {
			c := columns[name]
			if c == nil {
				if len(columns) >= maxTracked {
					b.meta.Complete = false
					return
				}
				c = &column{field: name, place: map[string]uint32{}}
				columns[name] = c
			}
			c.add(row, value)
		})
	}
	b.section("raw.at", bytesOf(at))
	var chosen []*column
	for name, c := range columns {
		if b.meta.Complete {
			b.meta.Fields = append(b.meta.Fields, name)
		}
		if !c.full && name != "document_id" && name != "collection_id" {
			chosen = append(chosen, c)
		}
	}
	slices.Sort(b.meta.Fields)
	slices.SortFunc(chosen, func(x, y *column) int {
		return cmp.Or(cmp.Compare(y.rows, x.rows), cmp.Compare(x.field, y.field))
	})
	for i, c := range chosen[:min(len(chosen), maxColumns)] {
		b.column(fmt.Sprintf("c%d.", i), c)
	}
}

func (c *column) add(row int, value []byte) {
	if c.full {
		return
	}
	place, known := c.place[string(value)]
	if !known {
		place = uint32(len(c.values))
		value = bytes.Clone(value)
		c.place[string(value)] = place
		c.values = append(c.values, value)
		c.bytes += len(value)
	}
	for len(c.codes) < row {
		c.codes = append(c.codes, 0)
	}
	c.codes = append(c.codes, place+1)
	c.rows++
	if c.bytes > 64<<10 && c.bytes > maxColumnValue*c.rows {
		c.full, c.place, c.values, c.codes = true, nil, nil, nil
	}
}

func (b *builder) column(prefix string, c *column) {
	entries := make([]columnEntry, len(c.values))
	for i, v := range c.values {
		entries[i] = newColumnEntry(i, v)
	}
	slices.SortFunc(entries, compareEntries)
	code := make([]uint32, len(c.values)) // by place
	at := make([]uint32, 1, len(entries)+1)
	meta := columnMeta{Field: c.field, Values: len(entries), Width: 4}
	b.begin(prefix + "val.json")
	for i, e := range entries {
		code[e.place] = uint32(i + 1)
		b.write(e.raw)
		at = append(at, at[len(at)-1]+uint32(len(e.raw)))
		if e.number {
			meta.Numbers++
		}
	}
	b.section(prefix+"val.at", bytesOf(at))
	codes := make([]uint32, len(b.rows))
	for row, place := range c.codes {
		if place > 0 {
			codes[row] = code[place-1]
		}
	}
	b.begin(prefix + "code")
	switch {
	case len(entries) < 1<<8:
		meta.Width = 1
		narrow := make([]byte, len(codes))
		for i, x := range codes {
			narrow[i] = byte(x)
		}
		b.write(narrow)
	case len(entries) < 1<<16:
		meta.Width = 2
		narrow := make([]uint16, len(codes))
		for i, x := range codes {
			narrow[i] = uint16(x)
		}
		b.write(bytesOf(narrow))
	default:
		b.write(bytesOf(codes))
	}
	b.meta.Columns = append(b.meta.Columns, meta)
}

func isNumber(v any) bool {
	_, ok := domain.CompareValues(v, 0)
	return ok
}

// columnEntry is a value with what its order needs.
type columnEntry struct {
	place  int
	raw    []byte
	value  any
	number bool
	near   float64 // a number's nearest float64: in the order of the numbers, but for equal ones
}

func newColumnEntry(place int, raw []byte) columnEntry {
	e := columnEntry{place: place, raw: raw}
	if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
		e.value, _ = domain.DecodeValue(raw)
		e.number = isNumber(e.value)
		e.near, _ = strconv.ParseFloat(string(raw), 64) // out of range: an infinity, which is as good
	}
	return e
}

// compareEntries orders a column's values: numbers first, ascending.
func compareEntries(x, y columnEntry) int {
	switch {
	case x.number && y.number:
		if x.near != y.near {
			return cmp.Compare(x.near, y.near)
		}
		c, _ := domain.CompareValues(x.value, y.value)
		return cmp.Or(c, bytes.Compare(x.raw, y.raw))
	case x.number:
		return -1
	case y.number:
		return 1
	}
	return bytes.Compare(x.raw, y.raw)
}

// splitObject calls yield with the members of an object as EncodeValue writes
// it: no spaces, no member twice. Anything else is given up silently.
func splitObject(raw []byte, yield func(name string, value []byte)) {
	if len(raw) < 2 || raw[0] != '{' {
		return
	}
	for i := 1; i < len(raw) && raw[i] == '"'; {
		end := skipString(raw, i)
		if end >= len(raw) || raw[end] != ':' {
			return
		}
		name := string(raw[i+1 : end-1])
		if bytes.IndexByte(raw[i:end], '\\') >= 0 {
			decoded, err := domain.DecodeValue(raw[i:end])
			if err != nil {
				return
			}
			name, _ = decoded.(string)
		}
		start := end + 1
		stop := skipValue(raw, start)
		if stop >= len(raw) || stop == start {
			return
		}
		yield(name, raw[start:stop])
		i = stop + 1 // after the comma, or the end
	}
}

// skipString gives the place after a string that begins at i.
func skipString(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// skipValue gives the place after a value that begins at i.
func skipValue(raw []byte, i int) int {
	depth := 0
	for i < len(raw) {
		switch raw[i] {
		case '"':
			i = skipString(raw, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}
