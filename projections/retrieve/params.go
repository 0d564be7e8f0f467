package retrieve

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"varve/domain"
)

// decoder fills a stage's parameter struct from a decoded JSON value. The
// struct's tags say everything: json (name), default, min, max (of a number; of
// a list, its length), enum, required, raw (templates inside are the stage's own).
//
// Template strings are filled from env on the way; a value that an absent
// optional input leaves empty is as if it were not given. Without env the
// templates are left, and stand for any value: that is how parameters are
// checked before there are inputs. Filters keep conditions that read DOC, which
// the stage fills document by document.
type decoder struct {
	env   *domain.TemplateEnv
	plain bool // inside what a template gave: text that looks like a template is text
	found []domain.Violation
}

var filterType = reflect.TypeFor[*domain.Filter]()

// decode gives one error with all violations; v nil is an empty object.
func (d *decoder) decode(path string, v any, into any) error {
	if v == nil {
		v = map[string]any{}
	}
	d.value(path, v, reflect.ValueOf(into).Elem(), "")
	return violations(d.found)
}

func violations(found []domain.Violation) error {
	if len(found) == 0 {
		return nil
	}
	e := domain.Invalid(found[0].Path, found[0].Type, "%s", found[0].Message)
	e.Violations = found
	return e
}

func (d *decoder) report(path, kind, format string, args ...any) {
	d.found = append(d.found, domain.Violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)})
}

// explicitNull is a null that a raw parameter was given, unlike one left out.
type explicitNull struct{}

// MarshalJSON is null.
func (explicitNull) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// adopt takes over the violations of an error about part of the value.
func (d *decoder) adopt(path string, err error) {
	d.found = append(d.found, violationsOf(path, err)...)
}

func violationsOf(path string, err error) []domain.Violation {
	var e *domain.Error
	if errors.As(err, &e) && len(e.Violations) > 0 {
		return e.Violations
	}
	return []domain.Violation{{Path: path, Type: "value", Message: err.Error()}}
}

func templated(v any) bool {
	s, ok := v.(string)
	return ok && (strings.Contains(s, "{{") || strings.Contains(s, "{%"))
}

func (d *decoder) value(path string, v any, dst reflect.Value, tag reflect.StructTag) {
	if dst.Type() == filterType {
		d.filter(path, v, dst)
		return
	}
	if tag.Get("raw") != "" {
		dst.Set(reflect.ValueOf(v))
		return
	}
	if templated(v) && !d.plain {
		if d.env == nil {
			if dst.Kind() == reflect.String {
				dst.SetString(v.(string))
			} else if dst.Kind() == reflect.Interface {
				dst.Set(reflect.ValueOf(v))
			}
			return
		}
		out, err := domain.RenderValue(path, v, *d.env)
		if err != nil {
			d.adopt(path, err)
			return
		}
		if out == nil {
			return // as if it were not given
		}
		v, d.plain = out, true
		defer func() { d.plain = false }()
	}
	switch dst.Kind() {
	case reflect.Pointer:
		p := reflect.New(dst.Type().Elem())
		d.value(path, v, p.Elem(), tag)
		dst.Set(p)
	case reflect.Interface:
		d.free(path, v, dst)
	case reflect.Struct:
		d.object(path, v, dst)
	case reflect.Slice:
		d.list(path, v, dst, tag)
	case reflect.String:
		s, ok := v.(string)
		if !ok && isNumber(v) {
			s, ok = string(domain.EncodeValue(v)), true
		}
		if !ok {
			d.report(path, "type", "must be a string, not %s", describe(v))
			return
		}
		if enum := tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), s) {
			d.report(path, "enum", "%q is not allowed; allowed are %s", s, strings.ReplaceAll(enum, ",", ", "))
			return
		}
		dst.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if s, isText := v.(string); isText {
			var err error
			b, err = strconv.ParseBool(s)
			ok = err == nil
		}
		if !ok {
			d.report(path, "type", "must be true or false, not %s", describe(v))
			return
		}
		dst.SetBool(b)
	case reflect.Int, reflect.Float64:
		d.number(path, v, dst, tag)
	default:
		panic("retrieve: a parameter has a type that the decoder does not know: " + dst.Type().String())
	}
}

// free keeps any JSON value, its templates filled.
func (d *decoder) free(path string, v any, dst reflect.Value) {
	if d.env != nil && !d.plain {
		out, err := domain.RenderValue(path, v, *d.env)
		if err != nil {
			d.adopt(path, err)
			return
		}
		v = out
	}
	if v != nil {
		dst.Set(reflect.ValueOf(v))
	}
}

func (d *decoder) filter(path string, v any, dst reflect.Value) {
	parse := domain.ParseFilterValue
	if d.plain {
		parse = domain.ParseLiteralFilterValue
	} else if templated(v) { // a whole filter as an input: what it says is never rendered
		if d.env == nil {
			return
		}
		parse = domain.ParseLiteralFilterValue
		out, err := domain.RenderValue(path, v, *d.env)
		if err != nil {
			d.adopt(path, err)
			return
		}
		v = out
	}
	f, err := parse(path, v)
	if err == nil && d.env != nil && !readsDocument(f) {
		f, err = resolve(path, f, *d.env)
	}
	if err != nil {
		d.adopt(path, err)
		return
	}
	dst.Set(reflect.ValueOf(f))
}

// resolve is domain.ResolveFilter with errors that say where the filter stands.
func resolve(path string, f *domain.Filter, env domain.TemplateEnv) (*domain.Filter, error) {
	out, err := domain.ResolveFilter(f, env)
	if err == nil {
		return out, nil
	}
	found := slices.Clone(violationsOf("filter", err))
	for i := range found {
		if rest, ok := strings.CutPrefix(found[i].Path, "filter"); ok {
			found[i].Path = path + rest
		}
	}
	return nil, violations(found)
}

// readsDocument says whether a filter has a value that comes from the document.
func readsDocument(f *domain.Filter) bool {
	found := false
	f.Conditions(func(c *domain.Condition) {
		if !c.Pending() {
			return // its value is text, whatever it looks like
		}
		if name, _, _ := strings.Cut(c.Dynamic, "."); strings.EqualFold(name, "doc") {
			found = true
		}
		walk(c.Value, func(s string) {
			if !templated(s) {
				return
			}
			if t, err := domain.ParseTemplate(s); err == nil {
				for _, n := range t.Names() {
					found = found || n.Namespace == "DOC"
				}
			}
		})
	})
	return found
}

func walk(v any, visit func(string)) {
	switch x := v.(type) {
	case string:
		visit(x)
	case []any:
		for _, e := range x {
			walk(e, visit)
		}
	case map[string]any:
		for _, e := range x {
			walk(e, visit)
		}
	}
}

func (d *decoder) object(path string, v any, dst reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		d.report(path, "type", "must be an object, not %s", describe(v))
		return
	}
	members := membersOf(dst.Type())
	read := 0
	for i := range members {
		f := &members[i]
		if f.fallback.IsValid() {
			dst.Field(f.index).Set(f.fallback)
		}
		given, ok := m[f.name]
		if ok {
			read++
		}
		if !ok || given == nil && !f.raw {
			if f.required {
				d.report(path+"."+f.name, "missing", "is required: %s", f.tag.Get("doc"))
			}
			continue
		}
		if given == nil {
			given = explicitNull{}
		}
		d.value(path+"."+f.name, given, dst.Field(f.index), f.tag)
	}
	if read == len(m) {
		return
	}
	known := make([]string, len(members))
	for i := range members {
		known[i] = members[i].name
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			d.report(path+"."+key, "extra_forbidden", "is not read here; allowed are %s", strings.Join(known, ", "))
		}
	}
}

// member is a field of a parameter struct with what its tags say.
type member struct {
	index         int
	name          string
	tag           reflect.StructTag
	fallback      reflect.Value // the default; invalid where there is none
	raw, required bool
}

var membersByType sync.Map // of reflect.Type → []member

// membersOf lists the parameters of a struct: its exported fields.
func membersOf(t reflect.Type) []member {
	if known, ok := membersByType.Load(t); ok {
		return known.([]member)
	}
	var list []member
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		m := member{index: i, name: name, tag: f.Tag, raw: f.Tag.Get("raw") != "", required: f.Tag.Get("required") != ""}
		if text := f.Tag.Get("default"); text != "" {
			m.fallback = defaultOf(f.Type, text)
		}
		list = append(list, m)
	}
	membersByType.Store(t, list)
	return list
}

func (d *decoder) list(path string, v any, dst reflect.Value, tag reflect.StructTag) {
	list, ok := v.([]any)
	if !ok {
		d.report(path, "type", "must be a list, not %s", describe(v))
		return
	}
	if most, err := strconv.Atoi(tag.Get("max")); err == nil && len(list) > most {
		d.report(path, "range", "has %d elements; at most %d are read", len(list), most)
		return
	}
	if least, err := strconv.Atoi(tag.Get("min")); err == nil && len(list) < least {
		d.report(path, "range", "has %d elements; at least %d are needed", len(list), least)
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, e := range list {
		d.value(fmt.Sprintf("%s[%d]", path, i), e, out.Index(i), "")
	}
	dst.Set(out)
}

func (d *decoder) number(path string, v any, dst reflect.Value, tag reflect.StructTag) {
	text, isText := v.(string)
	if !isText && isNumber(v) {
		text, isText = string(domain.EncodeValue(v)), true
	}
	x, err := strconv.ParseFloat(text, 64)
	whole := dst.Kind() == reflect.Int
	switch {
	case !isText || err != nil || math.IsInf(x, 0) || math.IsNaN(x):
		d.report(path, "type", "must be a number, not %s", describe(v))
		return
	case whole && x != math.Trunc(x):
		d.report(path, "type", "must be a whole number, not %s", text)
		return
	}
	least, errLeast := strconv.ParseFloat(tag.Get("min"), 64)
	most, errMost := strconv.ParseFloat(tag.Get("max"), 64)
	if errLeast == nil && x < least || errMost == nil && x > most {
		allowed := "at least " + tag.Get("min")
		if errMost == nil {
			allowed = tag.Get("min") + " to " + tag.Get("max")
		}
		d.report(path, "range", "%s is out of range; allowed are %s", text, allowed)
		return
	}
	if whole {
		dst.SetInt(int64(x))
	} else {
		dst.SetFloat(x)
	}
}

func defaultOf(t reflect.Type, text string) reflect.Value {
	dst := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		dst.SetString(text)
	case reflect.Bool:
		dst.SetBool(text == "true")
	case reflect.Int:
		n, _ := strconv.ParseInt(text, 10, 64)
		dst.SetInt(n)
	case reflect.Float64:
		x, _ := strconv.ParseFloat(text, 64)
		dst.SetFloat(x)
	}
	return dst
}

func isNumber(v any) bool {
	_, ordered := domain.CompareValues(v, 0)
	return ordered
}

// describe names a decoded value for a message.
func describe(v any) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case string:
		if len(x) > 40 {
			return "a string"
		}
		return strconv.Quote(x)
	case bool:
		return strconv.FormatBool(x)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return string(domain.EncodeValue(v))
}
