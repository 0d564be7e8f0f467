package domain

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of one filter.
const (
	MaxFilterDepth      = 24    // operators inside operators
	MaxFilterConditions = 1000  // leaves
	MaxFilterList       = 10000 // values of in and nin, points of a polygon
	MaxFilterPattern    = 1000  // bytes of a regular expression
	maxFilterProgram    = 5000  // steps that it compiles to, about
)

// ParseFilter reads the reference's filter language; path names where the filter
// stands in the request and begins every error's path. Absent and null are "no
// filter", nil. Read are:
//
//   - {"AND": […], "OR": […], "NOT": […]}, each a list of filters or one filter;
//     NOT is true where none of its list matches; several on one object all hold;
//   - {"field": …, "operator": "eq", "value": …, "case_sensitive": false}, a
//     condition, also alone; operator is "eq" where it is absent;
//   - {"brand": "x", "year": 2024}, the shorthand: every other key must be equal;
//   - {"type": "dynamic", "field": "inputs.x"} for a value, and template strings.
//
// case_sensitive holds for everything inside the object that says it; a false
// inside a true does not undo it, since clients send false by default.
//
// An empty object, an empty list, null in a list, an unknown operator or member,
// a missing value, a value that the operator cannot take are errors: a filter
// that lost a part must never match more.
func ParseFilter(path string, raw json.RawMessage) (*Filter, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	v, err := DecodeValue(raw)
	if err != nil {
		return nil, Invalid(path, "json", "%s", err.Error())
	}
	return ParseFilterValue(path, v)
}

// ParseFilterValue is ParseFilter for a value that is decoded already.
func ParseFilterValue(path string, v any) (*Filter, error) {
	return (&filterParser{}).root(path, v)
}

// ParseLiteralFilter is ParseFilter where nothing is a template: for requests that
// have no inputs, and for filters whose templates have been rendered, so that what
// came out of them is never rendered a second time.
func ParseLiteralFilter(path string, raw json.RawMessage) (*Filter, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	v, err := DecodeValue(raw)
	if err != nil {
		return nil, Invalid(path, "json", "%s", err.Error())
	}
	return ParseLiteralFilterValue(path, v)
}

// ParseLiteralFilterValue is ParseLiteralFilter for a value that is decoded already.
func ParseLiteralFilterValue(path string, v any) (*Filter, error) {
	return (&filterParser{literal: true}).root(path, v)
}

type filterParser struct {
	conditions int
	literal    bool
}

func (p *filterParser) root(path string, v any) (*Filter, error) {
	if v == nil {
		return nil, nil
	}
	return p.filter(path, v, false, 0)
}

func (p *filterParser) filter(path string, v any, caseSensitive bool, depth int) (*Filter, error) {
	if depth > MaxFilterDepth {
		return nil, Invalid(path, "range", "the filter is nested deeper than %d operators", MaxFilterDepth)
	}
	m, ok := v.(map[string]any)
	if !ok {
		if v == nil {
			return nil, Invalid(path, "missing", "a condition is null, it was probably lost on the way; give {\"field\", \"operator\", \"value\"} or an AND, OR or NOT")
		}
		return nil, Invalid(path, "type", "a filter is an object, not %s; give {\"field\", \"operator\", \"value\"} or an AND, OR or NOT", valueKind(v))
	}
	switch said := m["case_sensitive"].(type) {
	case nil:
	case bool:
		caseSensitive = caseSensitive || said
	default:
		return nil, Invalid(path+".case_sensitive", "type", "must be true or false, not %s", valueKind(said))
	}
	if _, ok := m["field"]; ok {
		return p.condition(path, m, caseSensitive)
	}
	var parts []*Filter
	for _, op := range [...]string{"AND", "OR", "NOT"} {
		list := m[op]
		if list == nil {
			continue
		}
		children, err := p.list(path+"."+op, list, caseSensitive, depth+1)
		if err != nil {
			return nil, err
		}
		switch op {
		case "AND":
			parts = append(parts, &Filter{And: children})
		case "OR":
			parts = append(parts, &Filter{Or: children})
		case "NOT":
			parts = append(parts, &Filter{Not: children})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		switch key {
		case "AND", "OR", "NOT", "case_sensitive":
			continue
		}
		f, err := p.shorthand(path, key, m[key], caseSensitive)
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
	}
	switch len(parts) {
	case 0:
		return nil, Invalid(path, "missing", "the filter is empty and would match everything; leave it out, or give {\"field\", \"operator\", \"value\"} or a non-empty AND, OR or NOT")
	case 1:
		return parts[0], nil
	}
	return &Filter{And: parts}, nil
}

func (p *filterParser) list(path string, v any, caseSensitive bool, depth int) ([]*Filter, error) {
	list, ok := v.([]any)
	if !ok {
		if _, one := v.(map[string]any); !one {
			return nil, Invalid(path, "type", "must be a list of conditions, not %s", valueKind(v))
		}
		f, err := p.filter(path, v, caseSensitive, depth)
		return []*Filter{f}, err
	}
	if len(list) == 0 {
		return nil, Invalid(path, "missing", "the list is empty; leave it out, or give at least one condition")
	}
	children := make([]*Filter, 0, len(list))
	for i, e := range list {
		f, err := p.filter(path+"["+strconv.Itoa(i)+"]", e, caseSensitive, depth)
		if err != nil {
			return nil, err
		}
		children = append(children, f)
	}
	return children, nil
}

var conditionKeys = []string{"field", "operator", "value", "case_sensitive"}

func (p *filterParser) condition(path string, m map[string]any, caseSensitive bool) (*Filter, error) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if slices.Contains(conditionKeys, key) || m[key] == nil && (key == "AND" || key == "OR" || key == "NOT") {
			continue
		}
		return nil, Invalid(path+"."+key, "extra_forbidden", "a condition has no %q; it takes %s (an equality test of a field called \"field\" is {\"field\": \"field\", \"value\": …})", key, strings.Join(conditionKeys, ", "))
	}
	field, ok := m["field"].(string)
	if !ok {
		return nil, Invalid(path+".field", "type", "must be the path of a field, for example \"metadata.category\", not %s", valueKind(m["field"]))
	}
	c := &Condition{Field: field, Op: OpEq, CaseSensitive: caseSensitive}
	switch op := m["operator"].(type) {
	case nil:
	case string:
		c.Op = FilterOp(op)
	default:
		return nil, Invalid(path+".operator", "type", "must be a string, not %s; allowed are %s", valueKind(op), allowedOps())
	}
	if !slices.Contains(FilterOps, c.Op) {
		return nil, Invalid(path+".operator", "enum", "%q is no operator; allowed are %s", string(c.Op), allowedOps())
	}
	value, given := m["value"]
	if !given && c.Op != OpExists && c.Op != OpIsNull {
		return nil, Invalid(path+".value", "missing", "the operator %s needs a value; to find null, give it as \"value\": null or use is_null", c.Op)
	}
	c.Value = value
	return p.leaf(path, c)
}

func (p *filterParser) shorthand(path, key string, v any, caseSensitive bool) (*Filter, error) {
	where := path + "." + key
	_, isList := v.([]any)
	m, isObject := v.(map[string]any)
	if up := strings.ToUpper(key); (isList || isObject) && (up == "AND" || up == "OR" || up == "NOT") {
		return nil, Invalid(where, "extra_forbidden", "the operator is written %s", up)
	}
	if strings.HasPrefix(key, "$") {
		return nil, Invalid(where, "extra_forbidden", "%q is no operator here; use AND, OR, NOT or {\"field\", \"operator\", \"value\"}", key)
	}
	if isObject && len(m) > 0 {
		ops := 0
		for k := range m {
			if strings.HasPrefix(k, "$") || slices.Contains(FilterOps, FilterOp(k)) {
				ops++
			}
		}
		if ops == len(m) {
			k := slices.Sorted(maps.Keys(m))[0]
			return nil, Invalid(where, "type", "an operator inside a field is not read; write {\"field\": %q, \"operator\": %q, \"value\": …}", key, strings.TrimPrefix(k, "$"))
		}
	}
	return p.leaf(path, &Condition{Field: key, Op: OpEq, Value: v, CaseSensitive: caseSensitive})
}

// leaf finishes a condition: a dynamic reference is taken out of the value,
// everything else is compiled.
func (p *filterParser) leaf(path string, c *Condition) (*Filter, error) {
	if p.conditions++; p.conditions > MaxFilterConditions {
		return nil, Invalid(path, "range", "the filter has more than %d conditions; use in with a list of values", MaxFilterConditions)
	}
	if m, ok := c.Value.(map[string]any); ok && m["type"] == "dynamic" && len(m) == 2 {
		if ref, given := m["field"]; given {
			if p.literal {
				return nil, Invalid(path+".value", "type", "nothing fills a dynamic value here; give the value itself")
			}
			s, ok := ref.(string)
			if !ok {
				return nil, Invalid(path+".value.field", "type", "a dynamic value names where it comes from, for example \"inputs.brand\", not %s", valueKind(ref))
			}
			if _, err := parseExpressionPath(s); err != nil {
				return nil, Invalid(path+".value.field", "pattern", "%s", err.Error())
			}
			c.Dynamic, c.Value = s, nil
		}
	}
	c.Template = !p.literal && hasTemplate(c.Value)
	if err := c.compile(path); err != nil {
		return nil, err
	}
	return &Filter{Condition: c}, nil
}

func allowedOps() string {
	names := make([]string, len(FilterOps))
	for i, op := range FilterOps {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}
