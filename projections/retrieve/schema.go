package retrieve

import (
	"reflect"
	"strconv"
	"strings"
)

// schemaOf gives the JSON Schema of a parameter struct, by the tags that the
// decoder reads too, so that the two cannot differ.
func schemaOf(p any) map[string]any {
	return objectSchema(reflect.TypeOf(p).Elem())
}

func objectSchema(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []any{}
	for _, f := range membersOf(t) {
		s := fieldSchema(t.Field(f.index).Type, f.tag)
		if doc := f.tag.Get("doc"); doc != "" {
			s["description"] = doc
		}
		if f.fallback.IsValid() {
			s["default"] = f.fallback.Interface()
		}
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func fieldSchema(t reflect.Type, tag reflect.StructTag) map[string]any {
	if t == filterType {
		return map[string]any{"type": "object"}
	}
	s := map[string]any{}
	number := func(name, key string) {
		if x, err := strconv.ParseFloat(tag.Get(key), 64); err == nil {
			s[name] = x
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return fieldSchema(t.Elem(), tag)
	case reflect.Struct:
		return objectSchema(t)
	case reflect.Slice:
		s["type"], s["items"] = "array", fieldSchema(t.Elem(), "")
		number("minItems", "min")
		number("maxItems", "max")
	case reflect.String:
		s["type"] = "string"
		if enum := tag.Get("enum"); enum != "" {
			s["enum"] = strings.Split(enum, ",")
		}
	case reflect.Bool:
		s["type"] = "boolean"
	case reflect.Int, reflect.Float64:
		s["type"] = "number"
		if t.Kind() == reflect.Int {
			s["type"] = "integer"
		}
		number("minimum", "min")
		number("maximum", "max")
	}
	return s
}
