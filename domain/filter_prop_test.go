package domain

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

var genField = rapid.SampledFrom([]string{"a", "b", "c", "a.b", "a.c", "b[0]", "missing"})

func genDoc(t *rapid.T) map[string]any {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), genValue(2), 0, 3).Draw(t, "doc")
}

func genCondition(t *rapid.T) *Filter {
	for {
		op := rapid.SampledFrom(FilterOps).Draw(t, "op")
		var v any
		switch op {
		case OpIn, OpNin:
			v = append([]any{}, rapid.SliceOfN(genValue(1), 0, 4).Draw(t, "list")...)
		case OpRegex:
			v = rapid.SampledFrom([]any{"a", "^a", "b$", "[0-9]+", "."}).Draw(t, "pattern")
		case OpExists, OpIsNull:
			v = rapid.Bool().Draw(t, "flag")
		case OpGeoRadius:
			v = map[string]any{"center": map[string]any{"lat": json.Number("1"), "lon": json.Number("1")}, "radius": json.Number("200000")}
		case OpGeoBoundingBox:
			v = map[string]any{"top_left": map[string]any{"lat": json.Number("2"), "lon": json.Number("-2")}, "bottom_right": map[string]any{"lat": json.Number("-2"), "lon": json.Number("2")}}
		case OpGeoPolygon:
			p := func(a, b string) any { return map[string]any{"lat": json.Number(a), "lon": json.Number(b)} }
			v = map[string]any{"exterior": []any{p("-3", "-3"), p("-3", "3"), p("3", "0")}}
		default:
			v = genValue(1).Draw(t, "value")
		}
		f, err := Where(genField.Draw(t, "field"), op, v)
		if err != nil {
			continue // a value that the operator does not take
		}
		f.Condition.CaseSensitive = rapid.Bool().Draw(t, "case")
		if err := f.Condition.compile("f"); err != nil {
			t.Fatal(err)
		}
		return f
	}
}

func genFilter(t *rapid.T, depth int) *Filter {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 || kind > 2 {
		return genCondition(t)
	}
	list := make([]*Filter, rapid.IntRange(1, 3).Draw(t, "n"))
	for i := range list {
		list[i] = genFilter(t, depth-1)
	}
	switch kind {
	case 0:
		return &Filter{And: list}
	case 1:
		return &Filter{Or: list}
	}
	return &Filter{Not: list}
}

// TestFilterLaws: the logic is two-valued, so De Morgan holds whatever is missing.
func TestFilterLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, g, doc := genFilter(t, 2), genFilter(t, 2), genDoc(t)
		x, y := f.Match(doc), g.Match(doc)
		for _, law := range []struct {
			name string
			f    *Filter
			want bool
		}{
			{"and", &Filter{And: []*Filter{f, g}}, x && y},
			{"or", &Filter{Or: []*Filter{f, g}}, x || y},
			{"not", &Filter{Not: []*Filter{f, g}}, !x && !y},
			{"not not", NoneOf(NoneOf(f)), x},
			{"not and", NoneOf(&Filter{And: []*Filter{f, g}}), !x || !y},
			{"or of nots", AnyOf(NoneOf(f), NoneOf(g)), !x || !y},
			{"not or", NoneOf(&Filter{Or: []*Filter{f, g}}), !x && !y},
			{"and of nots", AllOf(NoneOf(f), NoneOf(g)), !x && !y},
			{"several members", &Filter{And: []*Filter{f}, Or: []*Filter{g}}, x && y},
		} {
			if law.f.Match(doc) != law.want {
				t.Fatalf("%s: %v and %v of %v", law.name, f, g, doc)
			}
		}
	})
}

// TestConditionLaws: what operators say of each other.
func TestConditionLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, field := genDoc(t), genField.Draw(t, "field")
		fold := rapid.Bool().Draw(t, "fold")
		match := func(op FilterOp, v any) bool {
			c := &Condition{Field: field, Op: op, Value: v, CaseSensitive: !fold}
			if err := c.compile("f"); err != nil {
				t.Fatal(err)
			}
			return c.holds(doc)
		}
		v, w := genValue(1).Draw(t, "v"), genValue(1).Draw(t, "w")
		exists := match(OpExists, true)
		if match(OpExists, false) == exists {
			t.Fatal("exists: false is not the opposite of exists: true")
		}
		eq, ne := match(OpEq, v), match(OpNe, v)
		if eq && ne || (eq || ne) && !exists {
			t.Fatalf("eq %v, ne %v, exists %v", eq, ne, exists)
		}
		if match(OpIn, []any{v}) != eq || match(OpNin, []any{v}) != ne {
			t.Fatalf("in and nin of one value are eq and ne: %v", v)
		}
		eqW := match(OpEq, w)
		if in := match(OpIn, []any{v, w}); in != (eq || eqW) {
			t.Fatalf("in [%v, %v] = %v, eq %v, %v", v, w, in, eq, eqW)
		}
		neW := match(OpNe, w)
		if nin := match(OpNin, []any{v, w}); nin != ((ne || neW) && !eq && !eqW) {
			t.Fatalf("nin [%v, %v] = %v, ne %v %v, eq %v %v", v, w, nin, ne, neW, eq, eqW)
		}
		if match(OpIsNull, true) && match(OpIsNull, false) || (match(OpIsNull, true) || match(OpIsNull, false)) != exists {
			t.Fatal("is_null must split what exists")
		}
		if match(OpEq, nil) != match(OpIsNull, true) {
			t.Fatal("eq null is is_null")
		}
		found, ok := Lookup(doc, field)
		if _, isList := found.([]any); isList || !ok {
			return
		}
		// A single value that has an order with v is less, equal or more, exactly one.
		switch v.(type) {
		case string, json.Number:
			lt, gt, le, ge := match(OpLt, v), match(OpGt, v), match(OpLte, v), match(OpGte, v)
			if lt && gt || le != (lt || le && ge) || ge != (gt || le && ge) || (le && ge) != (eq && (le || ge)) {
				t.Fatalf("%v against %v: lt %v gt %v le %v ge %v eq %v", found, v, lt, gt, le, ge, eq)
			}
		}
		if s, ok := v.(string); ok {
			if x, ok := found.(string); ok && fold && len(x) > 0 {
				if match(OpStartsWith, s) && !match(OpContains, s) || match(OpEndsWith, s) && !match(OpContains, s) {
					t.Fatalf("%q starts or ends with %q and does not contain it", x, s)
				}
			}
			if toks := filterTokens(s); len(toks) > 0 {
				if match(OpPhrase, s) && !match(OpText, s) || match(OpText, s) && !match(OpWords, s) {
					t.Fatalf("phrase ⇒ text ⇒ words: %v, %q", found, s)
				}
			}
		}
	})
}

func TestFilterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFilter(t, 3)
		text := f.String()
		back, err := ParseLiteralFilter("f", json.RawMessage(text))
		if err != nil || back.String() != text {
			t.Fatalf("%s read back: %v, %v", text, back, err)
		}
		doc := genDoc(t)
		if back.Match(doc) != f.Match(doc) {
			t.Fatalf("%s and its copy differ on %v", text, doc)
		}
		if !reflect.DeepEqual(back.Fields(), f.Fields()) {
			t.Fatalf("%s: fields %v and %v", text, f.Fields(), back.Fields())
		}
	})
}

// TestExplainAgrees: MatchExplain says what Match says, and its condition really
// is not as it should be.
func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, doc := genFilter(t, 3), genDoc(t)
		ok, why := f.MatchExplain(doc)
		if ok != f.Match(doc) || ok != (why == nil) {
			t.Fatalf("%v of %v: %v, %v", f, doc, ok, why)
		}
		if ok {
			return
		}
		found := false
		f.Conditions(func(c *Condition) {
			found = found || c.Field == why.Field && c.Op == why.Op && EqualValues(c.Value, why.Value) && c.holds(doc) == why.Negated
		})
		if !found {
			t.Fatalf("%v of %v: no such condition: %v", f, doc, why)
		}
	})
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{
		`{"AND":[{"field":"a","operator":"gte","value":5},{"NOT":{"b":"x"}}]}`, `{"AND":[null]}`, `{}`, `{"a":{"type":"dynamic","field":"inputs.x"}}`,
		`{"field":"a.b[0].\"c.d\"","operator":"regex","value":"^(a|b)+$"}`, `{"field":"g","operator":"geo_polygon","value":{"exterior":[{"lat":0,"lon":0},{"lat":1,"lon":0},{"lat":0,"lon":1}]}}`,
		`{"a":"{{INPUT.x | default('y')}}"}`, `{"field":"a","operator":"phrase","value":"quick fox"}`,
	} {
		f.Add([]byte(s), []byte(`{"a":5,"b":"x","g":{"lat":0.1,"lon":0.1}}`))
	}
	f.Fuzz(func(t *testing.T, raw, docText []byte) {
		g, err := ParseFilter("filters", raw)
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if g == nil {
			return
		}
		text := g.String()
		back, err := ParseFilter("filters", json.RawMessage(text))
		if err != nil || back.String() != text {
			t.Fatalf("%q → %s: %v, %v", raw, text, back, err)
		}
		doc, err := DecodeObject(docText)
		if err != nil {
			return
		}
		ok := g.Match(doc)
		explained, why := g.MatchExplain(doc)
		if ok != explained || ok != (why == nil) || back.Match(doc) != ok {
			t.Fatalf("%s of %s: %v, %v, %v", text, docText, ok, explained, why)
		}
		if why != nil {
			_ = why.String()
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	doc := mustDoc(b, `{"brand":"Acme","price":49.90,"year":2024,"created":"2024-05-31T12:00:00Z","tags":["red","blue","green"],"metadata":{"category":"shoes","stock":12},"text":"The quick brown fox jumps over the lazy dog"}`)
	for _, c := range []struct{ name, filter string }{
		{"eq-string", `{"brand":"acme"}`},
		{"eq-number", `{"year":2024}`},
		{"gte-decimal", `{"field":"price","operator":"gte","value":20.5}`},
		{"path", `{"metadata.category":"shoes"}`},
		{"time", `{"field":"created","operator":"gt","value":"2024-01-01"}`},
		{"array", `{"tags":"green"}`},
		{"in-1000", `{"field":"brand","operator":"in","value":` + thousand() + `}`},
		{"regex", `{"field":"text","operator":"regex","value":"fox"}`},
		{"text", `{"field":"text","operator":"text","value":"lazy dog"}`},
		{"and-4", `{"AND":[{"brand":"acme"},{"year":2024},{"field":"price","operator":"lt","value":100},{"NOT":{"metadata.category":"hats"}}]}`},
	} {
		f := mustFilter(b, c.filter)
		if !f.Match(doc) {
			b.Fatalf("%s does not match", c.name)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(doc)
			}
		})
	}
}

func thousand() string {
	list := make([]any, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("brand-%d", i)
	}
	return string(EncodeValue(append(list, "ACME")))
}
