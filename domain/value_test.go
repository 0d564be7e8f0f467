package domain

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecodeValue(t *testing.T) {
	got, err := DecodeValue([]byte(` {"a":[1,-0,1.50,12345678901234567890,1e5,2E-3],"b":{"c":null,"d":true,"e":false},"s":"\u00e9\ud83d\ude00\n\"\\\/","":""} `))
	want := map[string]any{
		"a": []any{json.Number("1"), json.Number("-0"), json.Number("1.50"), json.Number("12345678901234567890"), json.Number("1e5"), json.Number("2E-3")},
		"b": map[string]any{"c": nil, "d": true, "e": false},
		"s": "é😀\n\"\\/", "": "",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v", got, err)
	}
	for _, c := range []struct{ in, says string }{
		{``, "the text ends"}, {`{`, "key"}, {`[1,`, "the text ends"}, {`[1 2]`, "',' or ']'"}, {`{"a" 1}`, "':'"},
		{`{"a":1,}`, "key"}, {`[1,]`, "a value is expected"}, {`1 2`, "after the value"}, {`nul`, "a value"}, {`nullx`, "after"},
		{`NaN`, "NaN"}, {`[-Infinity]`, "number"}, {`Infinity`, "Infinity"}, {`01`, "number"}, {`1.`, "number"}, {`.5`, "a value"}, {`+1`, "a value"}, {`1e`, "number"}, {`-`, "number"},
		{"\"\xff\"", "UTF-8 at byte 1"}, {"\"a\nb\"", "control character"}, {`"\x"`, "escape"}, {`"\u12g4"`, "hexadecimal"}, {`"\ud800"`, "surrogate"}, {`"\ud800\u0041"`, "surrogate"}, {`"\udc00"`, "surrogate"}, {`"abc`, "not closed"}, {`"\`, "not closed"},
		{`{"a":1,"a":2}`, `"a" is given twice`}, {`{"a":1,"\u0061":2}`, "twice"},
		{strings.Repeat("[", 65) + strings.Repeat("]", 65), "64 levels"},
		{strings.Repeat(`{"a":`, 65), "64 levels"},
		{strings.Repeat("1", 1025), "1024"}, {`1e1000000`, "exponent"}, {`1e-1000000`, "exponent"},
	} {
		v, err := DecodeValue([]byte(c.in))
		if CodeOf(err) != CodeBadRequest || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.40q: got %v, %v, want an error with %q", c.in, v, err, c.says)
		}
	}
	if _, err := DecodeValue([]byte(strings.Repeat("[", 64) + strings.Repeat("]", 64))); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	if _, err := DecodeObject([]byte(`[]`)); CodeOf(err) != CodeBadRequest {
		t.Errorf("an array as object: %v", err)
	}
}

func TestLookup(t *testing.T) {
	doc := mustDoc(t, `{"a":{"b":[{"c":1},{"c":[2,3]},{"d":4}]},"0":"zero","x":null,"k.e.y":{"z":5},"m":[[{"c":6}]]}`)
	for _, c := range []struct {
		path, want string
		ok         bool
	}{
		{"a.b[0].c", "1", true}, {"a.b.0.c", "1", true}, {"a.b.c", "[1,[2,3]]", true}, {"a.b[].c", "[1,[2,3]]", true}, {"a.b[1].c[1]", "3", true},
		{"a.b.e", "[]", false}, {"a.c", "", false}, {"a.b[9]", "", false}, {"0", `"zero"`, true}, {"x", "null", true}, {"x.y", "", false},
		{`"k.e.y".z`, "5", true}, {"k.e.y.z", "", false}, {"m.c", "[6]", true}, {"", "", false}, {"a[0]", "", false}, {"a..b", "", false}, {"a[", "", false}, {"[0]", "", false},
		{"a.b[01].c[1]", "3", true},
	} {
		v, ok := Lookup(doc, c.path)
		if ok != c.ok || ok && string(EncodeValue(v)) != c.want {
			t.Errorf("%q: got %s, %v, want %s, %v", c.path, EncodeValue(v), ok, c.want, c.ok)
		}
	}
}

func TestCompareValues(t *testing.T) {
	num := func(s string) any { return json.Number(s) }
	for _, c := range []struct {
		a, b any
		want int
		ok   bool
	}{
		{num("9007199254740993"), num("9007199254740992"), 1, true},
		{num("1"), num("1.000"), 0, true}, {num("-0"), num("0"), 0, true}, {num("0e5"), num("0.00"), 0, true},
		{num("1e400"), num("1e399"), 1, true}, {num("-1e400"), num("1"), -1, true}, {num("100"), num("1E+2"), 0, true},
		{num("0.001"), num("1e-3"), 0, true}, {num("123.456"), num("123.4560001"), -1, true}, {num("-2"), num("-10"), 1, true},
		{0.1, num("0.1"), 0, true}, {3, num("3.0"), 0, true}, {int64(-5), num("-5"), 0, true}, {float32(0.1), num("0.1"), 0, true}, {uint64(18446744073709551615), num("18446744073709551615"), 0, true},
		{"a", "b", -1, true}, {"B", "a", -1, true}, {"2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", 0, true}, {"2024-01-01", "2024-01-02", -1, true}, {"2024-01-01", "abc", 0, false},
		{false, true, -1, true}, {true, true, 0, true}, {nil, nil, 0, true}, {nil, false, 0, false}, {"1", num("1"), 0, false}, {true, "true", 0, false},
		{[]any{num("1")}, []any{num("1.0")}, 0, true}, {[]any{num("1")}, []any{num("2")}, 0, false}, {map[string]any{"a": nil}, map[string]any{"a": nil}, 0, true}, {map[string]any{"a": nil}, map[string]any{"b": nil}, 0, false},
	} {
		if got, ok := CompareValues(c.a, c.b); ok != c.ok || ok && got != c.want {
			t.Errorf("%v ? %v: got %d, %v", c.a, c.b, got, ok)
		}
		if got, ok := CompareValues(c.b, c.a); ok != c.ok || ok && got != -c.want {
			t.Errorf("%v ? %v: got %d, %v", c.b, c.a, got, ok)
		}
	}
}

func TestParseTime(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for in, want := range map[string]string{
		"2024-02-29": "2024-02-29T00:00:00Z", "2024-05-31T12:30:15.25+02:00": "2024-05-31T10:30:15.25Z", "2024-05-31 12:30": "2024-05-31T12:30:00Z",
		"2024-05-31t12:30:00z": "2024-05-31T12:30:00Z", "2024-05-31T12:30:00-0530": "2024-05-31T18:00:00Z", "2024-05-31T12:30:00.1234567899Z": "2024-05-31T12:30:00.123456789Z",
		"0001-01-01T00:00:00+23:59": "0000-12-31T00:01:00Z", "2024-05-31T12:30:00+02": "2024-05-31T10:30:00Z",
	} {
		if got, ok := ParseTime(in); !ok || !got.Equal(at(want)) {
			t.Errorf("%s: got %v, %v, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "2023-02-29", "2024-13-01", "2024-00-10", "2024-01-32", "2024-1-01", "2024-01-01T", "2024-01-01T24:00:00Z", "2024-01-01T12:60:00Z", "2024-01-01T12:00:60Z", "2024-01-01T12:00:00.Z", "2024-01-01T12:00:00+2", "2024-01-01T12:00:00 UTC", "2024-01-01x12:00", "20240101000000", "abcd-ef-gh", "2024-01-01T12:00:00+24:00"} {
		if got, ok := ParseTime(in); ok {
			t.Errorf("%q: got %v, want none", in, got)
		}
	}
}

var genNumber = rapid.OneOf(
	rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?`),
	rapid.StringMatching(`-?[0-3](\.[0-2]0{0,2})?(e[0-2])?`))

// TestNumbersExact holds the comparison, its key and the integer test to math/big.
func TestNumbersExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genNumber.Draw(t, "a"), genNumber.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if got, ok := CompareValues(json.Number(a), json.Number(b)); !ok || got != x.Cmp(y) {
			t.Fatalf("%s ? %s: got %d, %v, want %d", a, b, got, ok, x.Cmp(y))
		}
		if got := numberKey(a) == numberKey(b); got != (x.Cmp(y) == 0) {
			t.Fatalf("keys %s and %s of %s and %s", numberKey(a), numberKey(b), a, b)
		}
		if k, ok := new(big.Rat).SetString(numberKey(a)); !ok || k.Cmp(x) != 0 {
			t.Fatalf("key %s of %s", numberKey(a), a)
		}
		if IsInteger(json.Number(a)) != x.IsInt() {
			t.Fatalf("IsInteger(%s) = %v", a, !x.IsInt())
		}
		cut := new(big.Int).Quo(x.Num(), x.Denom())
		v, err := templateInt(json.Number(a), nil)
		if got, ok := new(big.Int).SetString(string(v.(json.Number)), 10); err != nil || !ok || got.Cmp(cut) != 0 {
			t.Fatalf("int of %s: %v, %v", a, v, err)
		}
	})
}

var genScalar = rapid.OneOf(
	rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
	rapid.Map(rapid.IntRange(-2, 2), func(n int) any { return json.Number(big.NewInt(int64(n)).String()) }),
	rapid.Map(genNumber, func(s string) any { return json.Number(s) }),
	rapid.SampledFrom([]any{"a", "A", "b", "ab", "a b", "B A", "1", "1.0", "true", "FALSE", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "2024-01-02", "", "ß", "K", "k"}),
	rapid.Map(rapid.String(), func(s string) any { return strings.ToValidUTF8(s, "") }))

func genValue(depth int) *rapid.Generator[any] {
	if depth == 0 {
		return genScalar
	}
	inner := genValue(depth - 1)
	return rapid.OneOf(genScalar, genScalar,
		rapid.Map(rapid.SliceOfN(inner, 0, 3), func(l []any) any { return append([]any{}, l...) }),
		rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "lat", "lon"}), inner, 0, 3), func(m map[string]any) any { return m }))
}

func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(3).Draw(t, "v")
		text := EncodeValue(v)
		back, err := DecodeValue(text)
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("%s: %v, %v", text, back, err)
		}
		if !json.Valid(text) || !EqualValues(back, v) {
			t.Fatalf("%s is not valid or not equal", text)
		}
	})
}

// TestCompareIsAnOrder: antisymmetric, and transitive where all three compare.
func TestCompareIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genScalar.Draw(t, "a"), genScalar.Draw(t, "b"), genScalar.Draw(t, "c")
		ab, ok1 := CompareValues(a, b)
		ba, ok2 := CompareValues(b, a)
		if ok1 != ok2 || ok1 && ab != -ba {
			t.Fatalf("%v ? %v: %d, %v and %d, %v", a, b, ab, ok1, ba, ok2)
		}
		bc, ok3 := CompareValues(b, c)
		ac, ok4 := CompareValues(a, c)
		if ok1 && ok3 && (!ok4 || ab <= 0 && bc <= 0 && ac > 0) {
			t.Fatalf("%v, %v, %v: %d %d %d %v", a, b, c, ab, bc, ac, ok4)
		}
	})
}

// FuzzDecodeValue holds the decoder to encoding/json: what it accepts is the same
// value there, and what only it refuses is on its list.
func FuzzDecodeValue(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x\u00e9\ud83d\ude00",null,true]}`, `{"a":1,"a":2}`, "\"\xff\"", `"\ud800"`, `[[[[]]]]`, `-0.0`, `1e99999`, ` 1 `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := DecodeValue(raw)
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		var std any
		stdErr := d.Decode(&std)
		if err == nil {
			if !json.Valid(raw) || stdErr != nil || !reflect.DeepEqual(v, std) {
				t.Fatalf("%q: %#v, encoding/json %#v, %v", raw, v, std, stdErr)
			}
			text := EncodeValue(v)
			if back, err := DecodeValue(text); err != nil || !reflect.DeepEqual(back, v) {
				t.Fatalf("%q → %q: %v, %v", raw, text, back, err)
			}
			return
		}
		if CodeOf(err) != CodeBadRequest {
			t.Fatalf("%q: code of %v", raw, err)
		}
		if json.Valid(raw) {
			for _, reason := range []string{"UTF-8", "surrogate", "twice", "levels", "exponent", "are kept"} {
				if strings.Contains(err.Error(), reason) {
					return
				}
			}
			t.Fatalf("%q is valid JSON, refused with %v", raw, err)
		}
	})
}

func BenchmarkDecodeValue(b *testing.B) {
	raw := []byte(`{"brand":"Acme","price":49.90,"year":2024,"created":"2024-05-31T12:00:00Z","tags":["red","blue","green"],"metadata":{"category":"shoes","stock":12},"text":"The quick brown fox jumps over the lazy dog"}`)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeValue(raw); err != nil {
			b.Fatal(err)
		}
	}
}
