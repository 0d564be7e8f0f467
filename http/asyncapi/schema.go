package asyncapi

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"varve/domain"
)

// schemas makes JSON Schemas of Go types as encoding/json writes them. What it
// says holds in draft 7 and in 2020-12 alike, so that AsyncAPI's tools, which
// read the former, and everybody else read the same. Objects are open: a later
// version may add members.
type schemas struct {
	refs  string                  // before the name of a struct: "#/components/schemas/"
	defs  map[string]any          // structs that others refer to, by name
	names map[string]reflect.Type // of defs, so that no two types share one
	seen  map[string]bool         // names of all structs, embedded ones too
}

func newSchemas(refs string) *schemas {
	return &schemas{refs: refs, defs: map[string]any{}, names: map[string]reflect.Type{}, seen: map[string]bool{}}
}

var (
	rawJSON       = reflect.TypeFor[json.RawMessage]()
	timeType      = reflect.TypeFor[time.Time]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// event gives the schema of an event type's data; false where nobody registered it.
func (s *schemas) event(name string) (map[string]any, bool) {
	e, err := domain.DecodeEvent(name, 1, nil)
	if err != nil {
		return nil, false
	}
	t := reflect.TypeOf(e).Elem()
	schema := s.object(t)
	schema["title"] = name
	if text := texts()[t.Name()]; text != "" {
		schema["description"] = text
	}
	return schema, true
}

// of gives the schema of a value of a type, behind a reference where it is a named struct.
func (s *schemas) of(t reflect.Type) map[string]any {
	switch {
	case t == rawJSON:
		return map[string]any{}
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		return map[string]any{} // its own form, which reflection does not know
	case t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.ref(t)
	}
	return map[string]any{}
}

// ref refers to a struct's schema and makes it where nobody has; the name is
// taken first, so that a struct may hold itself.
func (s *schemas) ref(t reflect.Type) map[string]any {
	name := t.Name()
	if name == "" {
		return s.object(t)
	}
	if before, taken := s.names[name]; !taken {
		s.names[name] = t
		schema := s.object(t)
		if text := texts()[name]; text != "" {
			schema["description"] = text
		}
		s.defs[name] = schema
	} else if before != t {
		panic(fmt.Sprintf("two structs of events are named %s: %s and %s", name, before, t))
	}
	return map[string]any{"$ref": s.refs + name}
}

func (s *schemas) object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	s.members(t, properties, &required)
	schema := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// members adds a struct's members, those of embedded structs among them. A
// member that is always written is required; it may be null where Go's nil is.
func (s *schemas) members(t reflect.Type, properties map[string]any, required *[]string) {
	s.seen[t.Name()] = true
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			s.members(f.Type, properties, required)
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		schema := s.of(f.Type)
		if always := !strings.Contains(options, "omit"); always {
			*required = append(*required, name)
			if k := f.Type.Kind(); f.Type != rawJSON && (k == reflect.Slice || k == reflect.Map || k == reflect.Pointer) {
				schema = nullable(schema)
			}
		}
		if text := texts()[t.Name()+"."+f.Name]; text != "" {
			if _, isRef := schema["$ref"]; isRef { // draft 7 ignores what stands beside a reference
				schema = map[string]any{"allOf": []any{schema}}
			}
			schema["description"] = text
		}
		properties[name] = schema
	}
}

func nullable(schema map[string]any) map[string]any {
	if kind, ok := schema["type"].(string); ok {
		schema["type"] = []string{kind, "null"}
		return schema
	}
	if len(schema) == 0 {
		return schema
	}
	return map[string]any{"anyOf": []any{schema, map[string]any{"type": "null"}}}
}
