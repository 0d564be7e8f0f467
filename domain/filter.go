package domain

import (
	"encoding/json"
	"maps"
	"slices"
)

// FilterOp is one of the twenty operators of the filter language.
type FilterOp string

// The operators. What each means for which values is told in filter_eval.go.
const (
	OpEq             FilterOp = "eq"
	OpNe             FilterOp = "ne"
	OpGt             FilterOp = "gt"
	OpLt             FilterOp = "lt"
	OpGte            FilterOp = "gte"
	OpLte            FilterOp = "lte"
	OpIn             FilterOp = "in"
	OpNin            FilterOp = "nin"
	OpContains       FilterOp = "contains"
	OpStartsWith     FilterOp = "starts_with"
	OpEndsWith       FilterOp = "ends_with"
	OpRegex          FilterOp = "regex"
	OpExists         FilterOp = "exists"
	OpIsNull         FilterOp = "is_null"
	OpText           FilterOp = "text"
	OpPhrase         FilterOp = "phrase"
	OpWords          FilterOp = "words"
	OpGeoRadius      FilterOp = "geo_radius"
	OpGeoBoundingBox FilterOp = "geo_bounding_box"
	OpGeoPolygon     FilterOp = "geo_polygon"
)

// FilterOps lists the operators in the order of the reference.
var FilterOps = []FilterOp{OpEq, OpNe, OpGt, OpLt, OpGte, OpLte, OpIn, OpNin, OpContains, OpStartsWith, OpEndsWith,
	OpRegex, OpExists, OpIsNull, OpText, OpPhrase, OpWords, OpGeoRadius, OpGeoBoundingBox, OpGeoPolygon}

// Filter is one node of the filter language's tree. Exactly one of the four
// members is set. A filter is made by ParseFilter, Where, AllOf, AnyOf and NoneOf
// and is not changed afterwards; it is safe for concurrent use. A nil *Filter is
// "no filter" and matches every document.
type Filter struct {
	And       []*Filter  // all match
	Or        []*Filter  // at least one matches
	Not       []*Filter  // none matches
	Condition *Condition // a leaf
}

// Condition compares one field of a document with a value.
type Condition struct {
	Field         string // path in the document, see Lookup
	Op            FilterOp
	Value         any  // as DecodeValue gives it; nil for a dynamic value
	CaseSensitive bool // for strings; ASCII and Unicode case are folded otherwise

	// Dynamic is the path of the environment that gives the value ("inputs.x"),
	// for {"type": "dynamic", "field": …}. See ResolveFilter.
	Dynamic string

	// Template says that Value has template strings to be rendered; without it they
	// are text.
	Template bool

	match *matcher // nil until compiled; also nil while the value is pending
}

// Pending says whether the value is still to come, from a dynamic reference or a
// template; such a condition matches nothing until ResolveFilter has filled it.
func (c *Condition) Pending() bool { return c.Dynamic != "" || c.Template }

// Where makes a filter of one condition; the value is a decoded JSON value. It
// gives the errors of ParseFilter.
func Where(field string, op FilterOp, value any) (*Filter, error) {
	c := &Condition{Field: field, Op: op, Value: value}
	if err := c.compile("filter"); err != nil {
		return nil, err
	}
	return &Filter{Condition: c}, nil
}

// AllOf gives the filter that matches where all of the given ones do; nil ones
// are left out, and of none at all the result is nil, "no filter".
func AllOf(filters ...*Filter) *Filter {
	var all []*Filter
	for _, f := range filters {
		if f != nil {
			all = append(all, f)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &Filter{And: all}
}

// AnyOf gives the filter that matches where at least one of the given ones does.
// A nil one matches everything, and so does then the result, which is nil.
func AnyOf(first *Filter, more ...*Filter) *Filter {
	all := append([]*Filter{first}, more...)
	if slices.Contains(all, nil) {
		return nil
	}
	if len(all) == 1 {
		return first
	}
	return &Filter{Or: all}
}

// NoneOf gives the filter that matches where none of the given ones does. They
// must not be nil.
func NoneOf(first *Filter, more ...*Filter) *Filter {
	return &Filter{Not: append([]*Filter{first}, more...)}
}

// Conditions calls visit with each leaf, in the order of the tree.
func (f *Filter) Conditions(visit func(*Condition)) {
	if f == nil {
		return
	}
	if f.Condition != nil {
		visit(f.Condition)
	}
	for _, list := range [...][]*Filter{f.And, f.Or, f.Not} {
		for _, g := range list {
			g.Conditions(visit)
		}
	}
}

// Fields gives the paths that the filter asks for, sorted, each once.
func (f *Filter) Fields() []string {
	seen := map[string]bool{}
	f.Conditions(func(c *Condition) { seen[c.Field] = true })
	return slices.Sorted(maps.Keys(seen))
}

// Pending says whether some condition's value is still to come; see ResolveFilter.
func (f *Filter) Pending() bool {
	if f == nil {
		return false
	}
	if f.Condition != nil && f.Condition.Pending() {
		return true
	}
	return slices.ContainsFunc(f.And, (*Filter).Pending) ||
		slices.ContainsFunc(f.Or, (*Filter).Pending) ||
		slices.ContainsFunc(f.Not, (*Filter).Pending)
}

// Renamed gives the same filter on fields of other names. Values are not read
// again: text in them that looks like a template stays text.
func (f *Filter) Renamed(name func(string) string) (*Filter, error) {
	if f == nil {
		return nil, nil
	}
	if f.Condition != nil {
		c := *f.Condition
		c.Field = name(c.Field)
		return &Filter{Condition: &c}, c.compile("filter")
	}
	out := &Filter{}
	for _, part := range [...]struct {
		from []*Filter
		to   *[]*Filter
	}{{f.And, &out.And}, {f.Or, &out.Or}, {f.Not, &out.Not}} {
		for _, g := range part.from {
			h, err := g.Renamed(name)
			if err != nil {
				return nil, err
			}
			*part.to = append(*part.to, h)
		}
	}
	return out, nil
}

// MarshalJSON writes the canonical form, which ParseFilter reads back to an equal
// filter: conditions as {"field", "operator", "value"} with "case_sensitive" only
// where true, operators as {"AND": […]}, {"OR": […]}, {"NOT": […]}.
func (f *Filter) MarshalJSON() ([]byte, error) { return appendValue(nil, f.value()), nil }

// String is the canonical form.
func (f *Filter) String() string { return string(appendValue(nil, f.value())) }

// UnmarshalJSON is ParseFilter; JSON null leaves f as it is.
func (f *Filter) UnmarshalJSON(raw []byte) error {
	g, err := ParseFilter("filter", json.RawMessage(raw))
	if err != nil {
		return err
	}
	if g != nil {
		*f = *g
	}
	return nil
}

func (f *Filter) value() any {
	if f == nil {
		return nil
	}
	if c := f.Condition; c != nil {
		m := map[string]any{"field": c.Field, "operator": string(c.Op), "value": c.Value}
		if c.Dynamic != "" {
			m["value"] = map[string]any{"type": "dynamic", "field": c.Dynamic}
		}
		if c.CaseSensitive {
			m["case_sensitive"] = true
		}
		return m
	}
	m := map[string]any{}
	for _, part := range [...]struct {
		key  string
		list []*Filter
	}{{"AND", f.And}, {"OR", f.Or}, {"NOT", f.Not}} {
		if part.list == nil {
			continue
		}
		list := make([]any, len(part.list))
		for i, g := range part.list {
			list[i] = g.value()
		}
		m[part.key] = list
	}
	return m
}
