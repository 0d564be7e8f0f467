package domain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// templateRule is one template filter: how many arguments it takes, and what it does.
type templateRule struct {
	min, max int
	apply    func(v any, args []any) (any, error)
}

// templateFilters are the filters of template expressions. default, also called d,
// is applied by the renderer, which knows what is absent.
var templateFilters = map[string]templateRule{
	"default": {1, 2, nil},
	"d":       {1, 2, nil},
	"tojson":  {0, 0, func(v any, _ []any) (any, error) { return string(EncodeValue(v)), nil }},
	"upper":   textFilter(strings.ToUpper),
	"lower":   textFilter(strings.ToLower),
	"trim":    textFilter(strings.TrimSpace),
	"string":  textFilter(func(s string) string { return s }),
	"length":  {0, 0, templateLength},
	"join":    {0, 1, templateJoin},
	"first":   {0, 0, func(v any, _ []any) (any, error) { return templateEnd(v, true) }},
	"last":    {0, 0, func(v any, _ []any) (any, error) { return templateEnd(v, false) }},
	"int":     {0, 0, templateInt},
	"float":   {0, 0, templateFloat},
}

func textFilter(change func(string) string) templateRule {
	return templateRule{0, 0, func(v any, _ []any) (any, error) {
		if v == nil {
			return nil, nil
		}
		return change(templateText(v)), nil
	}}
}

// templateText is a value inside a longer text: strings as they are, null as
// nothing, arrays and objects as JSON.
func templateText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	}
	return string(EncodeValue(v))
}

func isFalsy(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case bool:
		return !x
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	s, ok := numberText(v)
	return ok && compareNumbers(s, "0") == 0
}

func templateLength(v any, _ []any) (any, error) {
	n := 0
	switch x := v.(type) {
	case nil:
	case string:
		n = utf8.RuneCountInString(x)
	case []any:
		n = len(x)
	case map[string]any:
		n = len(x)
	default:
		return nil, fmt.Errorf("%s has no length", valueKind(v))
	}
	return json.Number(strconv.Itoa(n)), nil
}

func templateJoin(v any, args []any) (any, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("takes an array, not %s", valueKind(v))
	}
	sep := ""
	if len(args) > 0 {
		sep = templateText(args[0])
	}
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = templateText(e)
	}
	return strings.Join(texts, sep), nil
}

func templateEnd(v any, first bool) (any, error) {
	list, ok := v.([]any)
	switch {
	case v == nil || ok && len(list) == 0:
		return nil, nil
	case !ok:
		return nil, fmt.Errorf("takes an array, not %s", valueKind(v))
	case first:
		return list[0], nil
	}
	return list[len(list)-1], nil
}

// templateNumber gives a number's or a numeric string's decimal form.
func templateNumber(v any) (string, error) {
	if s, ok := numberText(v); ok {
		return s, nil
	}
	if s, ok := v.(string); ok && isNumberText(strings.TrimSpace(s)) {
		return strings.TrimSpace(s), nil
	}
	if b, ok := v.(bool); ok {
		return strconv.Itoa(truthIndex(b)), nil
	}
	return "", fmt.Errorf("%s is no number", excerpt(templateText(v)))
}

// templateInt cuts the fraction off.
func templateInt(v any, _ []any) (any, error) {
	if v == nil {
		return nil, nil
	}
	s, err := templateNumber(v)
	if err != nil {
		return nil, err
	}
	d := newDecimal(s)
	if d.point <= 0 {
		return json.Number("0"), nil
	}
	if d.point > MaxNumberLength {
		return nil, fmt.Errorf("%s has more than %d digits", s, MaxNumberLength)
	}
	digits := d.a + d.b
	if len(digits) > d.point {
		digits = digits[:d.point]
	}
	digits += strings.Repeat("0", d.point-len(digits))
	if d.neg {
		digits = "-" + digits
	}
	return json.Number(digits), nil
}

func templateFloat(v any, _ []any) (any, error) {
	if v == nil {
		return nil, nil
	}
	s, err := templateNumber(v)
	return json.Number(s), err
}
