package projections

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// copyAtLeast is how many rows are worth a COPY.
const copyAtLeast = 32

// isInsert says whether the statement only adds rows, which COPY does faster.
func (b bulk) isInsert() bool { return b.after == "" && strings.HasPrefix(b.before, "INSERT") }

// copyRows adds rows by COPY in its binary format.
func (t *Tx) copyRows(ctx context.Context, b bulk, values []any) error {
	into := strings.TrimSuffix(t.tables.text(b.before), " VALUES ")
	_, into, _ = strings.Cut(into, "INTO ")
	s := copyStream{width: b.width, values: values, buffer: t.buffer}
	defer func() { t.buffer = s.buffer }()
	return t.conn.Raw(func(c any) error {
		_, err := c.(*connection).Conn.Conn().PgConn().CopyFrom(ctx, &s, `COPY `+into+` FROM STDIN (FORMAT binary)`)
		return err
	})
}

// copyStream is rows of integers and texts as COPY reads them.
type copyStream struct {
	width  int
	values []any
	state  int // 0: nothing was read, 1: rows, 2: the end was
	buffer []byte
	rest   []byte // of buffer, to be read
}

// Read gives the next bytes.
func (s *copyStream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.state == 2 {
			return 0, io.EOF
		}
		if err := s.encode(len(p)); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *copyStream) encode(enough int) error {
	b := s.buffer[:0]
	if s.state == 0 {
		b = append(b, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
		s.state = 1
	}
	for len(s.values) > 0 && len(b) < enough {
		b = binary.BigEndian.AppendUint16(b, uint16(s.width))
		for _, v := range s.values[:s.width] {
			switch v := v.(type) {
			case int64:
				b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
			case int:
				b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
			case string:
				v = escaped(v)
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
			default:
				return fmt.Errorf("a column of the kind %T cannot be copied", v)
			}
		}
		s.values = s.values[s.width:]
	}
	if len(s.values) == 0 {
		b = append(b, 0xff, 0xff)
		s.state = 2
	}
	s.buffer, s.rest = b, b
	return nil
}

// unnested is how many rows one statement takes as arrays.
const unnested = 2000

// arrays gives rows as one array a column, and the names of their types.
func (b bulk) arrays(values []any) (args []any, types string, err error) {
	rows := len(values) / b.width
	args = make([]any, b.width)
	names := make([]string, b.width)
	for c := range b.width {
		switch values[c].(type) {
		case string:
			column := make([]string, rows)
			for i := range column {
				column[i] = values[i*b.width+c].(string)
			}
			args[c], names[c] = column, "text"
		case int64, int:
			column := make([]int64, rows)
			for i := range column {
				switch v := values[i*b.width+c].(type) {
				case int64:
					column[i] = v
				case int:
					column[i] = int64(v)
				}
			}
			args[c], names[c] = column, "bigint"
		default:
			return nil, "", fmt.Errorf("a column of the kind %T cannot be written", values[c])
		}
		names[c] = fmt.Sprintf("$%d::%s[]", c+1, names[c])
	}
	return args, strings.Join(names, ", "), nil
}

// unnest executes the statement over rows that come as arrays.
func (b bulk) unnest(values []any, do func(text string, args []any) error) error {
	for len(values) > 0 {
		n := min(len(values), unnested*b.width)
		args, types, err := b.arrays(values[:n])
		if err != nil {
			return err
		}
		text := strings.TrimSuffix(b.before, "VALUES ") + `SELECT * FROM unnest(` + types + `)` + b.after
		if err := do(text, args); err != nil {
			return fmt.Errorf("write %.40s…: %w", b.before, err)
		}
		values = values[n:]
	}
	return nil
}
