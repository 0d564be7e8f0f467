package domain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

type blobValue struct{}

// BlobValue stands, among the fields that Check is given, for what a blob fills:
// it suits blob types, strings, objects and arrays.
var BlobValue any = blobValue{}

// Check says what is wrong with an object's fields; path begins the violations'
// paths. Fields that the schema does not name are allowed. A null is an absent
// field. A required field that has a default may be absent.
func (s *BucketSchema) Check(path string, fields map[string]any) []Violation {
	if s == nil {
		return nil
	}
	return checkFields(path, s.Properties, fields)
}

// Has says whether the schema names the field. A nil schema names none.
func (s *BucketSchema) Has(name string) bool { return s != nil && s.Properties[name] != nil }

// Names gives the fields of the schema in order, for messages.
func (s *BucketSchema) Names() string {
	if s == nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
}

// ApplyDefaults gives the fields with the defaults of absent ones added; the map
// given is not changed.
func (s *BucketSchema) ApplyDefaults(fields map[string]any) map[string]any {
	if s == nil {
		return fields
	}
	return withDefaults(s.Properties, fields)
}

func withDefaults(schema map[string]*SchemaField, fields map[string]any) map[string]any {
	out := make(map[string]any, len(fields))
	for k, v := range fields {
		out[k] = v
	}
	for name, f := range schema {
		v, given := out[name]
		switch {
		case (!given || v == nil) && f.HasDefault:
			out[name] = f.Default
		case f.Properties != nil:
			if m, ok := v.(map[string]any); ok {
				out[name] = withDefaults(f.Properties, m)
			}
		}
	}
	return out
}

func checkFields(path string, schema map[string]*SchemaField, fields map[string]any) []Violation {
	var found []Violation
	for _, name := range slices.Sorted(maps.Keys(schema)) {
		f := schema[name]
		where := joinPath(path, name)
		v := fields[name]
		if v != nil {
			found = append(found, f.check(where, v, true)...)
		} else if f.Required && !f.HasDefault {
			found = append(found, Violation{Path: where, Type: "missing", Message: "is required; give " + f.Type.form()})
		}
	}
	return found
}

// form tells what a value of the type looks like.
func (t FieldType) form() string {
	switch t {
	case TypeString:
		return "a string"
	case TypeNumber, TypeFloat:
		return "a number"
	case TypeInteger:
		return "a whole number"
	case TypeBoolean:
		return "true or false"
	case TypeObject:
		return "an object"
	case TypeArray:
		return "an array"
	case TypeDate:
		return "a date such as \"2024-05-31\""
	case TypeDatetime:
		return "a time such as \"2024-05-31T12:00:00Z\""
	case TypeText:
		return "a text, or an object that says where it is"
	case TypeDocumentReference:
		return "a document id, or {\"collection_id\", \"document_id\"}"
	}
	return "an address or base64 text of the " + string(t) + ", or an object that says where it is"
}

// accepts says whether a value, not null, has the type.
func (t FieldType) accepts(v any) bool {
	if v == BlobValue {
		return t.IsBlob() || t == TypeString || t == TypeObject || t == TypeArray
	}
	text, isText := v.(string)
	switch t {
	case TypeString:
		return isText
	case TypeNumber, TypeFloat:
		_, ok := numberText(v)
		return ok
	case TypeInteger:
		return IsInteger(v)
	case TypeBoolean:
		_, ok := v.(bool)
		return ok
	case TypeArray:
		_, ok := v.([]any)
		return ok
	case TypeDate:
		_, ok := ParseTime(text)
		return ok && len(text) == len("2006-01-02")
	case TypeDatetime:
		_, ok := ParseTime(text)
		return ok
	}
	m, isObject := v.(map[string]any)
	switch t {
	case TypeObject:
		return isObject
	case TypeText:
		return isText || isObject && len(m) > 0
	case TypeDocumentReference:
		id, _ := m["document_id"].(string)
		return text != "" || id != ""
	}
	return text != "" || isObject && len(m) > 0
}

// check says what is wrong with one value. In depth means that members and
// elements are looked at with their defaults and requirements.
func (f *SchemaField) check(path string, v any, inDepth bool) []Violation {
	if !f.Type.accepts(v) {
		return []Violation{{Path: path, Type: "type", Message: fmt.Sprintf("must be %s, not %s", f.Type.form(), describeValue(v))}}
	}
	if v == BlobValue {
		return nil
	}
	var found []Violation
	if f.Enum != nil && !slices.ContainsFunc(f.Enum, func(e any) bool { return EqualValues(e, v) }) {
		allowed := make([]string, len(f.Enum))
		for i, e := range f.Enum {
			allowed[i] = string(EncodeValue(e))
		}
		found = append(found, Violation{Path: path, Type: "enum", Message: fmt.Sprintf("%s is not allowed; allowed are %s", describeValue(v), strings.Join(allowed, ", "))})
	}
	if list, ok := v.([]any); ok && f.Items != nil {
		for i, e := range list {
			found = append(found, f.Items.check(elementPath(path, i), e, inDepth)...)
		}
	}
	if m, ok := v.(map[string]any); ok && f.Properties != nil && inDepth {
		found = append(found, checkFields(path, f.Properties, m)...)
	}
	return found
}

// describeValue names a wrong value: short scalars by what they are, others by kind.
func describeValue(v any) string {
	switch x := v.(type) {
	case blobValue:
		return "a blob"
	case []any, map[string]any, nil:
		return valueKind(v)
	case string:
		return "the string " + excerpt(x)
	}
	return string(EncodeValue(v))
}

// BreakingChanges says what in a new bucket schema would make objects invalid
// that were valid under the old one, or fields disappear that others may read:
// removed fields, other types (integer may become number or float, those two are
// the same), new requirements without a default, enumerations that allow less.
// Paths begin with "bucket_schema.properties".
func BreakingChanges(old, new *BucketSchema) []Violation {
	var before, after map[string]*SchemaField
	if old != nil {
		before = old.Properties
	}
	if new != nil {
		after = new.Properties
	}
	return breakingFields("bucket_schema.properties", before, after)
}

// BreakingInputChanges is BreakingChanges for input schemas; paths begin with
// "input_schema".
func BreakingInputChanges(old, new *InputSchema) []Violation {
	var before, after map[string]*SchemaField
	if old != nil {
		before = old.Fields
	}
	if new != nil {
		after = new.Fields
	}
	return breakingFields("input_schema", before, after)
}

func breakingFields(path string, old, new map[string]*SchemaField) []Violation {
	var found []Violation
	for _, name := range slices.Sorted(maps.Keys(old)) {
		where := path + "." + name
		if f, kept := new[name]; kept {
			found = append(found, breakingField(where, old[name], f)...)
		} else {
			found = append(found, Violation{Path: where, Type: "removed", Message: "the field is removed; keep it"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(new)) {
		if _, was := old[name]; !was && new[name].Required && !new[name].HasDefault {
			found = append(found, Violation{Path: path + "." + name, Type: "required", Message: "a new field is required; make it optional or give it a default"})
		}
	}
	return found
}

func breakingField(path string, old, new *SchemaField) []Violation {
	if !widens(old.Type, new.Type) {
		return []Violation{{Path: path + ".type", Type: "type", Message: fmt.Sprintf("the type changes from %s to %s; keep %s, or add a field", old.Type, new.Type, old.Type)}}
	}
	var found []Violation
	if mustGive(new) && !mustGive(old) {
		found = append(found, Violation{Path: path + ".required", Type: "required", Message: "the field becomes required; keep it optional or give it a default"})
	}
	switch {
	case new.Enum == nil:
	case old.Enum == nil:
		found = append(found, Violation{Path: path + ".enum", Type: "enum", Message: "the field had any value and gets an enumeration; leave it out"})
	default:
		for _, e := range old.Enum {
			if !slices.ContainsFunc(new.Enum, func(n any) bool { return EqualValues(e, n) }) {
				found = append(found, Violation{Path: path + ".enum", Type: "enum", Message: fmt.Sprintf("%s is no longer allowed; keep it", EncodeValue(e))})
			}
		}
	}
	switch {
	case new.Items == nil:
	case old.Items == nil:
		found = append(found, Violation{Path: path + ".items", Type: "type", Message: "the elements had any type and get one; leave it out"})
	default:
		found = append(found, breakingField(path+".items", old.Items, new.Items)...)
	}
	switch {
	case new.Properties == nil && old.Properties == nil:
	case old.Properties == nil:
		found = append(found, Violation{Path: path + ".properties", Type: "type", Message: "the members had any type and get some; leave them out"})
	default:
		found = append(found, breakingFields(path+".properties", old.Properties, new.Properties)...)
	}
	return found
}

func mustGive(f *SchemaField) bool { return f.Required && !f.HasDefault }

func widens(old, new FieldType) bool {
	number := func(t FieldType) bool { return t == TypeNumber || t == TypeFloat }
	return old == new || (number(old) || old == TypeInteger) && number(new) || old == TypeDate && new == TypeDatetime
}
