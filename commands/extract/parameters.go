package extract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"varve/domain"
)

// Parameters are fields of a struct with these tags:
//
//	json     the parameter's name
//	doc      what it does
//	default  its value where it is not given, or null (not for slices); without it, it is required inside lists and empty elsewhere
//	enum     the values it may have, separated by spaces
//	min, max of numbers; min of a string's length
//	refused  why this parameter of the reference cannot be used here; only its default is accepted
//
// Types are string, int, bool, slices of structs of these, and json.RawMessage for refused ones.

const parametersPath = "feature_extractor.parameters"

type violation = domain.Violation

// invalid makes the error of violations, nil without any.
func invalid(violations []violation) error {
	if len(violations) == 0 {
		return nil
	}
	v := violations[0]
	message := v.Path + ": " + v.Message
	if n := len(violations); n > 1 {
		message += fmt.Sprintf(" (and %d more)", n-1)
	}
	return &domain.Error{Code: domain.CodeInvalid, Message: message, Violations: violations}
}

// decodeParameters reads parameters of the extractor called name. Besides the
// struct's fields, extractor_type may be given and must be name.
func decodeParameters[P any](name string, params json.RawMessage) (P, []violation) {
	var p P
	d := decoder{}
	d.object(parametersPath, params, reflect.ValueOf(&p).Elem(), name)
	return p, d.violations
}

type decoder struct{ violations []violation }

func (d *decoder) add(path, kind, format string, args ...any) {
	d.violations = append(d.violations, violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)})
}

func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

// object fills a struct. extractorType is empty inside lists.
func (d *decoder) object(path string, raw json.RawMessage, into reflect.Value, extractorType string) {
	members := map[string]json.RawMessage{}
	if !isNull(raw) {
		if err := json.Unmarshal(raw, &members); err != nil {
			d.add(path, "type", "must be an object")
			return
		}
	}
	if t, given := members["extractor_type"]; given && extractorType != "" {
		var s string
		if !isNull(t) && (json.Unmarshal(t, &s) != nil || s != extractorType) {
			d.add(path+".extractor_type", "enum", "is %s; must be %q, the extractor's name", short(t), extractorType)
		}
		delete(members, "extractor_type")
	}
	var known []string
	for i := range into.NumField() {
		f := into.Type().Field(i)
		name := f.Tag.Get("json")
		if _, refused := f.Tag.Lookup("refused"); !refused {
			known = append(known, name)
		}
		d.field(path+"."+name, members[name], f, into.Field(i), extractorType == "")
		delete(members, name)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		d.add(path+"."+name, "extra_forbidden", "is not a parameter; there are: %s", strings.Join(known, ", "))
	}
}

func (d *decoder) field(path string, raw json.RawMessage, f reflect.StructField, into reflect.Value, inList bool) {
	standard, hasDefault := f.Tag.Lookup("default")
	if reason, refused := f.Tag.Lookup("refused"); refused {
		if !isNull(raw) && !(hasDefault && sameValue(raw, standard)) {
			d.add(path, "unsupported", "cannot be used: %s; leave it out", reason)
		}
		return
	}
	if isNull(raw) {
		switch {
		case hasDefault:
			raw = json.RawMessage(standard)
			if f.Type.Kind() == reflect.String {
				raw, _ = json.Marshal(standard)
			}
		case inList:
			d.add(path, "missing", "is missing")
			return
		default:
			return
		}
	}
	switch f.Type.Kind() {
	case reflect.String:
		d.text(path, raw, f, into)
	case reflect.Int:
		d.number(path, raw, f, into)
	case reflect.Bool:
		var b bool
		if json.Unmarshal(raw, &b) != nil {
			d.add(path, "type", "is %s; must be true or false", short(raw))
		}
		into.SetBool(b)
	case reflect.Slice:
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			d.add(path, "type", "is %s; must be a list", short(raw))
			return
		}
		into.Set(reflect.MakeSlice(f.Type, len(list), len(list)))
		for i, element := range list {
			d.object(fmt.Sprintf("%s[%d]", path, i), element, into.Index(i), "")
		}
	default:
		panic("parameter " + path + " has a type that is not provided for")
	}
}

func (d *decoder) text(path string, raw json.RawMessage, f reflect.StructField, into reflect.Value) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		d.add(path, "type", "is %s; must be a string", short(raw))
		return
	}
	if enum := strings.Fields(f.Tag.Get("enum")); len(enum) > 0 && !slices.Contains(enum, s) {
		d.add(path, "enum", "is %q; must be one of %s", s, strings.Join(enum, ", "))
	}
	if least, err := strconv.Atoi(f.Tag.Get("min")); err == nil && len(s) < least {
		d.add(path, "length", "must have at least %d characters", least)
	}
	into.SetString(s)
}

func (d *decoder) number(path string, raw json.RawMessage, f reflect.StructField, into reflect.Value) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	if err != nil {
		d.add(path, "type", "is %s; must be a whole number", short(raw))
		return
	}
	least, _ := strconv.ParseInt(f.Tag.Get("min"), 10, 64)
	most, _ := strconv.ParseInt(f.Tag.Get("max"), 10, 64)
	if n < least || n > most {
		d.add(path, "range", "is %d; must be from %d to %d", n, least, most)
	}
	into.SetInt(n)
}

// sameValue compares a JSON scalar with a default's text.
func sameValue(raw json.RawMessage, standard string) bool {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s == standard
	}
	return string(bytes.TrimSpace(raw)) == standard
}

// short shows a JSON value in a message.
func short(raw json.RawMessage) string {
	if len(raw) > 60 {
		return string(raw[:57]) + "…"
	}
	return string(raw)
}
