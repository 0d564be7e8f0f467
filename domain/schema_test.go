package domain

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func violations(found []Violation) string {
	var parts []string
	for _, v := range found {
		parts = append(parts, v.Path+":"+v.Type)
	}
	return strings.Join(parts, " ")
}

func mustSchema(t testing.TB, properties string) *BucketSchema {
	t.Helper()
	s, err := ParseBucketSchema("bucket_schema", json.RawMessage(`{"properties":`+properties+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBucketSchemaTypes(t *testing.T) {
	for _, c := range []struct {
		kind    string
		yes, no []string
	}{
		{"string", []string{`"x"`, `""`}, []string{`1`, `true`, `[]`, `{}`}},
		{"number", []string{`1`, `1.5`, `1e400`}, []string{`"1"`, `true`}},
		{"float", []string{`1`, `1.5`}, []string{`"1"`}},
		{"integer", []string{`1`, `5.0`, `5e3`, `-0`, `123456789012345678901234567890`}, []string{`1.5`, `"1"`, `5e-1`, `true`}},
		{"boolean", []string{`true`, `false`}, []string{`"true"`, `0`}},
		{"object", []string{`{}`, `{"a":1}`}, []string{`[]`, `"x"`}},
		{"array", []string{`[]`, `[1,"x"]`}, []string{`{}`, `"x"`}},
		{"date", []string{`"2024-05-31"`}, []string{`"2024-05-32"`, `"2024-05-31T00:00:00Z"`, `20240531`, `"soon"`}},
		{"datetime", []string{`"2024-05-31T12:00:00Z"`, `"2024-05-31"`, `"2024-05-31 12:00"`}, []string{`"noon"`, `0`}},
		{"text", []string{`"x"`, `""`, `{"url":"s3://b/k"}`}, []string{`1`, `{}`, `[]`}},
		{"image", []string{`"https://x/y.png"`, `{"base64":"AA=="}`}, []string{`""`, `1`, `{}`}},
		{"audio", []string{`"x"`}, []string{`true`}}, {"video", []string{`"x"`}, []string{`[]`}}, {"pdf", []string{`"x"`}, []string{`1`}}, {"excel", []string{`"x"`}, []string{`1`}},
	} {
		s := mustSchema(t, `{"f":{"type":"`+c.kind+`"}}`)
		for i, values := range [][]string{c.yes, c.no, {`null`}} {
			for _, v := range values {
				got := violations(s.Check("p", mustDoc(t, `{"f":`+v+`,"unknown":1}`)))
				if want := map[bool]string{true: "p.f:type", false: ""}[i == 1]; got != want {
					t.Errorf("%s as %s: got %q, want %q", v, c.kind, got, want)
				}
			}
		}
		blob := s.Check("", map[string]any{"f": BlobValue})
		if want := FieldType(c.kind).IsBlob() || c.kind == "string" || c.kind == "object" || c.kind == "array"; (len(blob) == 0) != want {
			t.Errorf("a blob as %s: %v", c.kind, blob)
		}
	}
}

func TestBucketSchemaCheck(t *testing.T) {
	s := mustSchema(t, `{"sku":{"type":"string","required":true},"size":{"type":"string","enum":["S","M"]},"n":{"type":"integer","required":true,"default":3,"enum":[3,4]},
		"tags":{"type":"array","items":{"type":"string"}},"dim":{"type":"object","properties":{"w":{"type":"number","required":true},"u":{"type":"string","default":"cm"}}}}`)
	for _, c := range []struct{ doc, want string }{
		{`{"sku":"a"}`, ""}, {`{}`, "p.sku:missing"}, {`{"sku":null}`, "p.sku:missing"}, {`{"sku":"a","size":"XL","n":5}`, "p.n:enum p.size:enum"}, {`{"sku":"a","n":3.0}`, ""},
		{`{"sku":"a","tags":["x",1,null]}`, "p.tags[1]:type p.tags[2]:type"}, {`{"sku":"a","dim":{}}`, "p.dim.w:missing"}, {`{"sku":"a","dim":{"w":"1","u":2}}`, "p.dim.u:type p.dim.w:type"},
	} {
		if got := violations(s.Check("p", mustDoc(t, c.doc))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.doc, got, c.want)
		}
	}
	doc := mustDoc(t, `{"sku":"a","dim":{"w":1},"n":null}`)
	if got := string(EncodeValue(s.ApplyDefaults(doc))); got != `{"dim":{"u":"cm","w":1},"n":3,"sku":"a"}` || doc["n"] != nil {
		t.Errorf("defaults: %s, given %v", got, doc)
	}
	if v := s.Check("p", mustDoc(t, `{"sku":5}`))[0]; v.Message != "must be a string, not 5" {
		t.Errorf("message: %q", v.Message)
	}
	if !s.Has("sku") || s.Has("x") || s.Names() != "dim, n, size, sku, tags" {
		t.Errorf("Has, Names: %s", s.Names())
	}
	var none *BucketSchema
	if none.Has("x") || none.Check("p", nil) != nil || none.Names() != "" {
		t.Error("a nil schema has nothing to say")
	}
}

func TestBucketSchemaRefused(t *testing.T) {
	for _, c := range []struct{ in, want, says string }{
		{`[]`, "s:type", "object"}, {`{}`, "s.properties:missing", "required"}, {`{"properties":[]}`, "s.properties:type", "map"},
		{`{"properties":{"a":{},"b":"string","c":{"type":"strin"},"d":{"type":"document_reference"}}}`, "s.properties.a.type:enum s.properties.b:type s.properties.c.type:enum s.properties.d.type:enum", "allowed are string, number"},
		{`{"properties":{"a":{"type":"string","required":"yes","enum":[],"default":5,"description":1}}}`, "s.properties.a.description:type s.properties.a.enum:missing s.properties.a.required:type s.properties.a.default:type", ""},
		{`{"properties":{"a":{"type":"string","items":{"type":"string"}},"b":{"type":"array","properties":{}}}}`, "s.properties.a.items:type s.properties.b.properties:type", "array"},
		{`{"properties":{"_internal":{"type":"string"}}}`, "s.properties._internal:pattern", "system"}, {`{"properties":{"":{"type":"string"}}}`, "s.properties.:range", "bytes"},
		{`{"properties":{"a":` + strings.Repeat(`{"type":"array","items":`, 16) + `{"type":"string"}` + strings.Repeat(`}`, 17) + `}`, "s.properties.a" + strings.Repeat(".items", 16) + ":range", "deeper"},
	} {
		_, err := ParseBucketSchema("s", json.RawMessage(c.in))
		e, ok := err.(*Error)
		if !ok || e.Code != CodeInvalid || !strings.Contains(e.Message, c.says) {
			t.Errorf("%.80s: %v, want a message with %q", c.in, err, c.says)
			continue
		}
		got := violations(e.Violations)
		if got != c.want {
			t.Errorf("%.80s: got %q, want %q", c.in, got, c.want)
		}
	}
	if s, err := ParseBucketSchema("s", json.RawMessage(`null`)); s != nil || err != nil {
		t.Errorf("null: %v, %v", s, err)
	}
}

func TestSchemaCanonical(t *testing.T) {
	in := `{"properties":{"a":{"type":"array","items":{"type":"object","properties":{"x":{"type":"integer","default":1.0,"enum":[1,2]}}},"description":"d","examples":[1],"required":true,"x-own":{"k":1}}},"x-top":true}`
	s, err := ParseBucketSchema("s", json.RawMessage(in))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := DecodeValue([]byte(in))
	got, _ := json.Marshal(s)
	if string(got) != string(EncodeValue(want)) {
		t.Errorf("got %s, want %s", got, EncodeValue(want))
	}
	var back BucketSchema
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(&back, s) {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

func TestBreakingChanges(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`{"a":{"type":"string"}}`, `{"a":{"type":"string","description":"x"},"b":{"type":"integer"}}`, ""},
		{`{"a":{"type":"string"}}`, `{}`, "a:removed"}, {`{"a":{"type":"string"}}`, `{"a":{"type":"text"}}`, "a.type:type"},
		{`{"a":{"type":"integer"}}`, `{"a":{"type":"number"}}`, ""}, {`{"a":{"type":"number"}}`, `{"a":{"type":"float"}}`, ""}, {`{"a":{"type":"number"}}`, `{"a":{"type":"integer"}}`, "a.type:type"}, {`{"a":{"type":"date"}}`, `{"a":{"type":"datetime"}}`, ""},
		{`{}`, `{"a":{"type":"string","required":true}}`, "a:required"}, {`{}`, `{"a":{"type":"string","required":true,"default":"x"}}`, ""},
		{`{"a":{"type":"string"}}`, `{"a":{"type":"string","required":true}}`, "a.required:required"}, {`{"a":{"type":"string","required":true}}`, `{"a":{"type":"string"}}`, ""}, {`{"a":{"type":"string","required":true,"default":"x"}}`, `{"a":{"type":"string","required":true}}`, "a.required:required"},
		{`{"a":{"type":"string"}}`, `{"a":{"type":"string","enum":["x"]}}`, "a.enum:enum"}, {`{"a":{"type":"string","enum":["x","y"]}}`, `{"a":{"type":"string","enum":["x","z"]}}`, "a.enum:enum"}, {`{"a":{"type":"string","enum":["x"]}}`, `{"a":{"type":"string","enum":["x","z"]}}`, ""}, {`{"a":{"type":"string","enum":["x"]}}`, `{"a":{"type":"string"}}`, ""},
		{`{"a":{"type":"array"}}`, `{"a":{"type":"array","items":{"type":"string"}}}`, "a.items:type"}, {`{"a":{"type":"array","items":{"type":"integer"}}}`, `{"a":{"type":"array","items":{"type":"string"}}}`, "a.items.type:type"}, {`{"a":{"type":"array","items":{"type":"string"}}}`, `{"a":{"type":"array"}}`, ""},
		{`{"a":{"type":"object","properties":{"x":{"type":"string"}}}}`, `{"a":{"type":"object","properties":{}}}`, "a.properties.x:removed"}, {`{"a":{"type":"object"}}`, `{"a":{"type":"object","properties":{"x":{"type":"string"}}}}`, "a.properties:type"},
	} {
		got := strings.ReplaceAll(violations(BreakingChanges(mustSchema(t, c.old), mustSchema(t, c.new))), "bucket_schema.properties.", "")
		if got != c.want {
			t.Errorf("%s → %s: got %q, want %q", c.old, c.new, got, c.want)
		}
		if broken := BreakingChanges(mustSchema(t, c.old), mustSchema(t, c.old)); broken != nil {
			t.Errorf("%s → itself: %v", c.old, broken)
		}
	}
}

func TestInputSchema(t *testing.T) {
	fields := `{"query":{"type":"text","required":true},"limit":{"type":"integer","default":10},"brand":{"type":"string","enum":["a","b"]},"like":{"type":"document_reference"},"opts":{"type":"object","properties":{"deep":{"type":"boolean","default":true}}}}`
	s, err := ParseInputSchema("input_schema", json.RawMessage(fields))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := ParseInputSchema("input_schema", json.RawMessage(`{"properties":`+fields+`}`))
	if err != nil || !reflect.DeepEqual(s, wrapped) {
		t.Errorf("wrapped: %v, %v", wrapped, err)
	}
	for _, c := range []struct{ in, want, bad string }{
		{`{"query":"x"}`, `{"limit":10,"query":"x"}`, ""}, {`{"query":"x","limit":null,"brand":null}`, `{"limit":10,"query":"x"}`, ""},
		{`{"limit":5,"opts":{}}`, `{"limit":5,"opts":{"deep":true}}`, "inputs.query:missing"}, {`{"query":null}`, `{"limit":10}`, "inputs.query:missing"},
		{`{"query":"x","limit":"5","brand":"c","more":1}`, `{"brand":"c","limit":"5","more":1,"query":"x"}`, "inputs.brand:enum inputs.limit:type"},
		{`{"query":{"url":"u"},"like":{"collection_id":"c","document_id":"d"}}`, `{"like":{"collection_id":"c","document_id":"d"},"limit":10,"query":{"url":"u"}}`, ""}, {`{"query":"x","like":{"collection_id":"c"}}`, `{"like":{"collection_id":"c"},"limit":10,"query":"x"}`, "inputs.like:type"},
	} {
		in := mustDoc(t, c.in)
		out, bad := s.Apply(in)
		if got := string(EncodeValue(out)); got != c.want || violations(bad) != c.bad {
			t.Errorf("%s: got %s and %v, want %s and %s", c.in, got, bad, c.want, c.bad)
		}
		if !reflect.DeepEqual(in, mustDoc(t, c.in)) {
			t.Errorf("%s was changed to %v", c.in, in)
		}
	}
	if got := s.Unknown(map[string]any{"query": 1, "z": 1, "a": 1}); strings.Join(got, " ") != "a z" {
		t.Errorf("Unknown: %v", got)
	}
	if !reflect.DeepEqual(s.Optional(), map[string]bool{"brand": true, "like": true, "opts": true}) || len(s.Names()) != 5 {
		t.Errorf("Optional %v, Names %v", s.Optional(), s.Names())
	}
	for _, c := range []struct{ in, fields, path string }{
		{`{"properties":{"type":"object"}}`, "properties", ""}, {`{"properties":{"type":"object"},"q":{"type":"string"}}`, "properties q", ""}, {`{"type":"object","properties":{"q":{"type":"string"}}}`, "q", ""}, {`{}`, "", ""}, {`{"properties":{}}`, "", ""},
		{`{"q":{"type":"strng"}}`, "", "p.q.type"}, {`{"properties":{"q":{"type":5}}}`, "", "p.properties.q.type"}, {`{"q":"string"}`, "", "p.q"}, {`7`, "", "p"},
	} {
		s, err := ParseInputSchema("p", json.RawMessage(c.in))
		if c.path != "" {
			if e, ok := err.(*Error); !ok || e.Violations[0].Path != c.path {
				t.Errorf("%s: %v, want an error at %s", c.in, err, c.path)
			}
			continue
		}
		if err != nil || strings.Join(slices.Sorted(maps.Keys(s.Fields)), " ") != c.fields {
			t.Errorf("%s: %v, %v, want %s", c.in, s, err, c.fields)
		}
	}
	text, err := json.Marshal(s)
	var back InputSchema
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || !reflect.DeepEqual(&back, s) {
		t.Errorf("%s read back: %v, %v", text, back, err)
	}
	var none *InputSchema
	if out, bad := none.Apply(map[string]any{"a": 1}); len(out) != 1 || bad != nil || none.Unknown(out) != nil || none.Names() != nil {
		t.Error("a nil schema takes everything")
	}
	if got := violations(BreakingInputChanges(s, &InputSchema{Fields: map[string]*SchemaField{"query": s.Fields["query"]}})); got != "input_schema.brand:removed input_schema.like:removed input_schema.limit:removed input_schema.opts:removed" {
		t.Errorf("breaking: %s", got)
	}
}

func FuzzParseBucketSchema(f *testing.F) {
	f.Add([]byte(`{"properties":{"a":{"type":"array","items":{"type":"object","properties":{"x":{"type":"integer","default":1,"enum":[1,2]}}}}}}`), []byte(`{"a":[{"x":3}]}`))
	f.Fuzz(func(t *testing.T, raw, docText []byte) {
		s, err := ParseBucketSchema("s", raw)
		if err != nil || s == nil {
			return
		}
		text, _ := s.MarshalJSON()
		back, err := ParseBucketSchema("s", text)
		if err != nil {
			t.Fatalf("%s read back: %v", text, err)
		}
		if again, _ := back.MarshalJSON(); string(again) != string(text) || BreakingChanges(s, back) != nil {
			t.Fatalf("%s became %s", text, again)
		}
		if doc, err := DecodeObject(docText); err == nil {
			s.Check("p", s.ApplyDefaults(doc))
		}
	})
}
