package domain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// FieldType is the type of a field of a bucket or input schema.
type FieldType string

// The field types: first those of metadata, then those of blobs, then the one
// that only retriever inputs have.
const (
	TypeString            FieldType = "string"
	TypeNumber            FieldType = "number"
	TypeInteger           FieldType = "integer"
	TypeFloat             FieldType = "float"
	TypeBoolean           FieldType = "boolean"
	TypeObject            FieldType = "object"
	TypeArray             FieldType = "array"
	TypeDate              FieldType = "date"
	TypeDatetime          FieldType = "datetime"
	TypeText              FieldType = "text"
	TypeImage             FieldType = "image"
	TypeAudio             FieldType = "audio"
	TypeVideo             FieldType = "video"
	TypePDF               FieldType = "pdf"
	TypeExcel             FieldType = "excel"
	TypeDocumentReference FieldType = "document_reference"
)

// BucketFieldTypes are the types that a bucket schema may use.
var BucketFieldTypes = []FieldType{TypeString, TypeNumber, TypeInteger, TypeFloat, TypeBoolean, TypeObject, TypeArray,
	TypeDate, TypeDatetime, TypeText, TypeImage, TypeAudio, TypeVideo, TypePDF, TypeExcel}

// InputFieldTypes are the types that a retriever's input schema may use.
var InputFieldTypes = append(slices.Clone(BucketFieldTypes), TypeDocumentReference)

// IsBlob says whether values of the type are blobs: text or media, given as text,
// an address, or an object that says where the bytes are.
func (t FieldType) IsBlob() bool {
	switch t {
	case TypeText, TypeImage, TypeAudio, TypeVideo, TypePDF, TypeExcel:
		return true
	}
	return false
}

// Limits of schemas.
const (
	MaxSchemaFields = 1000 // in one schema, nested ones included
	MaxSchemaDepth  = 16
	MaxFieldName    = 100 // bytes
)

// SchemaField describes one field of a bucket or input schema.
type SchemaField struct {
	Type        FieldType
	Required    bool
	HasDefault  bool // a default of null is none
	Default     any
	Description string
	Enum        []any // nil: any value
	Examples    []any
	Items       *SchemaField            // of an array's elements; nil: any
	Properties  map[string]*SchemaField // of an object's members; nil: any
	Extra       map[string]any          // members beyond these, kept as given
}

// BucketSchema says which fields the objects of a bucket have. Fields beyond it
// are allowed and not checked.
type BucketSchema struct {
	Properties map[string]*SchemaField
	Extra      map[string]any // members beside "properties", kept as given
}

// ParseBucketSchema reads {"properties": {name: {type, required, default, items,
// properties, enum, examples, description}}}; path begins the errors' paths. All
// violations are in the one error. Absent and null give nil.
func ParseBucketSchema(path string, raw json.RawMessage) (*BucketSchema, error) {
	m, err := schemaObject(path, raw)
	if m == nil || err != nil {
		return nil, err
	}
	p := schemaParser{types: BucketFieldTypes}
	s := &BucketSchema{Extra: map[string]any{}}
	switch props := m["properties"].(type) {
	case map[string]any:
		s.Properties = p.fields(path+".properties", props, 1)
	case nil:
		p.report(path+".properties", "missing", "is required; give a map of field names to {\"type\": …}")
	default:
		p.report(path+".properties", "type", "must be a map of field names to {\"type\": …}, not %s", valueKind(props))
	}
	for k, v := range m {
		if k != "properties" {
			s.Extra[k] = v
		}
	}
	if err := invalidAll(p.found); err != nil {
		return nil, err
	}
	return s, nil
}

func schemaObject(path string, raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	v, err := DecodeValue(raw)
	if err != nil {
		return nil, Invalid(path, "json", "%s", err.Error())
	}
	switch m := v.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return m, nil
	}
	return nil, Invalid(path, "type", "must be an object, not %s", valueKind(v))
}

type schemaParser struct {
	types []FieldType
	found []Violation
	count int
}

func (p *schemaParser) report(path, kind, format string, args ...any) {
	p.found = append(p.found, Violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)})
}

func (p *schemaParser) fields(path string, m map[string]any, depth int) map[string]*SchemaField {
	fields := make(map[string]*SchemaField, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		where := path + "." + name
		switch {
		case name == "" || len(name) > MaxFieldName:
			p.report(where, "range", "a field's name has 1 to %d bytes", MaxFieldName)
			continue
		case name == "_internal":
			p.report(where, "pattern", "the name _internal is taken by the system; choose another")
			continue
		}
		if f := p.field(where, m[name], depth); f != nil {
			fields[name] = f
		}
	}
	return fields
}

func (p *schemaParser) field(path string, v any, depth int) *SchemaField {
	p.count++
	switch {
	case p.count == MaxSchemaFields+1:
		p.report(path, "range", "the schema has more than %d fields", MaxSchemaFields)
		return nil
	case p.count > MaxSchemaFields:
		return nil
	case depth > MaxSchemaDepth:
		p.report(path, "range", "the schema is nested deeper than %d levels", MaxSchemaDepth)
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		p.report(path, "type", "must be an object such as {\"type\": \"string\"}, not %s", valueKind(v))
		return nil
	}
	f := &SchemaField{Extra: map[string]any{}}
	name, _ := m["type"].(string)
	f.Type = FieldType(name)
	if !slices.Contains(p.types, f.Type) {
		names := make([]string, len(p.types))
		for i, t := range p.types {
			names[i] = string(t)
		}
		said := "is required"
		if m["type"] != nil {
			said = string(EncodeValue(m["type"])) + " is no type"
		}
		p.report(path+".type", "enum", "%s; allowed are %s", said, strings.Join(names, ", "))
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		p.member(path, f, key, m[key], depth)
	}
	if f.HasDefault {
		p.found = append(p.found, f.check(path+".default", f.Default, false)...)
	}
	return f
}

func (p *schemaParser) member(path string, f *SchemaField, key string, v any, depth int) {
	where := path + "." + key
	wrong := func(want string) { p.report(where, "type", "must be %s, not %s", want, valueKind(v)) }
	if v == nil {
		return
	}
	var ok bool
	switch key {
	case "type":
	case "required":
		if f.Required, ok = v.(bool); !ok {
			wrong("true or false")
		}
	case "description":
		if f.Description, ok = v.(string); !ok {
			wrong("a string")
		}
	case "default":
		f.HasDefault, f.Default = true, v
	case "examples":
		if f.Examples, ok = v.([]any); !ok {
			wrong("a list")
		}
	case "enum":
		if f.Enum, ok = v.([]any); !ok {
			wrong("a list of values")
		} else if len(f.Enum) == 0 {
			p.report(where, "missing", "is an empty list, which allows nothing; leave it out or give at least one value")
		}
	case "items":
		if f.Type != TypeArray {
			p.report(where, "type", "belongs to the type array, not %s", f.Type)
			return
		}
		f.Items = p.field(where, v, depth+1)
	case "properties":
		if f.Type != TypeObject {
			p.report(where, "type", "belongs to the type object, not %s", f.Type)
			return
		}
		m, ok := v.(map[string]any)
		if !ok {
			wrong("a map of field names to {\"type\": …}")
			return
		}
		f.Properties = p.fields(where, m, depth+1)
	default:
		f.Extra[key] = v
	}
}

// MarshalJSON writes the canonical form, which ParseBucketSchema reads back.
func (s *BucketSchema) MarshalJSON() ([]byte, error) {
	m := map[string]any{"properties": fieldsValue(s.Properties)}
	for k, v := range s.Extra {
		m[k] = v
	}
	return appendValue(nil, m), nil
}

// UnmarshalJSON is ParseBucketSchema; JSON null leaves s as it is.
func (s *BucketSchema) UnmarshalJSON(raw []byte) error {
	t, err := ParseBucketSchema("bucket_schema", raw)
	if t != nil && err == nil {
		*s = *t
	}
	return err
}

func fieldsValue(fields map[string]*SchemaField) map[string]any {
	m := make(map[string]any, len(fields))
	for name, f := range fields {
		m[name] = f.value()
	}
	return m
}

func (f *SchemaField) value() any {
	m := map[string]any{"type": string(f.Type)}
	for k, v := range f.Extra {
		m[k] = v
	}
	if f.Required {
		m["required"] = true
	}
	if f.HasDefault {
		m["default"] = f.Default
	}
	if f.Description != "" {
		m["description"] = f.Description
	}
	if f.Enum != nil {
		m["enum"] = f.Enum
	}
	if f.Examples != nil {
		m["examples"] = f.Examples
	}
	if f.Items != nil {
		m["items"] = f.Items.value()
	}
	if f.Properties != nil {
		m["properties"] = fieldsValue(f.Properties)
	}
	return m
}

// MarshalJSON writes the field in the canonical form of its schema.
func (f *SchemaField) MarshalJSON() ([]byte, error) { return appendValue(nil, f.value()), nil }

func elementPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
