package domain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// TemplateEnv is what templates can read. A nil namespace is not available at
// that place, and reading it is an error; INPUT is always available.
type TemplateEnv struct {
	Input     map[string]any // after InputSchema.Apply
	Doc       map[string]any
	Stage     map[string]any
	Context   map[string]any
	Principal map[string]any

	// Optional names the inputs that are declared and may be absent: they read as
	// null. An input that is neither given nor here is an error.
	Optional map[string]bool

	// Strict makes an absent value an error everywhere, for rules that must not get
	// wider by what is missing (access rules). A default filter still answers it.
	Strict bool
}

func (env *TemplateEnv) namespace(name string) (map[string]any, error) {
	var m map[string]any
	switch name {
	case "INPUT":
		return env.Input, nil
	case "DOC":
		m = env.Doc
	case "STAGE":
		m = env.Stage
	case "CONTEXT":
		m = env.Context
	case "PRINCIPAL":
		m = env.Principal
	case "SECRET":
		return nil, errSecretTemplate
	}
	if m == nil {
		return nil, fmt.Errorf("%s is not available here; available are %s", name, strings.Join(env.available(), ", "))
	}
	return m, nil
}

func (env *TemplateEnv) available() []string {
	names := []string{"INPUT"}
	for _, n := range [...]struct {
		name string
		m    map[string]any
	}{{"DOC", env.Doc}, {"STAGE", env.Stage}, {"CONTEXT", env.Context}, {"PRINCIPAL", env.Principal}} {
		if n.m != nil {
			names = append(names, n.name)
		}
	}
	return names
}

var errSecretTemplate = fmt.Errorf("secrets cannot be read in templates in this version; give them where a field takes one, such as api_key")

// Render fills every template string of a JSON value (in depth; keys are left as
// they are) and gives the new value in canonical form; a value without templates
// comes back as it is. A string that is one expression becomes the expression's
// value with its type: an absent optional input becomes null there, which the
// caller may drop, and "" inside a longer text. Errors name the place by path.
func Render(raw json.RawMessage, env TemplateEnv) (json.RawMessage, error) {
	return RenderAt("", raw, env)
}

// RenderAt is Render for a value that stands at path in a request.
func RenderAt(path string, raw json.RawMessage, env TemplateEnv) (json.RawMessage, error) {
	v, err := DecodeValue(raw)
	if err != nil {
		return nil, Invalid(pathOrRoot(path), "json", "%s", err.Error())
	}
	if !hasTemplate(v) {
		return raw, nil
	}
	if v, err = RenderValue(path, v, env); err != nil {
		return nil, err
	}
	return EncodeValue(v), nil
}

// RenderValue is RenderAt for decoded values; what it gives may share parts with
// v and the environment, so neither is to be changed afterwards.
func RenderValue(path string, v any, env TemplateEnv) (any, error) {
	r := renderer{env: &env, budget: MaxRendered}
	return r.value(path, v)
}

type renderer struct {
	env    *TemplateEnv
	budget int           // bytes that may still be produced
	steps  int           // parts and conditions executed so far
	vars   []templateVar // loop variables, the innermost last
}

func pathOrRoot(path string) string {
	if path == "" {
		return "template"
	}
	return path
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (r *renderer) value(path string, v any) (any, error) {
	switch x := v.(type) {
	case string:
		if !hasTemplate(x) {
			return x, nil
		}
		t, err := ParseTemplate(x)
		if err != nil {
			return nil, Invalid(pathOrRoot(path), "template", "%s", err.Error())
		}
		out, _, err := r.template(t)
		if err != nil {
			return nil, Invalid(pathOrRoot(path), "template", "%s", err.Error())
		}
		return out, nil
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			var err error
			if out[i], err = r.value(fmt.Sprintf("%s[%d]", path, i), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for _, k := range slices.Sorted(maps.Keys(x)) {
			var err error
			if out[k], err = r.value(joinPath(path, k), x[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// template gives the value, and whether it is a whole expression that found nothing.
func (r *renderer) template(t *Template) (v any, absent bool, err error) {
	if t.Whole() {
		v, absent, err = r.expression(t.parts[0].expr)
		if err == nil {
			r.budget -= valueSize(v)
		}
		return v, absent, r.spent(err)
	}
	var b strings.Builder
	if err := r.text(&b, t.parts); err != nil {
		return nil, false, err
	}
	return b.String(), false, nil
}

func (r *renderer) spent(err error) error {
	if err == nil && r.budget < 0 {
		return fmt.Errorf("the rendered value is larger than %d bytes", MaxRendered)
	}
	return err
}

// valueSize estimates a value's bytes as JSON.
func valueSize(v any) int {
	switch x := v.(type) {
	case string:
		return len(x) + 2
	case []any:
		n := 2
		for _, e := range x {
			n += valueSize(e) + 1
		}
		return n
	case map[string]any:
		n := 2
		for k, e := range x {
			n += len(k) + valueSize(e) + 4
		}
		return n
	}
	return 8
}

// expression gives the value, and whether nothing was found and no default answered.
func (r *renderer) expression(e *templateExpr) (v any, absent bool, err error) {
	v = e.literal
	var missing error
	if e.variable != "" {
		var ok bool
		if v, ok = lookupSteps(r.variable(e.variable), e.steps); !ok {
			absent, missing = true, fmt.Errorf("{{%s}} names nothing", e.source)
		}
	}
	if e.namespace != "" {
		if v, missing, err = r.read(e); err != nil {
			return nil, false, err
		}
		absent = missing != nil
	}
	for _, f := range e.filters {
		if f.name == "default" || f.name == "d" {
			falsy := len(f.args) > 1 && f.args[1] == true && isFalsy(v)
			if absent || falsy {
				v, absent, missing = f.args[0], false, nil
			}
			continue
		}
		if absent && !r.lenient(e) {
			break
		}
		if v, err = templateFilters[f.name].apply(v, f.args); err != nil {
			return nil, false, fmt.Errorf("{{%s}}: %s: %w", e.source, f.name, err)
		}
	}
	if absent && !r.lenient(e) {
		return nil, true, missing
	}
	return v, absent, nil
}

// lenient says whether an absent value of e reads as null.
func (r *renderer) lenient(e *templateExpr) bool {
	if r.env.Strict {
		return false
	}
	if e.namespace != "INPUT" || len(e.steps) == 0 {
		return true
	}
	name := e.steps[0].key
	_, given := r.env.Input[name]
	return given || r.env.Optional[name]
}

// read looks the name up; missing says, as an error to be shown, that it is absent.
func (r *renderer) read(e *templateExpr) (v any, missing, err error) {
	ns, err := r.env.namespace(e.namespace)
	if err != nil {
		return nil, nil, fmt.Errorf("{{%s}}: %w", e.source, err)
	}
	if len(e.steps) == 0 {
		return ns, nil, nil
	}
	if v, ok := lookupSteps(ns, e.steps); ok {
		return v, nil, nil
	}
	known := slices.Sorted(maps.Keys(ns))
	if e.namespace == "INPUT" {
		all := map[string]bool{}
		for _, k := range known {
			all[k] = true
		}
		for k := range r.env.Optional {
			all[k] = true
		}
		known = slices.Sorted(maps.Keys(all))
	}
	return nil, fmt.Errorf("{{%s}} names nothing; %s", e.source, knownNames(e.namespace, known)), nil
}

func knownNames(namespace string, names []string) string {
	if len(names) == 0 {
		return namespace + " has no names"
	}
	const most = 40
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return "known in " + namespace + " are " + strings.Join(names, ", ") + more
}

// TemplateNames says what templates may read, for CheckTemplates. A nil map
// leaves a namespace's names unchecked; an empty one allows none.
type TemplateNames struct {
	Input      map[string]bool
	Context    map[string]bool
	Namespaces []string // allowed ones; nil: INPUT, DOC, STAGE and CONTEXT
}

// CheckTemplates reads every template of a JSON value without rendering it, and
// tells what can never be rendered: what cannot be read, unknown namespaces,
// inputs that are not declared, secrets, templates in keys. The error is a
// CodeInvalid with a violation for each place.
func CheckTemplates(path string, raw json.RawMessage, known TemplateNames) error {
	v, err := DecodeValue(raw)
	if err != nil {
		return Invalid(pathOrRoot(path), "json", "%s", err.Error())
	}
	if known.Namespaces == nil {
		known.Namespaces = []string{"INPUT", "DOC", "STAGE", "CONTEXT"}
	}
	var found []Violation
	known.check(path, v, &found)
	return invalidAll(found)
}

// invalidAll makes one error of violations, nil of none.
func invalidAll(found []Violation) error {
	if len(found) == 0 {
		return nil
	}
	e := Invalid(found[0].Path, found[0].Type, "%s", found[0].Message)
	e.Violations = found
	return e
}

func (known *TemplateNames) check(path string, v any, found *[]Violation) {
	report := func(format string, args ...any) {
		*found = append(*found, Violation{Path: pathOrRoot(path), Type: "template", Message: fmt.Sprintf(format, args...)})
	}
	switch x := v.(type) {
	case []any:
		for i, e := range x {
			known.check(fmt.Sprintf("%s[%d]", path, i), e, found)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if hasTemplate(k) {
				report("the key %s has a template; keys are not rendered, only values", excerpt(k))
			}
			known.check(joinPath(path, k), x[k], found)
		}
		if ref, ok := x["field"].(string); ok && x["type"] == "dynamic" && len(x) == 2 {
			e, err := parseExpressionPath(ref)
			if err != nil {
				report("%s", err.Error())
			} else if msg := known.refuse(e.name(), ref); msg != "" {
				report("%s", msg)
			}
		}
	case string:
		if !hasTemplate(x) {
			return
		}
		t, err := ParseTemplate(x)
		if err != nil {
			report("%s", err.Error())
			return
		}
		for _, n := range t.Names() {
			if msg := known.refuse(n, strings.TrimSuffix(n.Namespace+"."+n.Name, ".")); msg != "" {
				report("%s", msg)
			}
		}
	}
}

// refuse tells why a name cannot be read; "" where it can.
func (known *TemplateNames) refuse(n TemplateName, source string) string {
	allowed := false
	for _, ns := range known.Namespaces {
		allowed = allowed || ns == n.Namespace
	}
	switch {
	case n.Namespace == "SECRET":
		return "{{" + source + "}}: " + errSecretTemplate.Error()
	case !allowed:
		return fmt.Sprintf("{{%s}}: %s is not available here; available are %s", source, n.Namespace, strings.Join(known.Namespaces, ", "))
	}
	names := known.Input
	if n.Namespace == "CONTEXT" {
		names = known.Context
	} else if n.Namespace != "INPUT" {
		return ""
	}
	if names == nil || n.Name == "" || names[n.Name] {
		return ""
	}
	return fmt.Sprintf("{{%s}} names nothing; %s", source, knownNames(n.Namespace, slices.Sorted(maps.Keys(names))))
}
