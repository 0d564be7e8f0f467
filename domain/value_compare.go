package domain

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// CompareValues orders two decoded JSON values; ok is false where they have no
// order.
//
//   - Numbers as decimals of any size, exactly: 9007199254740993 is more than
//     9007199254740992, 1.0 equals 1. Go's integer and float types are numbers
//     too (a float by its shortest decimal form); NaN and infinities have no order.
//   - Two strings that are both times (see ParseTime) as instants; two that are
//     both none by their bytes; one of each has no order, which keeps the order
//     transitive.
//   - false before true; null equals null.
//   - Two arrays or two objects have an order only when EqualValues.
func CompareValues(a, b any) (int, bool) {
	switch x := a.(type) {
	case nil:
		return 0, b == nil
	case string:
		y, ok := b.(string)
		if !ok {
			return 0, false
		}
		return compareStrings(x, y)
	case bool:
		y, ok := b.(bool)
		switch {
		case !ok:
			return 0, false
		case x == y:
			return 0, true
		case y:
			return -1, true
		}
		return 1, true
	case map[string]any, []any:
		return 0, EqualValues(a, b)
	}
	x, ok := numberText(a)
	if !ok {
		return 0, false
	}
	y, ok := numberText(b)
	if !ok {
		return 0, false
	}
	return compareNumbers(x, y), true
}

func compareStrings(x, y string) (int, bool) {
	tx, xt := ParseTime(x)
	ty, yt := ParseTime(y)
	switch {
	case xt && yt:
		return tx.Compare(ty), true
	case xt != yt:
		return 0, false
	}
	return strings.Compare(x, y), true
}

// EqualValues says whether two decoded JSON values are the same value: numbers
// as decimals, strings by their bytes, arrays and objects in depth.
func EqualValues(a, b any) bool { return equalValues(a, b, false) }

func equalValues(a, b any, fold bool) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && (x == y || fold && strings.EqualFold(x, y))
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equalValues(x[i], y[i], fold) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			w, ok := y[k]
			if !ok || !equalValues(v, w, fold) {
				return false
			}
		}
		return true
	}
	x, ok := numberText(a)
	if !ok {
		return false
	}
	y, ok := numberText(b)
	return ok && compareNumbers(x, y) == 0
}

// numberText gives the decimal form of a number; false for anything else.
func numberText(v any) (string, bool) {
	switch n := v.(type) {
	case json.Number:
		return string(n), isNumberText(string(n))
	case int:
		return strconv.Itoa(n), true
	case int64:
		return strconv.FormatInt(n, 10), true
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return "", false
		}
		return strconv.FormatFloat(n, 'g', -1, 64), true
	case float32:
		f := float64(n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return "", false
		}
		return strconv.FormatFloat(f, 'g', -1, 32), true
	case int32:
		return strconv.FormatInt(int64(n), 10), true
	case uint64:
		return strconv.FormatUint(n, 10), true
	case uint32:
		return strconv.FormatUint(uint64(n), 10), true
	case uint:
		return strconv.FormatUint(uint64(n), 10), true
	}
	return "", false
}

// isNumberText says whether all of s is one JSON number.
func isNumberText(s string) bool {
	n, ok := scanNumber(s)
	return ok && n == len(s)
}

// compareNumbers orders two JSON numbers exactly, without expanding exponents.
func compareNumbers(a, b string) int {
	if x, ok := smallInt(a); ok {
		if y, ok := smallInt(b); ok {
			return cmp.Compare(x, y)
		}
	}
	x, y := newDecimal(a), newDecimal(b)
	if x.sign() != y.sign() {
		if x.sign() < y.sign() {
			return -1
		}
		return 1
	}
	c := x.compareMagnitude(y)
	if x.neg {
		return -c
	}
	return c
}

// smallInt reads a plain integer of at most 18 digits.
func smallInt(s string) (int64, bool) {
	neg := len(s) > 0 && s[0] == '-'
	d := s
	if neg {
		d = s[1:]
	}
	if len(d) == 0 || len(d) > 18 {
		return 0, false
	}
	var n int64
	for i := 0; i < len(d); i++ {
		c := d[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if neg {
		n = -n
	}
	return n, true
}

// decimal is 0.d1d2d3… × 10^point, its digits those of a and then b, without
// leading or trailing zeros; zero has no digits.
type decimal struct {
	neg   bool
	a, b  string
	point int
}

func newDecimal(s string) decimal {
	var d decimal
	if strings.HasPrefix(s, "-") {
		d.neg, s = true, s[1:]
	}
	exp := 0
	if e := strings.IndexAny(s, "eE"); e >= 0 {
		n, err := strconv.Atoi(s[e+1:])
		if err != nil || n > 1<<40 || n < -1<<40 { // beyond any that DecodeValue lets through
			n = 1 << 40
			if s[e+1] == '-' {
				n = -n
			}
		}
		exp, s = n, s[:e]
	}
	d.a, d.b, _ = strings.Cut(s, ".")
	d.b = strings.TrimRight(d.b, "0")
	d.a = strings.TrimLeft(d.a, "0")
	d.point = len(d.a) + exp
	if d.a == "" {
		n := len(d.b)
		d.b = strings.TrimLeft(d.b, "0")
		d.point -= n - len(d.b)
	}
	if d.b == "" {
		d.a = strings.TrimRight(d.a, "0")
	}
	if d.a == "" && d.b == "" {
		return decimal{}
	}
	return d
}

func (d decimal) digits() int { return len(d.a) + len(d.b) }

func (d decimal) at(i int) byte {
	if i < len(d.a) {
		return d.a[i]
	}
	return d.b[i-len(d.a)]
}

func (d decimal) sign() int {
	switch {
	case d.digits() == 0:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

func (d decimal) compareMagnitude(e decimal) int {
	if d.point != e.point {
		return cmp.Compare(d.point, e.point)
	}
	for i := 0; i < d.digits() && i < e.digits(); i++ {
		if x, y := d.at(i), e.at(i); x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(d.digits(), e.digits())
}

// numberKey gives equal numbers one text, and different numbers different ones.
func numberKey(s string) string {
	if len(s) <= 18 && s != "-0" {
		if n, ok := smallInt(s); ok && strings.TrimRight(s, "0") == s && n != 0 {
			return s
		}
	}
	d := newDecimal(s)
	if d.digits() == 0 {
		return "0"
	}
	text := d.a + d.b
	if d.neg {
		text = "-" + text
	}
	if d.point == d.digits() {
		return text
	}
	return text + "e" + strconv.Itoa(d.point-d.digits())
}

// KeyValue gives equal numbers one form wherever they stand in a value, so that
// ids derived from equal values are equal.
func KeyValue(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = KeyValue(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = KeyValue(item)
		}
		return out
	}
	if s, ok := numberText(v); ok {
		return json.Number(numberKey(s))
	}
	return v
}

// IsInteger says whether a decoded value is a number without a fraction, in
// whatever form it is written (5, 5.0, 5e3).
func IsInteger(v any) bool {
	s, ok := numberText(v)
	if !ok {
		return false
	}
	d := newDecimal(s)
	return d.digits() <= d.point
}
