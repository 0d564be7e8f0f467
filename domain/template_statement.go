package domain

import (
	"fmt"
	"strings"
)

// Statements of templates: if and for, as Jinja2 has them. Conditions know and, or,
// not, parentheses, ==, !=, <, <=, >, >=, in, not in, is defined, is not defined,
// is none, is not none. == is EqualValues, the orders are those of CompareValues
// (false where there is none). A name alone is true unless it is absent, null,
// false, 0 or empty. for walks arrays; in its body the variable and loop.index,
// loop.index0, loop.first, loop.last and loop.length can be read.

// MaxTemplateSteps bounds what one Render may execute: loop bodies and conditions.
const MaxTemplateSteps = 200_000

const maxTemplateDepth = 16 // statements inside statements, parentheses

type templateBranch struct {
	when *templateCondition // nil: else
	body []templatePart
}

type templateLoop struct {
	variable string
	over     *templateExpr
	body     []templatePart
	empty    []templatePart // else
}

// templateCondition is an operand alone, or an operator with its operands.
type templateCondition struct {
	op    string // "", and, or, not, ==, !=, <, <=, >, >=, in, not in, is …
	left  *templateCondition
	right *templateCondition
	expr  *templateExpr // of an operand
}

func (p *templateParser) statement(word string) (templatePart, error) {
	if p.depth++; p.depth > maxTemplateDepth {
		return templatePart{}, fmt.Errorf("statements are nested deeper than %d", maxTemplateDepth)
	}
	defer func() { p.depth-- }()
	switch word {
	case "if":
		branches, err := p.branches()
		return templatePart{branches: branches}, err
	case "for":
		loop, err := p.loop()
		return templatePart{loop: loop}, err
	}
	return templatePart{}, fmt.Errorf("%q is no statement here; known are if, elif, else, endif, for, endfor", word)
}

func (p *templateParser) branches() (branches []templateBranch, err error) {
	for word := "if"; word != "endif"; {
		var b templateBranch
		stop := []string{"elif", "else", "endif"}
		if word == "else" {
			stop = stop[2:]
		} else if b.when, err = p.condition(0); err != nil {
			return nil, err
		}
		if p.trim, err = p.closes("%}"); err != nil {
			return nil, err
		}
		if b.body, word, err = p.parts(stop...); err != nil {
			return nil, err
		}
		branches = append(branches, b)
	}
	p.trim, err = p.closes("%}")
	return branches, err
}

func (p *templateParser) loop() (*templateLoop, error) {
	p.space()
	l := &templateLoop{variable: p.ident()}
	switch _, taken := templateNamespaces[strings.ToLower(l.variable)]; {
	case l.variable == "" || l.variable == "loop" || taken:
		return nil, fmt.Errorf("for takes a new name: {%% for item in DOC.items %%}")
	}
	if p.space(); p.ident() != "in" {
		return nil, fmt.Errorf("in is expected: {%% for %s in DOC.items %%}", l.variable)
	}
	var err error
	if l.over, err = p.operand(); err != nil {
		return nil, err
	}
	if p.trim, err = p.closes("%}"); err != nil {
		return nil, err
	}
	outer := p.vars
	p.vars = append(append([]string{}, outer...), l.variable, "loop")
	var word string
	l.body, word, err = p.parts("else", "endfor")
	p.vars = outer
	if err == nil && word == "else" {
		if p.trim, err = p.closes("%}"); err == nil {
			l.empty, _, err = p.parts("endfor")
		}
	}
	if err == nil {
		p.trim, err = p.closes("%}")
	}
	return l, err
}

// word reads the keyword where it comes next.
func (x *exprLexer) word(keyword string) bool {
	x.space()
	from := x.i
	if x.ident() == keyword {
		return true
	}
	x.i = from
	return false
}

// condition reads or, and, not and comparisons; or binds least.
func (p *templateParser) condition(depth int) (*templateCondition, error) {
	if depth > maxTemplateDepth {
		return nil, fmt.Errorf("the condition is nested deeper than %d", maxTemplateDepth)
	}
	c, err := p.conjunction(depth)
	for err == nil && p.word("or") {
		var right *templateCondition
		right, err = p.conjunction(depth)
		c = &templateCondition{op: "or", left: c, right: right}
	}
	return c, err
}

func (p *templateParser) conjunction(depth int) (*templateCondition, error) {
	c, err := p.negation(depth)
	for err == nil && p.word("and") {
		var right *templateCondition
		right, err = p.negation(depth)
		c = &templateCondition{op: "and", left: c, right: right}
	}
	return c, err
}

func (p *templateParser) negation(depth int) (*templateCondition, error) {
	if p.word("not") {
		if depth > maxTemplateDepth {
			return nil, fmt.Errorf("the condition is nested deeper than %d", maxTemplateDepth)
		}
		c, err := p.negation(depth + 1)
		return &templateCondition{op: "not", left: c}, err
	}
	p.space()
	if p.starts("(") {
		p.i++
		c, err := p.condition(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.space(); !p.starts(")") {
			return nil, fmt.Errorf("the closing ) is missing")
		}
		p.i++
		return c, nil
	}
	return p.comparison()
}

func (p *templateParser) comparison() (*templateCondition, error) {
	e, err := p.operand()
	if err != nil {
		return nil, err
	}
	left := &templateCondition{expr: e}
	p.space()
	op := ""
	for _, sign := range [...]string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.starts(sign) {
			op = sign
			p.i += len(sign)
			break
		}
	}
	switch {
	case op != "":
	case p.word("in"):
		op = "in"
	case p.word("is"):
		op = "is"
		if p.word("not") {
			op = "is not"
		}
		switch {
		case p.word("defined"):
			return &templateCondition{op: op + " defined", left: left}, nil
		case p.word("none"):
			return &templateCondition{op: op + " none", left: left}, nil
		}
		return nil, fmt.Errorf("defined or none is expected after %s", op)
	default:
		from := p.i
		if !p.word("not") || !p.word("in") {
			p.i = from
			return left, nil
		}
		op = "not in"
	}
	if e, err = p.operand(); err != nil {
		return nil, err
	}
	return &templateCondition{op: op, left: left, right: &templateCondition{expr: e}}, nil
}

func visitExprs(parts []templatePart, visit func(*templateExpr)) {
	for _, p := range parts {
		if p.expr != nil {
			visit(p.expr)
		}
		for _, b := range p.branches {
			b.when.exprs(visit)
			visitExprs(b.body, visit)
		}
		if p.loop != nil {
			visit(p.loop.over)
			visitExprs(p.loop.body, visit)
			visitExprs(p.loop.empty, visit)
		}
	}
}

func (c *templateCondition) exprs(visit func(*templateExpr)) {
	if c == nil {
		return
	}
	if c.expr != nil {
		visit(c.expr)
	}
	c.left.exprs(visit)
	c.right.exprs(visit)
}
