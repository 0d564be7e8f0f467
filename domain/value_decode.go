package domain

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of DecodeValue.
const (
	MaxValueDepth    = 64   // nested objects and arrays
	MaxNumberLength  = 1024 // bytes of one number as written
	maxExponentDigit = 6    // digits of a number's exponent
)

// DecodeValue reads one JSON value: objects as map[string]any, arrays as []any,
// numbers as json.Number with the digits kept as written, strings, bools, nil.
//
// Refused, with the byte where it stands, is what would be read differently by
// two readers or could not be given back as written: invalid UTF-8, lone
// surrogate escapes, an object key given twice (one of the two values, maybe a
// condition of a filter, would be lost), NaN and Infinity, anything after the
// value, nesting beyond MaxValueDepth, numbers longer than MaxNumberLength or
// with an exponent of more than six digits. Errors have CodeBadRequest.
func DecodeValue(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		i := 0
		for i < len(raw) {
			r, n := utf8.DecodeRune(raw[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return nil, Errorf(CodeBadRequest, "JSON is not valid UTF-8 at byte %d", i)
	}
	d := valueDecoder{s: string(raw)}
	d.space()
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	d.space()
	if d.i < len(d.s) {
		return nil, d.errorf("unexpected %s after the value", d.seen())
	}
	return v, nil
}

// DecodeObject is DecodeValue for a value that must be an object.
func DecodeObject(raw []byte) (map[string]any, error) {
	v, err := DecodeValue(raw)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, Errorf(CodeBadRequest, "JSON is %s where an object is expected", valueKind(v))
	}
	return m, nil
}

type valueDecoder struct {
	s string
	i int
}

func (d *valueDecoder) errorf(format string, args ...any) error {
	return Errorf(CodeBadRequest, "JSON at byte "+strconv.Itoa(d.i)+": "+format, args...)
}

func (d *valueDecoder) seen() string {
	if d.i >= len(d.s) {
		return "end"
	}
	r, _ := utf8.DecodeRuneInString(d.s[d.i:])
	return strconv.QuoteRune(r)
}

func (d *valueDecoder) space() {
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

func (d *valueDecoder) value(depth int) (any, error) {
	if d.i >= len(d.s) {
		return nil, d.errorf("a value is expected, the text ends")
	}
	switch c := d.s[d.i]; {
	case c == '{':
		return d.object(depth + 1)
	case c == '[':
		return d.array(depth + 1)
	case c == '"':
		return d.text()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	for _, w := range [...]struct {
		word string
		v    any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if strings.HasPrefix(d.s[d.i:], w.word) {
			d.i += len(w.word)
			return w.v, nil
		}
	}
	for _, w := range [...]string{"NaN", "Infinity"} {
		if strings.HasPrefix(d.s[d.i:], w) {
			return nil, d.errorf("%s is not a JSON value; give a number or null", w)
		}
	}
	return nil, d.errorf("a value is expected, not %s", d.seen())
}

func (d *valueDecoder) object(depth int) (any, error) {
	if depth > MaxValueDepth {
		return nil, d.errorf("nested deeper than %d levels", MaxValueDepth)
	}
	d.i++
	m := map[string]any{}
	d.space()
	if d.i < len(d.s) && d.s[d.i] == '}' {
		d.i++
		return m, nil
	}
	for {
		d.space()
		if d.i >= len(d.s) || d.s[d.i] != '"' {
			return nil, d.errorf("a key in double quotes is expected, not %s", d.seen())
		}
		at := d.i
		k, err := d.text()
		if err != nil {
			return nil, err
		}
		if _, twice := m[k]; twice {
			d.i = at
			return nil, d.errorf("the key %q is given twice in one object; keep one", k)
		}
		d.space()
		if d.i >= len(d.s) || d.s[d.i] != ':' {
			return nil, d.errorf("':' is expected after the key %q, not %s", k, d.seen())
		}
		d.i++
		d.space()
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		m[k] = v
		d.space()
		if d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i < len(d.s) && d.s[d.i] == '}' {
			d.i++
			return m, nil
		}
		return nil, d.errorf("',' or '}' is expected, not %s", d.seen())
	}
}

func (d *valueDecoder) array(depth int) (any, error) {
	if depth > MaxValueDepth {
		return nil, d.errorf("nested deeper than %d levels", MaxValueDepth)
	}
	d.i++
	a := []any{}
	d.space()
	if d.i < len(d.s) && d.s[d.i] == ']' {
		d.i++
		return a, nil
	}
	for {
		d.space()
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		d.space()
		if d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i < len(d.s) && d.s[d.i] == ']' {
			d.i++
			return a, nil
		}
		return nil, d.errorf("',' or ']' is expected, not %s", d.seen())
	}
}

func (d *valueDecoder) number() (any, error) {
	n, ok := scanNumber(d.s[d.i:])
	if !ok {
		return nil, d.errorf("not a number as JSON writes them")
	}
	s := d.s[d.i : d.i+n]
	if len(s) > MaxNumberLength {
		return nil, d.errorf("a number of %d bytes; at most %d are kept", len(s), MaxNumberLength)
	}
	if e := strings.IndexAny(s, "eE"); e >= 0 && len(strings.TrimLeft(s[e+1:], "+-0")) > maxExponentDigit {
		return nil, d.errorf("the exponent of %s is out of range", s)
	}
	d.i += n
	return json.Number(s), nil
}

// scanNumber gives the length of the JSON number that s starts with.
func scanNumber(s string) (int, bool) {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return 0, false
	}
	if i < len(s) && s[i] >= '0' && s[i] <= '9' {
		return 0, false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return 0, false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return 0, false
		}
	}
	return i, true
}

func (d *valueDecoder) text() (string, error) {
	start := d.i + 1
	for i := start; i < len(d.s); i++ {
		switch c := d.s[i]; {
		case c == '"':
			d.i = i + 1
			return d.s[start:i], nil
		case c == '\\':
			return d.escaped(start, i)
		case c < ' ':
			d.i = i
			return "", d.errorf("a control character in a string; write it as \\u%04x", c)
		}
	}
	d.i = len(d.s)
	return "", d.errorf("a string is not closed")
}

// escaped reads on from the first backslash at i of a string that began at start.
func (d *valueDecoder) escaped(start, i int) (string, error) {
	var b strings.Builder
	b.WriteString(d.s[start:i])
	for i < len(d.s) {
		c := d.s[i]
		switch {
		case c == '"':
			d.i = i + 1
			return b.String(), nil
		case c < ' ':
			d.i = i
			return "", d.errorf("a control character in a string; write it as \\u%04x", c)
		case c != '\\':
			b.WriteByte(c)
			i++
			continue
		}
		d.i = i
		if i+1 >= len(d.s) {
			break
		}
		i += 2
		switch e := d.s[i-1]; e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r, ok := hexRune(d.s, i)
			if !ok {
				return "", d.errorf("\\u takes four hexadecimal digits")
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+1 < len(d.s) && d.s[i] == '\\' && d.s[i+1] == 'u' {
					low, ok = hexRune(d.s, i+2)
				}
				full := utf16.DecodeRune(r, low)
				if !ok || full == utf8.RuneError {
					return "", d.errorf("a lone surrogate \\u%04x, which is no character", r)
				}
				r = full
				i += 6
			}
			b.WriteRune(r)
		default:
			return "", d.errorf("an unknown escape \\%c in a string", e)
		}
	}
	d.i = len(d.s)
	return "", d.errorf("a string is not closed")
}

func hexRune(s string, i int) (rune, bool) {
	if i+4 > len(s) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
