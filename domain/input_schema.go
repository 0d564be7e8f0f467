package domain

import (
	"encoding/json"
	"maps"
	"slices"
)

// InputSchema says which inputs a retriever takes.
type InputSchema struct {
	Fields map[string]*SchemaField
}

// ParseInputSchema reads a map of names to {type, required, default, description,
// enum, items, properties, examples}, also inside {"properties": {…}}; path begins
// the errors' paths. All violations are in the one error. Absent and null give nil.
func ParseInputSchema(path string, raw json.RawMessage) (*InputSchema, error) {
	m, err := schemaObject(path, raw)
	if m == nil || err != nil {
		return nil, err
	}
	if inner, ok := m["properties"].(map[string]any); ok && isWrapped(m, inner) {
		m, path = inner, path+".properties"
	}
	p := schemaParser{types: InputFieldTypes}
	s := &InputSchema{Fields: p.fields(path, m, 1)}
	if err := invalidAll(p.found); err != nil {
		return nil, err
	}
	return s, nil
}

// isWrapped tells {"properties": {name: field}} from an input that is called
// "properties": a field says its type as a string.
func isWrapped(m, inner map[string]any) bool {
	if _, isField := inner["type"].(string); isField {
		return false
	}
	for k, v := range m {
		if k == "properties" {
			continue
		}
		if _, isField := v.(map[string]any); isField {
			return false
		}
	}
	return true
}

// Apply gives the inputs with defaults added, and what is wrong with them. An
// input that is null is absent. Inputs that the schema does not name are kept; see
// Unknown. A nil schema takes everything as it is. Violations begin with "inputs".
func (s *InputSchema) Apply(inputs map[string]any) (map[string]any, []Violation) {
	out := make(map[string]any, len(inputs))
	for k, v := range inputs {
		out[k] = v
	}
	if s == nil {
		return out, nil
	}
	for name := range s.Fields {
		if v, given := out[name]; given && v == nil {
			delete(out, name)
		}
	}
	out = withDefaults(s.Fields, out)
	return out, checkFields("inputs", s.Fields, out)
}

// Unknown names the inputs that the schema does not, sorted, for a warning.
func (s *InputSchema) Unknown(inputs map[string]any) []string {
	var names []string
	if s == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if s.Fields[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

// Optional gives the declared inputs that may be absent after Apply, for
// TemplateEnv.Optional.
func (s *InputSchema) Optional() map[string]bool {
	names := map[string]bool{}
	if s == nil {
		return names
	}
	for name, f := range s.Fields {
		if !f.HasDefault && !f.Required {
			names[name] = true
		}
	}
	return names
}

// Names gives the declared inputs, for TemplateNames.Input. It is nil, which
// leaves names unchecked, for a nil schema.
func (s *InputSchema) Names() map[string]bool {
	if s == nil {
		return nil
	}
	names := map[string]bool{}
	for name := range s.Fields {
		names[name] = true
	}
	return names
}

// MarshalJSON writes the map in canonical form, which ParseInputSchema reads back.
func (s *InputSchema) MarshalJSON() ([]byte, error) {
	return appendValue(nil, fieldsValue(s.Fields)), nil
}

// UnmarshalJSON is ParseInputSchema; JSON null leaves s as it is.
func (s *InputSchema) UnmarshalJSON(raw []byte) error {
	t, err := ParseInputSchema("input_schema", raw)
	if t != nil && err == nil {
		*s = *t
	}
	return err
}
