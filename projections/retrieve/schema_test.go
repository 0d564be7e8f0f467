package retrieve

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// checkSchema holds a schema to its own example and to wrong values.
func checkSchema(t *testing.T, id string, schema, example []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("stage.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("stage.json")
	if err != nil {
		t.Fatalf("%s: its schema: %v", id, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: its example: %v", id, err)
	}
	wrong, _ := jsonschema.UnmarshalJSON(strings.NewReader(`{"no such parameter": 1}`))
	if s.Validate(wrong) == nil {
		t.Errorf("%s: the schema takes anything", id)
	}
}
