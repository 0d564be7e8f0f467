package domain

// ResolveFilter fills what is pending in a filter, dynamic values and templates,
// and gives a new filter that has nothing pending. What comes out of the
// environment is a plain value, also where it looks like a template.
//
// A condition whose value is an absent optional input is left out as if it had
// not been written; an AND, OR or NOT that has nothing left is left out too, and
// the result is nil where nothing is left at all. With env.Strict an absent value
// is an error instead; access rules need that. A value that the operator cannot
// take is an error as in ParseFilter.
func ResolveFilter(f *Filter, env TemplateEnv) (*Filter, error) {
	if f == nil || !f.Pending() {
		return f, nil
	}
	r := renderer{env: &env, budget: MaxRendered}
	return r.filter("filter", f)
}

func (r *renderer) filter(path string, f *Filter) (*Filter, error) {
	if f.Condition != nil {
		c, err := r.condition(path, f.Condition)
		if c == nil || err != nil {
			return nil, err
		}
		return &Filter{Condition: c}, nil
	}
	out := &Filter{}
	for _, part := range [...]struct {
		from []*Filter
		to   *[]*Filter
	}{{f.And, &out.And}, {f.Or, &out.Or}, {f.Not, &out.Not}} {
		for _, g := range part.from {
			h, err := r.filter(path, g)
			if err != nil {
				return nil, err
			}
			if h != nil {
				*part.to = append(*part.to, h)
			}
		}
	}
	if len(out.And)+len(out.Or)+len(out.Not) == 0 {
		return nil, nil
	}
	return out, nil
}

func (r *renderer) condition(path string, c *Condition) (*Condition, error) {
	if !c.Pending() {
		return c, nil
	}
	where := path + "(" + c.Field + ")"
	done := &Condition{Field: c.Field, Op: c.Op, CaseSensitive: c.CaseSensitive}
	if c.Dynamic != "" {
		e, err := parseExpressionPath(c.Dynamic)
		if err != nil {
			return nil, Invalid(where, "pattern", "%s", err.Error())
		}
		v, absent, err := r.expression(e)
		if err != nil {
			return nil, Invalid(where, "template", "%s", err.Error())
		}
		if absent {
			return nil, nil
		}
		done.Value = v
		return done, done.compile(where)
	}
	v, absent, err := r.operand(where, c.Value)
	if absent || err != nil {
		return nil, err
	}
	done.Value = v
	return done, done.compile(where)
}

// operand renders a condition's value; of a list it leaves absent elements out,
// and a list that had only such is absent itself.
func (r *renderer) operand(path string, v any) (out any, absent bool, err error) {
	switch x := v.(type) {
	case string:
		t, err := ParseTemplate(x)
		if err == nil {
			out, absent, err = r.template(t)
		}
		if err != nil {
			return nil, false, Invalid(path, "template", "%s", err.Error())
		}
		return out, absent, nil
	case []any:
		list := make([]any, 0, len(x))
		for _, e := range x {
			v, absent, err := r.operand(path, e)
			if err != nil {
				return nil, false, err
			}
			if !absent {
				list = append(list, v)
			}
		}
		return list, len(list) == 0 && len(x) > 0, nil
	}
	out, err = r.value(path, v)
	return out, false, err
}
