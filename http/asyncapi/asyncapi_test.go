package asyncapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"varve/domain"
)

var update = flag.Bool("update", false, "write texts.json anew from the comments in domain")

// offline refuses to fetch: every schema is whole in itself.
type offline struct{}

func (offline) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s lies outside the document", url)
}

func compile(t *testing.T, url string, raw []byte, pointer string, draft *jsonschema.Draft) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(draft)
	c.AssertFormat()
	c.UseLoader(offline{})
	if err := c.AddResource(url, value); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(url + pointer)
	if err != nil {
		t.Fatalf("compile %s%s: %v", url, pointer, err)
	}
	return s
}

func document(t *testing.T) []byte {
	t.Helper()
	raw, err := Document(Options{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The document is one by AsyncAPI's own schema of version 3.0.0.
func TestDocumentIsAsyncAPI(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "asyncapi-3.0.0.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var official bytes.Buffer
	if _, err := official.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	s := compile(t, "http://asyncapi.com/definitions/3.0.0/asyncapi.json", official.Bytes(), "", jsonschema.Draft7)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(value); err != nil {
		t.Errorf("%#v", err)
	}
	value.(map[string]any)["channels"].(map[string]any)["varve.events"].(map[string]any)["messages"] = "none"
	if s.Validate(value) == nil {
		t.Error("a channel whose messages are a text is taken for right: the schema checks nothing")
	}
}

// What is in somebody's log is valid against the schemas, in the document and alone, in both drafts;
// data with a member of another type is not.
func TestGoldenPayloadsAreValid(t *testing.T) {
	doc := document(t)
	for _, name := range domain.EventTypes() {
		t.Run(name, func(t *testing.T) {
			golden, err := os.ReadFile(filepath.Join("..", "..", "domain", "testdata", "events", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			alone, ok := Schema(name)
			if !ok {
				t.Fatal("no schema")
			}
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(golden))
			if err != nil {
				t.Fatal(err)
			}
			for where, s := range map[string]*jsonschema.Schema{
				"alone":          compile(t, "urn:varve:event:"+name, alone, "", jsonschema.Draft2020),
				"in 2020-12":     compile(t, "varve:///asyncapi.json", doc, "#/components/schemas/"+name, jsonschema.Draft2020),
				"as AsyncAPI's":  compile(t, "varve:///asyncapi.json", doc, "#/components/schemas/"+name, jsonschema.Draft7),
				"of its message": compile(t, "varve:///asyncapi.json", doc, "#/components/messages/"+name+"/payload", jsonschema.Draft7),
			} {
				if err := s.Validate(value); err != nil {
					t.Errorf("%s: %v", where, err)
				}
				for member, v := range value.(map[string]any) {
					wrong := map[string]any{}
					for k, v := range value.(map[string]any) {
						wrong[k] = v
					}
					var other any = json.Number("1.5")
					switch v := v.(type) {
					case json.Number:
						other = "text"
					case map[string]any:
						if _, free := v["kept"]; free { // free JSON may be anything
							continue
						}
					}
					if wrong[member] = other; s.Validate(wrong) == nil {
						t.Errorf("%s: %s may be %v", where, member, other)
					}
				}
			}
		})
	}
}

// Every type is in exactly one channel, and every reference leads somewhere.
func TestChannels(t *testing.T) {
	var doc struct {
		Channels map[string]struct {
			Address  string
			Messages map[string]map[string]string
		}
		Operations map[string]struct {
			Action   string
			Channel  map[string]string
			Messages []map[string]string
		}
		Components struct{ Messages, Schemas map[string]any }
	}
	raw, err := Document(Options{Events: "mine.events", Source: "here"})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for id, c := range doc.Channels {
		for name, ref := range c.Messages {
			seen[name]++
			if _, there := doc.Components.Messages[strings.TrimPrefix(ref["$ref"], "#/components/messages/")]; !there {
				t.Errorf("%s of %s leads nowhere", ref["$ref"], id)
			}
		}
		if o := doc.Operations["publish."+id]; o.Action != "send" || len(o.Messages) != len(c.Messages) || o.Channel["$ref"] != "#/channels/"+id {
			t.Errorf("%s: operation %+v", id, o)
		}
	}
	for _, name := range domain.EventTypes() {
		if seen[name] != 1 {
			t.Errorf("%s is in %d channels", name, seen[name])
		}
	}
	if doc.Channels["varve.events"].Address != "mine.events" || doc.Channels["varve.executions"].Address != "varve.executions" {
		t.Errorf("addresses %+v", doc.Channels)
	}
	if !bytes.Contains(raw, []byte(`"const":"here"`)) {
		t.Error("the source is not in the headers' schema")
	}
	if _, ok := Schema("bucket.painted"); ok {
		t.Error("a type that nobody registered has a schema")
	}
}

// Every event type says what it means: its Go comment, kept in texts.json.
func TestTexts(t *testing.T) {
	all := map[string]string{}
	parsed, err := filepath.Glob(filepath.Join("..", "..", "domain", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range parsed {
		if !strings.HasSuffix(file, "_test.go") {
			comments(t, file, all)
		}
	}
	s, used := newSchemas(""), map[string]string{}
	for _, name := range domain.EventTypes() {
		if _, ok := s.event(name); !ok {
			t.Fatal(name)
		}
		e, _ := domain.DecodeEvent(name, 1, nil)
		kind := strings.TrimPrefix(fmt.Sprintf("%T", e), "*domain.")
		if all[kind] == "" {
			t.Errorf("%s: %s has no comment: say what the event means", name, kind)
		}
	}
	for what, text := range all {
		if kind, _, _ := strings.Cut(what, "."); s.seen[kind] {
			used[what] = text
		}
	}
	want, err := json.MarshalIndent(used, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("texts.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("texts.json"); err != nil || !bytes.Equal(got, want) {
		t.Error("texts.json is not what the comments in domain say now: go test ./http/asyncapi -update writes it")
	}
}

// comments collects the comments of a file's structs and of their fields.
func comments(t *testing.T, file string, into map[string]string) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	say := func(name string, groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if text := strings.Join(strings.Fields(g.Text()), " "); text != "" && into[name] == "" {
				into[name] = text
			}
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		d, ok := n.(*ast.GenDecl)
		if !ok {
			return true
		}
		for _, spec := range d.Specs {
			kind, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			fields, ok := kind.Type.(*ast.StructType)
			if !ok {
				continue
			}
			if say(kind.Name.Name, kind.Doc); len(d.Specs) == 1 {
				say(kind.Name.Name, d.Doc)
			}
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					if f.Tag != nil && !strings.Contains(f.Tag.Value, `json:"-"`) {
						say(kind.Name.Name+"."+name.Name, f.Doc, f.Comment)
					}
				}
			}
		}
		return true
	})
}
