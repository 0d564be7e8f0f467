package domain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// text renders parts one after the other.
func (r *renderer) text(b *strings.Builder, parts []templatePart) error {
	for i := range parts {
		p := &parts[i]
		if r.steps++; r.steps > MaxTemplateSteps {
			return fmt.Errorf("the template runs for more than %d steps", MaxTemplateSteps)
		}
		var err error
		text := p.text
		switch {
		case p.expr != nil:
			var v any
			v, _, err = r.expression(p.expr)
			text = templateText(v)
		case p.branches != nil:
			err = r.branch(b, p.branches)
		case p.loop != nil:
			err = r.loop(b, p.loop)
		}
		if err != nil {
			return err
		}
		if r.budget -= len(text); r.budget < 0 {
			return r.spent(nil)
		}
		b.WriteString(text)
	}
	return nil
}

func (r *renderer) branch(b *strings.Builder, branches []templateBranch) error {
	for i := range branches {
		truth, err := r.truth(branches[i].when)
		if err != nil {
			return err
		}
		if truth {
			return r.text(b, branches[i].body)
		}
	}
	return nil
}

func (r *renderer) loop(b *strings.Builder, l *templateLoop) error {
	v, _, err := r.expression(l.over)
	if err != nil {
		return err
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return fmt.Errorf("{{%s}}: for walks arrays, not %s", l.over.source, valueKind(v))
	}
	if len(list) == 0 {
		return r.text(b, l.empty)
	}
	outer := r.vars
	defer func() { r.vars = outer }()
	count := func(n int) json.Number { return json.Number(strconv.Itoa(n)) }
	for i, e := range list {
		if r.steps++; r.steps > MaxTemplateSteps {
			return fmt.Errorf("the template runs for more than %d steps", MaxTemplateSteps)
		}
		r.vars = append(outer[:len(outer):len(outer)], templateVar{l.variable, e}, templateVar{"loop", map[string]any{
			"index": count(i + 1), "index0": count(i), "first": i == 0, "last": i == len(list)-1, "length": count(len(list)),
		}})
		if err := r.text(b, l.body); err != nil {
			return err
		}
	}
	return nil
}

type templateVar struct {
	name  string
	value any
}

// variable gives the innermost loop variable of the name.
func (r *renderer) variable(name string) any {
	for i := len(r.vars) - 1; i >= 0; i-- {
		if r.vars[i].name == name {
			return r.vars[i].value
		}
	}
	return nil
}

// defined says whether there is something at a name; filters are not asked.
func (r *renderer) defined(e *templateExpr) (bool, error) {
	switch {
	case e.variable != "":
		_, ok := lookupSteps(r.variable(e.variable), e.steps)
		return ok, nil
	case e.namespace == "":
		return true, nil
	}
	_, missing, err := r.read(e)
	return missing == nil, err
}

// truth evaluates a condition; an else's nil is true.
func (r *renderer) truth(c *templateCondition) (bool, error) {
	if c == nil {
		return true, nil
	}
	if r.steps++; r.steps > MaxTemplateSteps {
		return false, fmt.Errorf("the template runs for more than %d steps", MaxTemplateSteps)
	}
	switch c.op {
	case "":
		v, _, err := r.expression(c.expr)
		return err == nil && !isFalsy(v), err
	case "not":
		truth, err := r.truth(c.left)
		return err == nil && !truth, err
	case "and", "or":
		truth, err := r.truth(c.left)
		if err != nil || truth == (c.op == "or") {
			return truth, err
		}
		return r.truth(c.right)
	case "is defined", "is not defined":
		found, err := r.defined(c.left.expr)
		return found == (c.op == "is defined"), err
	}
	v, _, err := r.expression(c.left.expr)
	if err != nil {
		return false, err
	}
	switch c.op {
	case "is none", "is not none":
		return (v == nil) == (c.op == "is none"), nil
	}
	w, _, err := r.expression(c.right.expr)
	if err != nil {
		return false, err
	}
	order, ordered := CompareValues(v, w)
	switch c.op {
	case "==":
		return EqualValues(v, w), nil
	case "!=":
		return !EqualValues(v, w), nil
	case "<":
		return ordered && order < 0, nil
	case "<=":
		return ordered && order <= 0, nil
	case ">":
		return ordered && order > 0, nil
	case ">=":
		return ordered && order >= 0, nil
	}
	in, err := templateIn(v, w)
	return in == (c.op == "in"), err
}

func templateIn(v, w any) (bool, error) {
	switch x := w.(type) {
	case nil:
		return false, nil
	case []any:
		for _, e := range x {
			if EqualValues(v, e) {
				return true, nil
			}
		}
		return false, nil
	case map[string]any:
		_, ok := x[templateText(v)]
		return ok, nil
	case string:
		return strings.Contains(x, templateText(v)), nil
	}
	return false, fmt.Errorf("in takes an array, object or string, not %s", valueKind(w))
}
