package domain

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testEnv(t testing.TB) TemplateEnv {
	return TemplateEnv{
		Input:    mustDoc(t, `{"query":"red shoes","limit":5,"big":9007199254740993,"on":true,"list":["a",{"k":"v"}],"obj":{"x":{"y":1.50}},"empty":"","null":null,"evil":"{{ CONTEXT.token }}"}`),
		Doc:      mustDoc(t, `{"title":"A \"b\"","tags":["x","y"],"price":49.90,"items":[{"q":1},{"q":2}],"a-b":"dash"}`),
		Context:  mustDoc(t, `{"token":"s3cret","alias":{"n":3}}`),
		Optional: map[string]bool{"brand": true},
	}
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`"plain"`, `"plain"`}, {`{"b":1,  "a":[true,null,1.50]}`, `{"b":1,  "a":[true,null,1.50]}`}, {`"{single} {x} }}"`, `"{single} {x} }}"`},
		{`"{{INPUT.query}}"`, `"red shoes"`}, {`"{{ inputs.limit }}"`, `5`}, {`"{{Input.big}}"`, `9007199254740993`}, {`"{{INPUT.on}}"`, `true`},
		{`"{{INPUT.list}}"`, `["a",{"k":"v"}]`}, {`"{{INPUT.list[1].k}}"`, `"v"`}, {`"{{INPUT.list.0}}"`, `"a"`}, {`"{{INPUT['obj'].x['y']}}"`, `1.50`},
		{`"find {{INPUT.query}} ({{ INPUT.limit }})"`, `"find red shoes (5)"`}, {`" {{INPUT.limit}}"`, `" 5"`}, {`"{{INPUT.on}}{{INPUT.null}}!"`, `"true!"`},
		{`"{{INPUT.brand}}"`, `null`}, {`"b={{INPUT.brand}}"`, `"b="`}, {`"{{INPUT.brand.deep[3]}}"`, `null`}, {`"{{INPUT.obj.none}}"`, `null`},
		{`"{{INPUT.brand | default('any')}}"`, `"any"`}, {`"{{INPUT.brand|default(7)}}"`, `7`}, {`"{{INPUT.empty | default('x')}}"`, `""`}, {`"{{INPUT.empty | default('x', true)}}"`, `"x"`}, {`"{{INPUT.unknown | default(none)}}"`, `null`},
		{`"{{DOC.title | upper}}"`, `"A \"B\""`}, {`"{{ doc.title|lower|trim }}"`, `"a \"b\""`}, {`"{{DOC.title | tojson}}"`, `"\"A \\\"b\\\"\""`}, {`"{\"t\": {{DOC.tags | tojson}}}"`, `"{\"t\": [\"x\",\"y\"]}"`},
		{`"{{DOC.tags}} {{DOC.price}}"`, `"[\"x\",\"y\"] 49.90"`}, {`"{{DOC.items.q}}"`, `[1,2]`}, {`"{{DOC.a-b}}"`, `"dash"`}, {`"{{DOC.missing}}"`, `null`},
		{`"{{DOC.tags | join(', ')}}"`, `"x, y"`}, {`"{{DOC.tags | first}}{{DOC.tags|last}}{{DOC.tags|length}}"`, `"xy2"`}, {`"{{DOC.price | int}}"`, `49`}, {`"{{ '7.5' | float }}"`, `7.5`}, {`"{{INPUT.brand | upper}}"`, `null`},
		{`"{{CONTEXT.alias.n}}"`, `3`}, {`"{{ '{{' }} x"`, `"{{ x"`}, {`"{{ \"}}\" }}"`, `"}}"`}, {`"{{ -5 }}"`, `-5`}, {`"{{ true }}"`, `true`}, {`"{{INPUT.query|length}}{{INPUT.obj|length}}{{INPUT.brand|length}}"`, `"910"`}, {`"{{INPUT.brand|first}}{{INPUT.brand|join}}{{INPUT.brand|int}}{{INPUT.brand|float}}"`, `""`}, {`"{{INPUT.on|int}}{{'a\\'b\\n'}}"`, `"1a'b\n"`}, {`"{{INPUT.obj|default('x',true)|tojson}}{{false|default('y',true)}}{{0|d('z',true)}}"`, `"{\"x\":{\"y\":1.50}}yz"`}, {`"a  {{- INPUT.limit -}}  b"`, `"a5b"`},
		{`"{{INPUT.evil}}"`, `"{{ CONTEXT.token }}"`}, {`["{{INPUT.limit}}",{"k":"{{INPUT.query}}"}]`, `[5,{"k":"red shoes"}]`}, {`"{{INPUT}}"`, string(EncodeValue(testEnv(t).Input))},
		{`"\u007b\u007bINPUT.limit}}"`, `5`},
	} {
		got, err := Render(json.RawMessage(c.in), testEnv(t))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.in, got, err, c.want)
		}
	}
}

func TestRenderRefused(t *testing.T) {
	for _, c := range []struct{ in, path, says string }{
		{`{"a":["x","{{INPUT.qery}}"]}`, "p.a[1]", "known in INPUT are big, brand, empty"},
		{`"{{INPUT.qery}} and more"`, "p", "INPUT.qery"},
		{`"{{query}}"`, "p", "INPUT.query"}, {`"{{foo.x}}"`, "p", "INPUT, DOC, STAGE, CONTEXT"},
		{`"{{secrets.k}}"`, "p", "secrets"}, {`"{{SECRET.k}}"`, "p", "secrets"}, {`"{{ secrets.k | default('x') }}"`, "p", "secrets"},
		{`"{{STAGE.x}}"`, "p", "not available here; available are INPUT, DOC, CONTEXT"}, {`"{{principal.roles}}"`, "p", "not available"},
		{`"{{INPUT.query"`, "p", "}} is missing"}, {`"{{ }}"`, "p", "empty"}, {`"{{INPUT.query | shout}}"`, "p", "known are d, default"},
		{`"{{INPUT.query | default}}"`, "p", "1 to 2 arguments"}, {`"{{INPUT.query | upper(1)}}"`, "p", "0 to 0"}, {`"{{INPUT.query | default(x)}}"`, "p", "literals"},
		{`"{{INPUT.a + 1}}"`, "p", "not read here"}, {`"{{INPUT.a if x}}"`, "p", "not read here"}, {`"{% for x in y %}"`, "p", "INPUT.y"}, {`"{{INPUT[x]}}"`, "p", "quoted key"}, {`"{{INPUT.}}"`, "p", "key is expected"},
		{`"{{INPUT.query | join(',')}}"`, "p", "takes an array"}, {`"{{INPUT.query|int}}"`, "p", "no number"}, {`"{{ 'x }}"`, "p", "quote"},
		{`nonsense`, "p", "JSON"},
	} {
		got, err := RenderAt("p", json.RawMessage(c.in), testEnv(t))
		e, ok := err.(*Error)
		if !ok || e.Code != CodeInvalid || e.Violations[0].Path != c.path || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: got %s, %v, want an error at %s with %q", c.in, got, err, c.path, c.says)
		}
	}
	env := TemplateEnv{Input: map[string]any{"x": strings.Repeat("x", 1<<20)}}
	if _, err := Render(EncodeValue(strings.Repeat("{{INPUT.x}}", 9)), env); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("9 MiB of output: %v", err)
	}
	if _, err := Render(EncodeValue(slicesRepeat("{{INPUT.x}}", 9)), env); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("9 MiB of values: %v", err)
	}
}

func TestRenderStatements(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{% if INPUT.on %}yes{% endif %}`, `yes`}, {`{% if INPUT.empty %}yes{% else %}no{% endif %}`, `no`}, {`{% if INPUT.brand %}b{% elif INPUT.limit > 3 %}many{% else %}few{% endif %}`, `many`},
		{`{% for t in DOC.tags %}{{ t }}{% if not loop.last %}, {% endif %}{% endfor %}.`, `x, y.`}, {`{% for i in DOC.items %}{{loop.index}}:{{ i.q }} {% endfor %}`, `1:1 2:2 `},
		{`{%- for t in DOC.tags -%}  {{ t | upper }}  {%- endfor -%}  !`, `XY!`}, {`{% for t in INPUT.brand %}x{% else %}none{% endfor %}`, `none`}, {`{% for t in DOC.tags %}{% for u in DOC.tags %}{{t}}{{u}}{{loop.index0}} {% endfor %}{{loop.first}};{% endfor %}`, `xx0 xy1 true;yx0 yy1 false;`},
		{`[{% for i in DOC.items %}{{ i | tojson }}{% if not loop.last %},{% endif %}{% endfor %}]`, `[{"q":1},{"q":2}]`},
		{`{% if INPUT.limit == 5.0 and not (INPUT.on == false or DOC.nope is defined) %}ok{% endif %}`, `ok`}, {`{% if 'x' in DOC.tags and 'z' not in DOC.tags and 'red' in INPUT.query %}ok{% endif %}`, `ok`},
		{`{% if INPUT.brand is not defined and INPUT.null is none and INPUT.limit is defined and INPUT.on is not none %}ok{% endif %}`, `ok`}, {`{% if INPUT.limit != 5 or INPUT.limit < 5 or INPUT.query >= 'z' or INPUT.limit > 'a' %}no{% endif %}`, ``},
		{`{% if INPUT.limit <= 5 %}{{'{%'}}{% endif %}`, `{%`}, {`{% if INPUT.list|length > 1 %}{{ INPUT.list|first }}{% endif %}`, `a`}, {`{% if not INPUT.empty and INPUT.on or DOC.nope %}ok{% endif %}`, `ok`},
	} {
		got, err := RenderValue("p", c.in, testEnv(t))
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct{ in, says string }{
		{`{% if INPUT.on %}`, "endif %} is expected"}, {`{% for x in DOC.tags %}`, "endfor %} is expected"}, {`{% endif %}`, "no statement here"}, {`{% set x = 1 %}`, "known are if"}, {`{% if INPUT.on %}{% else %}{% else %}{% endif %}`, "no statement here"},
		{`{% for doc in DOC.tags %}{% endfor %}`, "new name"}, {`{% for x of DOC.tags %}{% endfor %}`, "in is expected"}, {`{% for x in DOC.tags %}{% endfor %}{{ x }}`, "names nothing known"}, {`{% for x in DOC.title %}{% endfor %}`, "walks arrays"},
		{`{% if %}{% endif %}`, "empty"}, {`{% if (INPUT.on %}{% endif %}`, "closing )"}, {`{% if INPUT.on is odd %}{% endif %}`, "defined or none"}, {`{% if INPUT.on`, "closing %}"}, {`{% if secrets.x %}{% endif %}`, "secrets"}, {`{% if INPUT.nope %}{% endif %}`, "names nothing"}, {`{% if 1 in INPUT.limit %}{% endif %}`, "in takes"}, {`{{INPUT.limit|length}}`, "no length"}, {`{{INPUT.limit|first}}`, "takes an array"}, {`{{INPUT[1.5]}}`, "no index"}, {`{{INPUT[1}}`, "closing ]"}, {`{{DOC.x|default('a' 'b')}}`, "closing )"},
		{strings.Repeat(`{% if INPUT.on %}`, 17), "deeper"}, {`{% if ` + strings.Repeat("(", 20) + `1`, "deeper"}, {`{% if ` + strings.Repeat("not ", 20) + `1`, "deeper"},
	} {
		if got, err := RenderValue("p", c.in, testEnv(t)); CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %v, want an error with %q", c.in, got, err, c.says)
		}
	}
	env := TemplateEnv{Input: map[string]any{"l": slicesRepeat(true, 1001)}}
	if _, err := RenderValue("p", `{% for a in INPUT.l %}{% for b in INPUT.l %}{% endfor %}{% endfor %}`, env); err == nil || !strings.Contains(err.Error(), "steps") {
		t.Errorf("too many turns of nothing: %v", err)
	}
	err := CheckTemplates("s", EncodeValue(`{% for x in INPUT.list %}{% if x == INPUT.nope %}{{ STAGE.y }}{% endif %}{% endfor %}`), TemplateNames{Input: map[string]bool{"list": true}})
	if err == nil || !strings.Contains(err.Error(), "INPUT.nope") {
		t.Errorf("names inside statements: %v", err)
	}
}

func slicesRepeat(v any, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func TestCheckTemplates(t *testing.T) {
	known := TemplateNames{Input: map[string]bool{"query": true, "limit": true}}
	for _, c := range []struct {
		in    string
		paths string
		says  string
	}{
		{`{"q":"{{INPUT.query}}","n":["{{inputs.limit|default(5)}}"],"d":"{{DOC.anything}} {{STAGE.x}} {{context.y}}"}`, "", ""},
		{`{"q":"{{INPUT.qery}}","n":["{{inputs.limt}} {{INPUT.also}}"]}`, "s.n[0] s.n[0] s.q", "known in INPUT are limit, query"},
		{`{"k":"{{secrets.x}}"}`, "s.k", "secrets"}, {`{"{{INPUT.query}}":1}`, "s", "keys are not rendered"},
		{`{"v":{"type":"dynamic","field":"inputs.query"}}`, "", ""}, {`{"v":{"type":"dynamic","field":"inputs.nope"}}`, "s.v", "nope"}, {`{"v":{"type":"dynamic","field":"nope"}}`, "s.v", "nope"},
		{`"{{principal.roles}}"`, "s", "not available here"}, {`"{{INPUT.query"`, "s", "missing"}, {`"{ {INPUT.nope} }"`, "", ""},
	} {
		err := CheckTemplates("s", json.RawMessage(c.in), known)
		var paths []string
		if e, ok := err.(*Error); ok {
			for _, v := range e.Violations {
				paths = append(paths, v.Path)
			}
		}
		if strings.Join(paths, " ") != c.paths || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v (%v), want %s with %q", c.in, err, paths, c.paths, c.says)
		}
	}
	if err := CheckTemplates("s", json.RawMessage(`"{{INPUT.any}} {{principal.roles}}"`), TemplateNames{Namespaces: []string{"INPUT", "PRINCIPAL"}}); err != nil {
		t.Errorf("unchecked names: %v", err)
	}
}

func TestTemplateNames(t *testing.T) {
	tpl, err := ParseTemplate("{{INPUT.a.b}} {{doc.c}} {{INPUT.a}} {{ 'x' }} {{CONTEXT}}")
	if err != nil {
		t.Fatal(err)
	}
	if got := tpl.Names(); !reflect.DeepEqual(got, []TemplateName{{"INPUT", "a"}, {"DOC", "c"}, {"CONTEXT", ""}}) || tpl.Whole() || !tpl.Dynamic() {
		t.Errorf("got %v", got)
	}
}

func TestResolveFilter(t *testing.T) {
	env := testEnv(t)
	for _, c := range []struct{ in, want string }{
		{`{"a":{"type":"dynamic","field":"inputs.limit"}}`, `{"field":"a","operator":"eq","value":5}`},
		{`{"a":"{{INPUT.query}}","case_sensitive":true}`, `{"case_sensitive":true,"field":"a","operator":"eq","value":"red shoes"}`},
		{`{"field":"a","operator":"in","value":"{{INPUT.list}}"}`, `{"field":"a","operator":"in","value":["a",{"k":"v"}]}`},
		{`{"field":"a","operator":"in","value":["x","{{INPUT.brand}}","{{INPUT.limit}}"]}`, `{"field":"a","operator":"in","value":["x",5]}`},
		{`{"field":"a","operator":"regex","value":"^{{INPUT.limit}}$"}`, `{"field":"a","operator":"regex","value":"^5$"}`},
		{`{"field":"a","operator":"gte","value":{"type":"dynamic","field":"INPUT.obj.x.y"}}`, `{"field":"a","operator":"gte","value":1.50}`},
		{`{"a":"{{INPUT.brand}}"}`, `null`}, {`{"AND":[{"a":"{{INPUT.brand}}"},{"NOT":[{"b":{"type":"dynamic","field":"inputs.brand"}}]}]}`, `null`},
		{`{"AND":[{"a":"{{INPUT.brand}}"},{"b":1}]}`, `{"AND":[{"field":"b","operator":"eq","value":1}]}`},
		{`{"OR":[{"a":"{{INPUT.brand}}"},{"b":1}]}`, `{"OR":[{"field":"b","operator":"eq","value":1}]}`},
		{`{"a":"{{INPUT.null}}"}`, `{"field":"a","operator":"eq","value":null}`},
		{`{"a":"{{INPUT.brand|default('all')}}"}`, `{"field":"a","operator":"eq","value":"all"}`},
		{`{"a":"{{INPUT.evil}}"}`, `{"field":"a","operator":"eq","value":"{{ CONTEXT.token }}"}`},
	} {
		f := mustFilter(t, c.in)
		if !f.Pending() || f.Match(mustDoc(t, `{"a":5,"b":9}`)) {
			t.Errorf("%s is not pending, or matches before it is resolved", c.in)
		}
		got, err := ResolveFilter(f, env)
		if err != nil || got.String() != c.want || got.Pending() {
			t.Errorf("%s: got %s, %v, want %s", c.in, got, err, c.want)
		}
	}
	evil, _ := ResolveFilter(mustFilter(t, `{"a":"{{INPUT.evil}}"}`), env)
	if !evil.Match(map[string]any{"a": "{{ CONTEXT.token }}"}) {
		t.Error("what an input says is text, whatever it looks like")
	}
	for _, c := range []struct{ in, says string }{
		{`{"a":"{{INPUT.nope}}"}`, "names nothing"}, {`{"field":"a","operator":"in","value":"{{INPUT.query}}"}`, "takes a list"},
		{`{"field":"a","operator":"regex","value":"({{INPUT.query}}"}`, "regular expression"}, {`{"a":{"type":"dynamic","field":"inputs.nope"}}`, "names nothing"}, {`{"a":"{{STAGE.x}}"}`, "not available"},
	} {
		if got, err := ResolveFilter(mustFilter(t, c.in), env); CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, %v, want %q", c.in, got, err, c.says)
		}
	}
	strict := TemplateEnv{Strict: true, Principal: mustDoc(t, `{"roles":["a"],"attributes":{}}`), Optional: map[string]bool{"brand": true}}
	for _, in := range []string{`{"t":"{{principal.attributes.team}}"}`, `{"t":"{{INPUT.brand}}"}`, `{"OR":[{"t":"{{principal.attributes.team | upper}}"},{"x":1}]}`, `{"field":"t","operator":"in","value":["{{principal.attributes.team}}"]}`, `{"t":"x-{{principal.attributes.team}}"}`} {
		if got, err := ResolveFilter(mustFilter(t, in), strict); CodeOf(err) != CodeInvalid {
			t.Errorf("strict %s: got %v, %v, want an error", in, got, err)
		}
	}
	if got, err := ResolveFilter(mustFilter(t, `{"field":"t","operator":"in","value":"{{principal.roles}}"}`), strict); err != nil || !got.Match(map[string]any{"t": "a"}) {
		t.Errorf("strict with a value: %v, %v", got, err)
	}
}

// TestRenderProperties: a whole template gives exactly the value, text around it
// gives exactly its text, and no input is ever rendered itself.
func TestRenderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(2).Draw(t, "v")
		if rapid.Bool().Draw(t, "nasty") {
			v = rapid.SampledFrom([]any{"{{INPUT.x}}", "}}", "{{", "{% x %}", `"`, "{{secrets.k}}"}).Draw(t, "text")
		}
		env := TemplateEnv{Input: map[string]any{"x": v}}
		got, err := RenderValue("", map[string]any{"a": []any{"{{ INPUT.x }}"}, "b": "<{{INPUT.x}}>"}, env)
		want := map[string]any{"a": []any{v}, "b": "<" + templateText(v) + ">"}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{INPUT.a}}", "x {{ DOC.b[0]['c'] | default('}}') | upper -}} y", "{{ '{{' }}", "{{INPUT.a|join(',')|tojson}}", "{% if INPUT.a %}x{% elif not INPUT.b == 1 %}y{% else %}z{% endif %}", "{%- for i in INPUT.a -%}{{ i }}{{loop.index}}{% else %}n{% endfor %}", "{{", "{{ -1e5 | int }}", "{{INPUT.é}}"} {
		f.Add(s, `{"a":["x",1],"b":[{"c":null}]}`)
	}
	f.Fuzz(func(t *testing.T, text, input string) {
		in, err := DecodeObject([]byte(input))
		if err != nil {
			return
		}
		tpl, err := ParseTemplate(text)
		if err != nil {
			if !hasTemplate(text) && len(text) <= MaxTemplateLength {
				t.Fatalf("%q has no template and is refused: %v", text, err)
			}
			return
		}
		raw := EncodeValue(strings.ToValidUTF8(text, "?"))
		out, err := Render(raw, TemplateEnv{Input: in, Doc: in, Optional: map[string]bool{"a": true}})
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		v, err := DecodeValue(out)
		if err != nil {
			t.Fatalf("%q gives %q: %v", text, out, err)
		}
		if !tpl.Dynamic() && v != strings.ToValidUTF8(text, "?") {
			t.Fatalf("%q without expressions becomes %v", text, v)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	env := testEnv(b)
	raw := json.RawMessage(`{"searches":[{"feature_uri":"mixpeek://text@v1/e5","query":{"input_mode":"text","value":"{{INPUT.query}}"},"top_k":100}],"final_top_k":"{{INPUT.limit}}"}`)
	for b.Loop() {
		if _, err := Render(raw, env); err != nil {
			b.Fatal(err)
		}
	}
}
