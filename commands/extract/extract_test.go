package extract

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"varve/domain"
)

func lookup(t testing.TB, name string) Extractor {
	t.Helper()
	e, err := Lookup(name, "v1")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLookup(t *testing.T) {
	if e, err := Lookup("text_extractor", ""); err != nil || e.Describe().Version != "v1" {
		t.Errorf("without a version: %v, %v", e, err)
	}
	for _, c := range [][2]string{{"text_extractor", "v2"}, {"text", "v1"}, {"", ""}} {
		_, err := Lookup(c[0], c[1])
		if domain.CodeOf(err) != domain.CodeNotFound || !strings.Contains(err.Error(), "passthrough_extractor v1, text_extractor v1") {
			t.Errorf("Lookup(%q, %q): %v", c[0], c[1], err)
		}
	}
}

func TestRegisteringTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	register(lookup(t, "text_extractor"))
}

// Every description is complete, and its schema accepts its defaults and its example.
func TestDescriptions(t *testing.T) {
	all := All()
	if len(all) < 2 {
		t.Fatalf("%d extractors", len(all))
	}
	for _, d := range all {
		if d.ID != d.Name+"_"+d.Version || d.Description == "" || d.Icon == "" || d.Source != "builtin" || len(d.SupportedInputTypes) == 0 {
			t.Errorf("%s: incomplete: %+v", d.ID, d)
		}
		schema := compile(t, d.ParameterSchema)
		compile(t, d.InputSchema)
		compile(t, d.OutputSchema)
		var example struct{ Parameters json.RawMessage }
		if err := json.Unmarshal(d.ExampleUsage, &example); err != nil {
			t.Fatal(err)
		}
		for _, params := range []json.RawMessage{d.DefaultParameters, example.Parameters} {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(params))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: schema refuses %s: %v", d.ID, params, err)
			}
			if err := lookup(t, d.Name).Validate(params); err != nil {
				t.Errorf("%s refuses %s: %v", d.ID, params, err)
			}
		}
		if strings.Contains(string(d.ParameterSchema), "llm") {
			t.Errorf("%s: the schema offers what is refused", d.ID)
		}
		for _, x := range d.RequiredVectorIndexes {
			if len(x.Description) < 10 || len(x.Index.Description) < 10 || x.Type != "single" {
				t.Errorf("%s: index %+v does not fit the reference", d.ID, x)
			}
		}
		for _, field := range []string{"required_vector_indexes", "required_payload_indexes", "parameter_schema", "max_inputs"} {
			if !strings.Contains(string(encode(d)), `"`+field+`":`) || strings.Contains(string(encode(d)), `"`+field+`":null`) {
				t.Errorf("%s: %s is missing or null", d.ID, field)
			}
		}
	}
}

func compile(t *testing.T, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFind(t *testing.T) {
	indexes, err := lookup(t, "text_extractor").Outputs(nil)
	if err != nil {
		t.Fatal(err)
	}
	for output, want := range map[string]string{"": TextDense, "embedding": TextDense, TextDense: TextDense, "bm25": TextSparse, "e5": ""} {
		x, ok := Find(indexes, output)
		if x.Name != want || ok != (want != "") {
			t.Errorf("Find(%q) = %q, %v", output, x.Name, ok)
		}
	}
	own := []VectorIndex{{Name: "a", Aliases: []string{"embedding"}}, {Name: "embedding"}}
	if x, _ := Find(own, "embedding"); x.Name != "embedding" {
		t.Error("an alias goes before a name")
	}
}

func TestValidate(t *testing.T) {
	const p = "feature_extractor.parameters"
	for _, c := range []struct {
		extractor, params string
		want              []string // "path type"
	}{
		{"text_extractor", ``, nil},
		{"text_extractor", `null`, nil},
		{"text_extractor", `{"extractor_type":"text_extractor","split_by":null,"chunk_size":500,"chunk_overlap":50}`, nil},
		// What a client of the reference sends where it fills in every default.
		{"text_extractor", `{"source_type":"text","segment_length_seconds":120,"language":"en","extract_captions":true,"llm_model":null}`, nil},
		{"text_extractor", `{"extractor_type":"image_extractor"}`, []string{p + ".extractor_type enum"}},
		{"text_extractor", `[]`, []string{p + " type"}},
		{"text_extractor", `{"chunk_size":0,"chunk_overlap":5001,"split_by":"time_segments","size":1}`,
			[]string{p + ".split_by enum", p + ".chunk_size range", p + ".chunk_overlap range", p + ".size extra_forbidden"}},
		{"text_extractor", `{"split_by":"words","chunk_size":5,"chunk_overlap":5}`, []string{p + ".chunk_overlap range"}},
		{"text_extractor", `{"chunk_size":"10","split_by":1}`, []string{p + ".split_by type", p + ".chunk_size type"}},
		{"text_extractor", `{"chunk_size":1.5}`, []string{p + ".chunk_size type"}},
		{"text_extractor", `{"source_type":"youtube"}`, []string{p + ".source_type enum"}},
		{"text_extractor", `{"embedding_model":"multilingual_e5_large_instruct_v1"}`, []string{p + ".embedding_model enum"}},
		{"text_extractor", `{"llm_provider":"openai","llm_api_key":"sk-1","language":"de"}`,
			[]string{p + ".language unsupported", p + ".llm_provider unsupported", p + ".llm_api_key unsupported"}},
		{"passthrough_extractor", `{"vector_fields":[{"field":"v","name":"v","dimensions":3}]}`, nil},
		{"passthrough_extractor", `{"vector_fields":[{"field":"","name":"a b","distance":"l2"},{"field":"x","name":"x","dimensions":70000},3]}`,
			[]string{p + ".vector_fields[0].field length", p + ".vector_fields[0].dimensions missing", p + ".vector_fields[0].distance enum",
				p + ".vector_fields[1].dimensions range", p + ".vector_fields[2] type"}},
		{"passthrough_extractor", `{"vector_fields":[{"field":"v","name":"a b","dimensions":3},{"field":"v","name":"a b","dimensions":3}]}`,
			[]string{p + ".vector_fields[0].name pattern", p + ".vector_fields[1].name pattern", p + ".vector_fields[1].name duplicate"}},
		{"passthrough_extractor", `{"row_format":"jsonl","preserve_metadata":"yes"}`, []string{p + ".preserve_metadata type", p + ".row_format unsupported"}},
	} {
		err := lookup(t, c.extractor).Validate(json.RawMessage(c.params))
		var got []string
		var e *domain.Error
		if errors.As(err, &e) {
			for _, v := range e.Violations {
				got = append(got, v.Path+" "+v.Type)
			}
			if e.Code != domain.CodeInvalid {
				t.Errorf("%s: code %s", c.params, e.Code)
			}
		} else if err != nil {
			t.Errorf("%s: %T", c.params, err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q (%v)", c.params, got, c.want, err)
		}
		if err != nil && strings.Contains(err.Error(), "sk-1") {
			t.Error("a key is shown")
		}
	}
}

func FuzzValidate(f *testing.F) {
	f.Add(`{"split_by":"words","chunk_size":5,"chunk_overlap":5,"vector_fields":[{"field":"v"}]}`)
	f.Add(`{"vector_fields":[null,{"name":1,"dimensions":1e9}],"language":["en"]}`)
	f.Fuzz(func(t *testing.T, params string) {
		for _, d := range All() {
			e := lookup(t, d.Name)
			_, outputs := e.Outputs(json.RawMessage(params))
			if err := e.Validate(json.RawMessage(params)); (err == nil) != (outputs == nil) {
				t.Fatalf("Validate says %v, Outputs %v", err, outputs)
			} else if err != nil && domain.CodeOf(err) != domain.CodeInvalid {
				t.Fatal(err)
			}
		}
	})
}
