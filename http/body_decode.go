package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"varve/domain"
)

// Maybe tells an absent member (Set false) from null (Set and Null) and from a value.
type Maybe[T any] struct {
	Set, Null bool
	Value     T
}

// member marks it as set and says where the value goes.
func (m *Maybe[T]) target(null bool) reflect.Value {
	m.Set, m.Null = true, null
	return reflect.ValueOf(&m.Value).Elem()
}

// Or gives the value where one was sent, else what it was before.
func (m Maybe[T]) Or(before T) T {
	if m.Set {
		return m.Value
	}
	return before
}

// decoder fills a Go value from a node, collecting every wrong value and every
// unknown member instead of stopping at the first.
type decoder struct {
	wrong   []domain.Violation
	unknown []string
}

func (d *decoder) refuse(path, kind, format string, args ...any) {
	if path == "" {
		path = "body"
	}
	d.wrong = append(d.wrong, domain.Violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)})
}

var (
	rawType     = reflect.TypeFor[json.RawMessage]()
	timeType    = reflect.TypeFor[time.Time]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

func (d *decoder) into(v reflect.Value, n *node, path string) {
	t := v.Type()
	if m, ok := v.Addr().Interface().(interface{ target(bool) reflect.Value }); ok {
		if inner := m.target(n.kind == '0'); n.kind != '0' {
			d.into(inner, n, path)
		}
		return
	}
	switch {
	case t == rawType:
		v.SetBytes(n.raw)
		return
	case t == timeType:
		d.time(v, n, path)
		return
	case n.kind == '0' && t.Kind() != reflect.Interface:
		return // null is the zero value, as if the member were absent; required members are looked at by fields
	case reflect.PointerTo(t).Implements(unmarshaler):
		if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(n.raw); err != nil {
			d.custom(path, err)
		}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		d.into(v.Elem(), n, path)
	case reflect.Struct:
		if n.kind != '{' {
			d.refuse(path, "object_type", "must be an object, not %s", n.said())
			return
		}
		d.object(v, n, path)
	case reflect.Map:
		if n.kind != '{' {
			d.refuse(path, "object_type", "must be an object, not %s", n.said())
			return
		}
		v.Set(reflect.MakeMapWithSize(t, len(n.open().members)))
		for _, m := range n.members {
			item := reflect.New(t.Elem()).Elem()
			d.into(item, m.value, join(path, m.name))
			v.SetMapIndex(reflect.ValueOf(m.name).Convert(t.Key()), item)
		}
	case reflect.Slice:
		if n.kind != '[' {
			d.refuse(path, "list_type", "must be an array, not %s", n.said())
			return
		}
		v.Set(reflect.MakeSlice(t, len(n.open().items), len(n.items)))
		for i, item := range n.items {
			d.into(v.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		d.leaf(v, n, path, '"', "string_type", "a string")
	case reflect.Bool:
		d.leaf(v, n, path, 't', "bool_type", "a boolean")
	case reflect.Float32, reflect.Float64:
		d.leaf(v, n, path, 'n', "float_type", "a number")
	case reflect.Interface:
		value, err := domain.DecodeValue(n.raw)
		if err != nil {
			d.custom(path, err)
			return
		}
		if value != nil {
			v.Set(reflect.ValueOf(value))
		}
	default:
		d.leaf(v, n, path, 'n', "int_type", "an integer")
	}
}

func (d *decoder) leaf(v reflect.Value, n *node, path string, kind byte, word, what string) {
	if n.kind != kind {
		d.refuse(path, word, "must be %s, not %s", what, n.said())
		return
	}
	if err := json.Unmarshal(n.raw, v.Addr().Interface()); err != nil {
		d.refuse(path, word, "must be %s that fits; %s does not", what, shorten(n.raw))
	}
}

func shorten(raw []byte) string {
	if len(raw) > 40 {
		return string(raw[:40]) + "…"
	}
	return string(raw)
}

// time accepts what clients write: RFC 3339, without an offset (UTC), a bare date.
func (d *decoder) time(v reflect.Value, n *node, path string) {
	if n.kind == '0' {
		return
	}
	var s string
	if n.kind == '"' && json.Unmarshal(n.raw, &s) == nil {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
			if t, err := time.Parse(layout, s); err == nil {
				v.Set(reflect.ValueOf(t.UTC()))
				return
			}
		}
	}
	d.refuse(path, "datetime_type", "must be a date and time like 2026-11-24T12:00:00Z, not %s", shorten(n.raw))
}

// custom reports the error of a type that decodes itself.
func (d *decoder) custom(path string, err error) {
	var e *domain.Error
	if errors.As(err, &e) && len(e.Violations) > 0 {
		for _, v := range e.Violations {
			v.Path = join(path, v.Path)
			d.wrong = append(d.wrong, v)
		}
		return
	}
	d.refuse(path, "value_error", "%s", err)
}

// fieldsOf lists a struct's members by their JSON name, embedded structs included.
type field struct {
	index    []int
	required bool
}

var fieldCache sync.Map // reflect.Type → map[string]field

func fieldsOf(t reflect.Type) map[string]field {
	if known, ok := fieldCache.Load(t); ok {
		return known.(map[string]field)
	}
	fields := map[string]field{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous && name == "" || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		required := false
		for rule := range strings.SplitSeq(f.Tag.Get("validate"), ",") {
			required = required || rule == "required"
		}
		fields[name] = field{f.Index, required}
	}
	fieldCache.Store(t, fields)
	return fields
}

func (d *decoder) object(v reflect.Value, n *node, path string) {
	fields := fieldsOf(v.Type())
	for _, m := range n.open().members {
		f, known := fields[m.name]
		if !known {
			d.unknown = append(d.unknown, join(path, m.name))
			continue
		}
		d.into(v.FieldByIndex(f.index), m.value, join(path, m.name))
	}
	for name, f := range fields {
		if f.required {
			if given := n.member(name); given == nil || given.kind == '0' {
				d.refuse(join(path, name), "missing", "is required")
			}
		}
	}
}
