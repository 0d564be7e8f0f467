package domain

import (
	"encoding/json"
	"strings"
	"testing"
)

func mustFilter(t testing.TB, text string) *Filter {
	t.Helper()
	f, err := ParseFilter("filters", json.RawMessage(text))
	if err != nil {
		t.Fatalf("ParseFilter(%s): %v", text, err)
	}
	return f
}

func mustDoc(t testing.TB, text string) map[string]any {
	t.Helper()
	doc, err := DecodeObject([]byte(text))
	if err != nil {
		t.Fatalf("DecodeObject(%s): %v", text, err)
	}
	return doc
}

// TestFilterOperators is the language's meaning in examples: each line a
// condition's operator and value, and what field f of a document must hold.
func TestFilterOperators(t *testing.T) {
	const missing = "missing"
	paris, berlin := `{"lat":48.8566,"lon":2.3522}`, `{"lat":52.52,"lon":13.405}`
	square := `{"exterior":{"points":[{"lat":0,"lon":0},{"lat":0,"lon":10},{"lat":10,"lon":10},{"lat":10,"lon":0}]},"interiors":[[{"lat":4,"lon":4},{"lat":4,"lon":6},{"lat":6,"lon":6},{"lat":6,"lon":4}]]}`
	for _, c := range []struct {
		op, value string
		yes, no   []string
	}{
		{"eq", `"Red"`, []string{`"red"`, `"RED"`, `["blue","red"]`}, []string{`"reddish"`, `null`, `5`, `true`, `{}`, `[]`, `[["red"]]`, missing}},
		{"eq", `5`, []string{`5`, `5.0`, `0.5e1`, `"5"`, `"5.00"`, `[4,5]`}, []string{`6`, `"five"`, `"05"`, `" 5"`, `true`, `null`, missing}},
		{"eq", `"5"`, []string{`"5"`, `5`, `5.0`}, []string{`"5.0"`, `6`}},
		{"eq", `9007199254740993`, []string{`9007199254740993`, `"9007199254740993"`}, []string{`9007199254740992`, `9007199254740994`}},
		{"eq", `0.1`, []string{`0.1`, `0.10`, `1e-1`}, []string{`0.1000000000000000055511151231257827`}},
		{"eq", `true`, []string{`true`, `"true"`, `"TRUE"`, `[false,true]`}, []string{`false`, `1`, `"yes"`, missing}},
		{"eq", `"true"`, []string{`true`, `"True"`}, []string{`false`, `1`}},
		{"eq", `null`, []string{`null`, `[1,null]`}, []string{`0`, `""`, `false`, `[]`, `{}`, missing}},
		{"eq", `["a","b"]`, []string{`["a","B"]`, `[["a","b"]]`}, []string{`["b","a"]`, `["a"]`, `"a"`}},
		{"eq", `{"x":1}`, []string{`{"x":1.0}`, `[{"x":1}]`}, []string{`{"x":1,"y":2}`, `1`}},
		{"eq", `"2024-05-31T12:00:00Z"`, []string{`"2024-05-31T14:00:00+02:00"`, `"2024-05-31 12:00"`}, []string{`"2024-05-31"`, `"noon"`}},
		{"ne", `"red"`, []string{`"blue"`, `"5"`, `["blue","green"]`}, []string{`"RED"`, `["blue","red"]`, missing, `null`, `5`, `[]`, `{}`}},
		{"ne", `5`, []string{`6`, `"6"`, `["x",6]`}, []string{`5.0`, `"5"`, `"abc"`, `null`, `true`, missing}},
		{"ne", `null`, []string{`0`, `""`, `{}`, `[]`, `[1]`}, []string{`null`, `[1,null]`, missing}},
		{"ne", `true`, []string{`false`, `"false"`}, []string{`true`, `"true"`, `"maybe"`, `0`, missing}},
		{"ne", `"2024-05-31"`, []string{`"abc"`, `"2024-06-01"`}, []string{`"2024-05-31T00:00:00Z"`, missing}},
		{"gt", `5`, []string{`6`, `5.0000000000000000001`, `"5.5"`, `[1,6]`, `9e99`}, []string{`5`, `4`, `-9e99`, `"six"`, `null`, `true`, missing}},
		{"gt", `9007199254740992`, []string{`9007199254740993`}, []string{`9007199254740992`}},
		{"gte", `5`, []string{`5`, `"5"`}, []string{`4.9`, missing}},
		{"lt", `-1.5`, []string{`-2`, `-1.50001`, `-1e3`}, []string{`-1.5`, `0`, missing}},
		{"lte", `"b"`, []string{`"a"`, `"B"`, `"b"`, `""`}, []string{`"c"`, `"ba"`, `1`, `null`, missing}},
		{"lte", `"10"`, []string{`"10"`, `10`, `9`}, []string{`"9"`, `11`}},
		{"gt", `"2024-01-01"`, []string{`"2024-01-01T00:00:00.001Z"`, `"2024-01-01T00:30:00-01:00"`}, []string{`"2024-01-01"`, `"2023-12-31T23:59:59Z"`, `"zebra"`, `20240102`, missing}},
		{"in", `["a",5,true,null]`, []string{`"A"`, `5.0`, `"5"`, `true`, `"true"`, `null`, `["x","a"]`}, []string{`"b"`, `6`, `false`, missing}},
		{"in", `["5","2024-01-01"]`, []string{`5`, `"5"`, `"2024-01-01T00:00:00Z"`}, []string{`"5.0"`, `6`}},
		{"in", `[]`, nil, []string{`1`, `null`, `[]`, missing}},
		{"nin", `["a","b"]`, []string{`"c"`, `["c","d"]`}, []string{`"A"`, `["c","a"]`, `5`, `null`, `[]`, missing}},
		{"nin", `[1,2]`, []string{`3`, `"3"`}, []string{`1.0`, `"2"`, `"x"`, missing}},
		{"nin", `[]`, []string{`1`, `null`, `"x"`}, []string{missing}},
		{"contains", `"ed"`, []string{`"Reddish"`, `"RED"`, `["ed"]`}, []string{`["red"]`, `"rd"`, `null`, missing}},
		{"contains", `5`, []string{`"15 cm"`, `155`, `[4,5.0]`}, []string{`[55]`, `4`, missing}},
		{"contains", `{"x":1}`, []string{`[{"x":1}]`}, []string{`{"x":1}`, `"x"`}},
		{"starts_with", `"Re"`, []string{`"red"`, `["blue","rest"]`}, []string{`"are"`, `5`, `null`, missing}},
		{"starts_with", `"1"`, []string{`12`, `"1"`}, []string{`21`}},
		{"ends_with", `"ED"`, []string{`"red"`}, []string{`"reds"`, missing}},
		{"regex", `"^a.c$"`, []string{`"abc"`, `"ABC"`, `["x","axc"]`}, []string{`"abcd"`, `"a\nc"`, `null`, missing}},
		{"regex", `"b"`, []string{`"abc"`}, []string{`"acd"`}},
		{"regex", `"^\\d+$"`, []string{`123`, `"0"`}, []string{`1.5`}},
		{"exists", `true`, []string{`1`, `null`, `[]`, `""`, `{}`}, []string{missing}},
		{"exists", `false`, []string{missing}, []string{`1`, `null`, `[]`}},
		{"exists", `null`, []string{`1`}, []string{missing}},
		{"is_null", `true`, []string{`null`, `[1,null]`}, []string{`1`, `""`, `[]`, missing}},
		{"is_null", `"false"`, []string{`1`, `""`, `[]`}, []string{`null`, missing}},
		{"text", `"quick Fox"`, []string{`"The FOX is quick."`, `["x","quick fox"]`}, []string{`"the foxes are quick"`, `"quick"`, `["quick","fox"]`, missing}},
		{"words", `"quick fox"`, []string{`"a fox"`, `"Quick!"`}, []string{`"foxes"`, `""`, missing}},
		{"phrase", `"quick brown"`, []string{`"the Quick, Brown fox"`}, []string{`"brown quick"`, `"quick red brown"`, `"quickbrown"`, missing}},
		{"geo_radius", `{"center":` + paris + `,"radius":900000}`, []string{berlin, paris, `{"type":"Point","coordinates":[13.405,52.52]}`, `{"latitude":"48.8","longitude":2}`, `[` + berlin + `]`}, []string{`{"lat":-33.8,"lon":151.2}`, `[2.3,48.8]`, `{"lat":91,"lon":0}`, `"paris"`, missing}},
		{"geo_radius", `{"center":` + paris + `,"radius":877000}`, nil, []string{berlin}},
		{"geo_bounding_box", `{"top_left":{"lat":53,"lon":13},"bottom_right":{"lat":52,"lon":14}}`, []string{berlin, `{"lat":53,"lon":13}`}, []string{paris, missing}},
		{"geo_bounding_box", `{"top_left":{"lat":10,"lon":170},"bottom_right":{"lat":-10,"lon":-170}}`, []string{`{"lat":0,"lon":180}`, `{"lat":0,"lon":-175}`}, []string{`{"lat":0,"lon":0}`}},
		{"geo_polygon", square, []string{`{"lat":1,"lon":1}`, `{"lat":5,"lon":9}`}, []string{`{"lat":5,"lon":5}`, `{"lat":11,"lon":1}`, missing}},
	} {
		text := `{"field":"f","operator":"` + c.op + `","value":` + c.value + `}`
		f := mustFilter(t, text)
		for i, values := range [][]string{c.yes, c.no} {
			for _, v := range values {
				doc := map[string]any{}
				if v != missing {
					doc = mustDoc(t, `{"f":`+v+`}`)
				}
				if got, want := f.Match(doc), i == 0; got != want {
					t.Errorf("%s of f = %s: got %v, want %v", text, v, got, want)
				}
				nested := mustFilter(t, strings.Replace(text, `"f"`, `"o.f"`, 1))
				if got, want := nested.Match(map[string]any{"o": doc}), i == 0; got != want {
					t.Errorf("%s of o.f = %s: got %v, want %v", text, v, got, want)
				}
			}
		}
	}
}

func TestFilterCaseSensitive(t *testing.T) {
	for _, c := range []struct {
		filter, f string
		want      bool
	}{
		{`{"field":"f","value":"Red","case_sensitive":true}`, `"red"`, false},
		{`{"field":"f","value":"Red","case_sensitive":true}`, `"Red"`, true},
		{`{"AND":[{"field":"f","value":"Red","case_sensitive":false}],"case_sensitive":true}`, `"red"`, false},
		{`{"case_sensitive":true,"NOT":[{"OR":[{"f":"Red"}]}]}`, `"red"`, true},
		{`{"case_sensitive":true,"f":"Red"}`, `"red"`, false},
		{`{"field":"f","operator":"regex","value":"^R","case_sensitive":true}`, `"red"`, false},
		{`{"field":"f","operator":"contains","value":"ED","case_sensitive":true}`, `"red"`, false},
		{`{"field":"f","operator":"text","value":"Red","case_sensitive":true}`, `"red car"`, false},
		{`{"field":"f","operator":"in","value":["Red"],"case_sensitive":true}`, `"red"`, false},
		{`{"field":"f","operator":"eq","value":["Red"],"case_sensitive":true}`, `["red"]`, false},
		{`{"field":"f","operator":"lt","value":"a","case_sensitive":true}`, `"B"`, true},
		{`{"field":"f","operator":"lt","value":"a"}`, `"B"`, false},
		{`{"field":"f","value":"STRASSE"}`, `"straße"`, false},
		{`{"field":"f","value":"ÄΣ"}`, `"äς"`, true},
		{`{"field":"f","operator":"contains","value":"ÄΣ"}`, `"xäςx"`, true},
		{`{"field":"f","operator":"in","value":["kelvin"]}`, `"\u212Aelvin"`, true},
	} {
		if got := mustFilter(t, c.filter).Match(mustDoc(t, `{"f":`+c.f+`}`)); got != c.want {
			t.Errorf("%s of %s: got %v", c.filter, c.f, got)
		}
	}
}

func TestFilterLogicAndPaths(t *testing.T) {
	doc := `{"a":1,"b":"x","metadata":{"tags":["red","blue"],"n":{"deep":true}},"items":[{"sku":"A1","qty":2},{"sku":"B2","qty":0,"opts":[{"k":"v"}]}],"a.b":"dot","list":[[1,2],[3]]}`
	for _, c := range []struct {
		filter string
		want   bool
	}{
		{`null`, true},
		{`{"a":1}`, true},
		{`{"a":1,"b":"y"}`, false},
		{`{"AND":[{"a":1},{"b":"x"}]}`, true},
		{`{"AND":[{"a":1},{"b":"y"}]}`, false},
		{`{"OR":[{"a":2},{"b":"x"}]}`, true},
		{`{"OR":[{"a":2},{"b":"y"}]}`, false},
		{`{"NOT":[{"a":2},{"b":"y"}]}`, true},
		{`{"NOT":[{"a":2},{"b":"x"}]}`, false},
		{`{"NOT":{"a":1}}`, false},
		{`{"NOT":{"zzz":1}}`, true},
		{`{"AND":[{"a":1}],"OR":[{"b":"y"},{"b":"x"}],"NOT":[{"a":2}]}`, true},
		{`{"AND":[{"a":1}],"OR":[{"b":"y"}]}`, false},
		{`{"AND":[{"a":1}],"b":"y"}`, false},
		{`{"AND":null,"OR":null,"NOT":[{"a":2}],"case_sensitive":false}`, true},
		{`{"case_sensitive":false,"field":"a","operator":"eq","value":1}`, true},
		{`{"metadata.tags":"red"}`, true},
		{`{"metadata.n.deep":true}`, true},
		{`{"metadata.n.deep.more":true}`, false},
		{`{"items.sku":"b2"}`, true},
		{`{"items[].sku":"b2"}`, true},
		{`{"items[0].sku":"b2"}`, false},
		{`{"items[1].sku":"b2"}`, true},
		{`{"items.1.sku":"b2"}`, true},
		{`{"items[7].sku":"b2"}`, false},
		{`{"items.opts.k":"v"}`, true},
		{`{"field":"items.qty","operator":"ne","value":2}`, false},
		{`{"field":"items.qty","operator":"gt","value":1}`, true},
		{`{"field":"items.opts","operator":"exists","value":true}`, true},
		{`{"field":"items.nothing","operator":"exists","value":false}`, true},
		{`{"\"a.b\"":"dot"}`, true},
		{`{"a.b":"dot"}`, false},
		{`{"list":[1,2]}`, true},
		{`{"list":1}`, false},
		{`{"list[0]":1}`, true},
		{`{"list[0][1]":2}`, true},
	} {
		f := mustFilter(t, c.filter)
		if got := f.Match(mustDoc(t, doc)); got != c.want {
			t.Errorf("%s: got %v", c.filter, got)
		}
	}
}

// TestFilterRefused holds what must never be read as "matches everything" or
// silently as something else, and that the error says where and what is right.
func TestFilterRefused(t *testing.T) {
	for _, c := range []struct{ filter, path, says string }{
		{`{}`, "filters", "empty"},
		{`{"case_sensitive":false}`, "filters", "empty"},
		{`{"AND":[]}`, "filters.AND", "empty"},
		{`{"AND":[null]}`, "filters.AND[0]", "null"},
		{`{"AND":[{"a":1},{}]}`, "filters.AND[1]", "empty"},
		{`{"AND":[{"OR":[]}]}`, "filters.AND[0].OR", "empty"},
		{`{"NOT":[]}`, "filters.NOT", "empty"},
		{`{"AND":null}`, "filters", "empty"},
		{`{"AND":"x"}`, "filters.AND", "list"},
		{`[]`, "filters", "an object"},
		{`"x"`, "filters", "an object"},
		{`{"and":[{"a":1}]}`, "filters.and", "AND"},
		{`{"$and":[{"a":1}]}`, "filters.$and", "AND, OR, NOT"},
		{`{"price":{"$gte":5}}`, "filters.price", `"operator": "gte"`},
		{`{"price":{"gte":5,"lt":9}}`, "filters.price", `"operator": "gte"`},
		{`{"field":"a","operator":"equals","value":1}`, "filters.operator", "geo_polygon"},
		{`{"field":"a","operator":5,"value":1}`, "filters.operator", "allowed are eq"},
		{`{"field":"a","op":"eq","value":1}`, "filters.op", "operator"},
		{`{"field":"a","value":1,"AND":[{"b":1}]}`, "filters.AND", "no \"AND\""},
		{`{"field":"a","operator":"eq"}`, "filters.value", "needs a value"},
		{`{"field":5,"value":1}`, "filters.field", "path"},
		{`{"field":"","value":1}`, "filters.field", "empty"},
		{`{"field":"a..b","value":1}`, "filters.field", "empty step"},
		{`{"field":"a[x]","value":1}`, "filters.field", "[x]"},
		{`{"field":"a","operator":"regex","value":"("}`, "filters.value", "RE2"},
		{`{"field":"a","operator":"regex","value":"a)(b"}`, "filters.value", "RE2"},
		{`{"field":"a","operator":"regex","value":"(?=x)"}`, "filters.value", "look-around"},
		{`{"field":"a","operator":"regex","value":"` + strings.Repeat("a", 1001) + `"}`, "filters.value", "1000"},
		{`{"field":"a","operator":"regex","value":"((\\pL\\d){50}x){20}(ab){900}(ab){900}(ab){900}"}`, "filters.value", "repeats too much"},
		{`{"field":"a","operator":"regex","value":"(a{500}){500}"}`, "filters.value", "RE2"},
		{`{"field":"a","operator":"regex","value":["x"]}`, "filters.value", "a string"},
		{`{"field":"a","operator":"in","value":"x"}`, "filters.value", "list"},
		{`{"field":"a","operator":"gt","value":null}`, "filters.value", "number"},
		{`{"field":"a","operator":"lt","value":[1]}`, "filters.value", "number"},
		{`{"field":"a","operator":"contains","value":["x"]}`, "filters.value", "use in"},
		{`{"field":"a","operator":"text","value":"!!"}`, "filters.value", "letter"},
		{`{"field":"a","operator":"exists","value":1}`, "filters.value", "true or false"},
		{`{"field":"a","operator":"geo_radius","value":{"center":{"lat":1},"radius":1}}`, "filters.value.center", "lat"},
		{`{"field":"a","operator":"geo_radius","value":{"center":{"lat":1,"lon":1}}}`, "filters.value.radius", "metres"},
		{`{"field":"a","operator":"geo_polygon","value":{"exterior":[{"lat":1,"lon":1}]}}`, "filters.value.exterior", "three"},
		{`{"AND":[{"a":1}],"AND":[{"b":1}]}`, "filters", "twice"},
		{`{"a":NaN}`, "filters", "NaN"},
		{`{"a":"{{nothing.x}}"}`, "filters.value", "INPUT, DOC, STAGE, CONTEXT"},
		{`{"a":"{{secrets.x}}"}`, "filters.value", "secrets"},
		{`{"a":{"type":"dynamic","field":"brand"}}`, "filters.value.field", "INPUT.brand"},
		{strings.Repeat(`{"NOT":[`, 26) + `{"a":1}` + strings.Repeat(`]}`, 26), "filters" + strings.Repeat(".NOT[0]", 25), "deeper"},
		{`{"OR":[` + strings.Repeat(`{"a":1},`, 1000) + `{"a":1}]}`, "filters.OR[1000]", "1000"},
	} {
		f, err := ParseFilter("filters", json.RawMessage(c.filter))
		if err == nil {
			t.Errorf("%.80s: read as %s, want an error", c.filter, f)
			continue
		}
		e, ok := err.(*Error)
		if !ok || e.Code != CodeInvalid || len(e.Violations) == 0 {
			t.Errorf("%.80s: %T %v is no CodeInvalid with a violation", c.filter, err, err)
			continue
		}
		if v := e.Violations[0]; v.Path != c.path || !strings.Contains(v.Message, c.says) {
			t.Errorf("%.80s: got %q: %q, want path %q and a message with %q", c.filter, v.Path, v.Message, c.path, c.says)
		}
	}
	for _, text := range []string{``, `null`, ` null `} {
		if f, err := ParseFilter("filters", json.RawMessage(text)); f != nil || err != nil {
			t.Errorf("%q: got %v, %v, want no filter", text, f, err)
		}
	}
}

func TestFilterMadeByHand(t *testing.T) {
	doc := map[string]any{"a": "X", "n": 3, "score": 0.5}
	f := &Filter{And: []*Filter{{Condition: &Condition{Field: "a", Op: OpEq, Value: "x"}}, {Condition: &Condition{Field: "n", Op: OpGte, Value: 3}}}}
	if !f.Match(doc) {
		t.Error("conditions that were not compiled must work")
	}
	if (&Filter{}).Match(doc) || (&Filter{Condition: &Condition{Field: "", Op: OpEq}}).Match(doc) || (&Filter{Not: []*Filter{{}}}).Match(nil) == false {
		t.Error("an empty filter matches nothing")
	}
	if _, err := Where("a", "like", "x"); CodeOf(err) != CodeInvalid {
		t.Errorf("Where with an unknown operator: %v", err)
	}
	score, err := Where("score", OpGt, 0.4)
	if err != nil || !score.Match(doc) {
		t.Errorf("Where with Go numbers: %v", err)
	}
	if AllOf(nil, nil) != nil || AllOf(nil, score) != score || AnyOf(score, nil) != nil || AnyOf(score) != score {
		t.Error("AllOf and AnyOf must treat nil as no filter")
	}
	if !AllOf(score, f).Match(doc) || !AnyOf(NoneOf(score), f).Match(doc) || NoneOf(score, f).Match(doc) {
		t.Error("AllOf, AnyOf, NoneOf")
	}
}

// TestFilterPending: what is not resolved matches nothing, wherever it stands.
func TestFilterPending(t *testing.T) {
	doc := mustDoc(t, `{"a":1}`)
	for _, in := range []string{
		`{"a":"{{INPUT.x}}"}`, `{"NOT":[{"a":"{{INPUT.x}}"}]}`, `{"NOT":[{"AND":[{"a":2},{"a":"{{INPUT.x}}"}]}]}`, `{"NOT":[{"NOT":[{"a":{"type":"dynamic","field":"inputs.x"}}]}]}`,
		`{"AND":[{"a":1},{"NOT":{"b":["{{INPUT.x}}"]}}]}`, `{"field":"b","operator":"exists","value":"{{INPUT.x}}"}`,
	} {
		f := mustFilter(t, in)
		if ok, why := f.MatchExplain(doc); !f.Pending() || ok || why == nil {
			t.Errorf("%s: pending %v, matches %v, %v", in, f.Pending(), ok, why)
		}
	}
	f, err := ParseLiteralFilter("f", json.RawMessage(`{"a":"{{INPUT.x}}","b":"{{"}`))
	if err != nil || f.Pending() || !f.Match(map[string]any{"a": "{{input.X}}", "b": "{{"}) {
		t.Errorf("literal: %v, %v", f, err)
	}
}

func TestMatchExplain(t *testing.T) {
	doc := mustDoc(t, `{"a":1,"b":"x","tags":["red"],"items":[{"q":1},{"q":2}]}`)
	for _, c := range []struct{ filter, want string }{
		{`{"AND":[{"a":1},{"b":"y"},{"a":2}]}`, `b eq "y": found "x"`},
		{`{"OR":[{"a":2},{"b":"y"}]}`, `a eq 2: found 1`},
		{`{"NOT":[{"a":2},{"b":"X"}]}`, `not b eq "X": found "x"`},
		{`{"NOT":[{"AND":[{"a":1},{"NOT":[{"b":"y"}]}]}]}`, `not a eq 1: found 1`},
		{`{"NOT":[{"NOT":[{"b":"y"}]}]}`, `b eq "y": found "x"`},
		{`{"AND":[{"zzz":1}]}`, `zzz eq 1: the field is missing`},
		{`{"field":"items.q","operator":"gt","value":5}`, `items.q gt 5: found [1,2]`},
	} {
		ok, why := mustFilter(t, c.filter).MatchExplain(doc)
		if ok || why == nil || why.String() != c.want {
			t.Errorf("%s: got %v, %v, want %q", c.filter, ok, why, c.want)
		}
	}
}

func TestFilterCanonical(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"b":1,"a":"x"}`, `{"AND":[{"field":"a","operator":"eq","value":"x"},{"field":"b","operator":"eq","value":1}]}`},
		{`{"field":"a","value":1.50,"case_sensitive":false}`, `{"field":"a","operator":"eq","value":1.50}`},
		{`{"NOT":{"a":1},"case_sensitive":true}`, `{"NOT":[{"case_sensitive":true,"field":"a","operator":"eq","value":1}]}`},
		{`{"a":{"type":"dynamic","field":"inputs.x"}}`, `{"field":"a","operator":"eq","value":{"field":"inputs.x","type":"dynamic"}}`},
		{`{"OR":[{"a":1}],"AND":[{"b":2},{"c":3}]}`, `{"AND":[{"AND":[{"field":"b","operator":"eq","value":2},{"field":"c","operator":"eq","value":3}]},{"OR":[{"field":"a","operator":"eq","value":1}]}]}`},
	} {
		f := mustFilter(t, c.in)
		got, err := json.Marshal(f)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.in, got, err, c.want)
		}
		var back Filter
		if err := json.Unmarshal(got, &back); err != nil || back.String() != c.want {
			t.Errorf("%s read back: %s, %v", c.want, back.String(), err)
		}
	}
	if got := mustFilter(t, `{"OR":[{"b.c":1},{"a":1},{"NOT":[{"a":2}]}]}`).Fields(); strings.Join(got, " ") != "a b.c" {
		t.Errorf("Fields: %v", got)
	}
	holder := struct {
		F *Filter `json:"f"`
	}{}
	if err := json.Unmarshal([]byte(`{"f":null}`), &holder); err != nil || holder.F != nil {
		t.Errorf("null into a struct: %v, %v", holder.F, err)
	}
}
