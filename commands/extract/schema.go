package extract

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// property is a JSON schema as far as parameters need it; the fields' order is the document's.
type property struct {
	Type                 string               `json:"type,omitempty"`
	Description          string               `json:"description,omitempty"`
	Properties           map[string]*property `json:"properties,omitempty"`
	Items                *property            `json:"items,omitempty"`
	Required             []string             `json:"required,omitempty"`
	Enum                 []string             `json:"enum,omitempty"`
	Minimum              *int                 `json:"minimum,omitempty"`
	Maximum              *int                 `json:"maximum,omitempty"`
	MinLength            *int                 `json:"minLength,omitempty"`
	Default              any                  `json:"default,omitempty"`
	AdditionalProperties *bool                `json:"additionalProperties,omitempty"`
}

// schemaOf gives the JSON schema of a parameters' struct.
func schemaOf(name string, parameters any) json.RawMessage {
	s := objectSchema(reflect.TypeOf(parameters), false)
	s.Properties["extractor_type"] = &property{Type: "string", Enum: []string{name}, Default: name, Description: "The extractor's name."}
	return encode(s)
}

func objectSchema(t reflect.Type, inList bool) *property {
	closed := false
	s := &property{Type: "object", Properties: map[string]*property{}, AdditionalProperties: &closed}
	for i := range t.NumField() {
		f := t.Field(i)
		if _, refused := f.Tag.Lookup("refused"); refused {
			continue
		}
		name := f.Tag.Get("json")
		s.Properties[name] = fieldSchema(f)
		if _, optional := f.Tag.Lookup("default"); inList && !optional {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

func fieldSchema(f reflect.StructField) *property {
	p := &property{Description: f.Tag.Get("doc"), Default: defaultOf(f)}
	switch f.Type.Kind() {
	case reflect.String:
		p.Type, p.Enum, p.MinLength = "string", strings.Fields(f.Tag.Get("enum")), number(f, "min")
	case reflect.Int:
		p.Type, p.Minimum, p.Maximum = "integer", number(f, "min"), number(f, "max")
	case reflect.Bool:
		p.Type = "boolean"
	case reflect.Slice:
		p.Type, p.Items = "array", objectSchema(f.Type.Elem(), true)
	}
	return p
}

func number(f reflect.StructField, tag string) *int {
	n, err := strconv.Atoi(f.Tag.Get(tag))
	if err != nil {
		return nil
	}
	return &n
}

// defaultOf gives a field's default as a JSON value, nil without one.
func defaultOf(f reflect.StructField) any {
	text, ok := f.Tag.Lookup("default")
	if !ok {
		return nil
	}
	if f.Type.Kind() == reflect.String {
		return text
	}
	return json.RawMessage(text)
}

// defaultsOf gives the parameters that stand for none.
func defaultsOf(name string, parameters any) json.RawMessage {
	values := map[string]any{"extractor_type": name}
	t := reflect.TypeOf(parameters)
	for i := range t.NumField() {
		f := t.Field(i)
		if _, refused := f.Tag.Lookup("refused"); refused {
			continue
		}
		if v := defaultOf(f); v != nil {
			values[f.Tag.Get("json")] = v
		}
	}
	return encode(values)
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("encode a schema: " + err.Error())
	}
	return b
}
