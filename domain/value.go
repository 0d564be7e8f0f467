package domain

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// valueKind names a decoded value's JSON type for messages.
func valueKind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	if _, ok := numberText(v); ok {
		return "a number"
	}
	return fmt.Sprintf("%T", v)
}

// EncodeValue writes a decoded value as canonical JSON: keys sorted, no spaces,
// numbers as written, nothing escaped that need not be. What has no JSON form (a
// NaN, a Go type that DecodeValue does not make) is written as null.
func EncodeValue(v any) json.RawMessage { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch x := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, x)
	case string:
		return appendText(b, x)
	case []any:
		b = append(b, '[')
		for i, e := range x {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b = append(b, '{')
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, k), ':')
			b = appendValue(b, x[k])
		}
		return append(b, '}')
	}
	if n, ok := numberText(v); ok {
		return append(b, n...)
	}
	return append(b, "null"...)
}

func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// pathStep is one step of a path: a key, which is also an index where it meets
// an array and looks like one, or [n], which is only an index.
type pathStep struct {
	key     string
	index   int  // -1: not an index
	bracket bool // written [n]
}

// Limits of paths.
const (
	maxPathLength = 1024
	maxPathSteps  = 32
)

// parsePath reads a path as documents are asked with: keys separated by dots,
// [n] for an element, [] for each element (the same as nothing, arrays are
// walked), "…" around a key that has dots, brackets or quotes of its own.
func parsePath(path string) ([]pathStep, error) {
	switch {
	case path == "":
		return nil, fmt.Errorf("the path is empty; name a field, for example metadata.category")
	case len(path) > maxPathLength:
		return nil, fmt.Errorf("the path has %d bytes; at most %d are read", len(path), maxPathLength)
	}
	var steps []pathStep
	s := path
	for first := true; s != ""; first = false {
		if s[0] == '[' {
			end := strings.IndexByte(s, ']')
			if first || end < 0 {
				return nil, fmt.Errorf("the path %q has a bracket that is not [n] after a key", path)
			}
			if inner := s[1:end]; inner != "" {
				n, ok := arrayIndex(inner)
				if !ok {
					return nil, fmt.Errorf("the path %q has [%s] where [n] or [] is expected", path, inner)
				}
				steps = append(steps, pathStep{key: inner, index: n, bracket: true})
			}
			s = s[end+1:]
			continue
		}
		if !first {
			if s[0] != '.' {
				return nil, fmt.Errorf("the path %q lacks a dot before %q", path, s)
			}
			s = s[1:]
		}
		var key string
		if strings.HasPrefix(s, `"`) {
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return nil, fmt.Errorf("the path %q has a quote that is not closed", path)
			}
			key, s = s[1:end+1], s[end+2:]
			steps = append(steps, pathStep{key: key, index: -1})
			continue
		}
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		key, s = s[:end], s[end:]
		if key == "" {
			return nil, fmt.Errorf("the path %q has an empty step", path)
		}
		n, ok := arrayIndex(key)
		if !ok {
			n = -1
		}
		steps = append(steps, pathStep{key: key, index: n})
	}
	if len(steps) > maxPathSteps {
		return nil, fmt.Errorf("the path %q has %d steps; at most %d are read", path, len(steps), maxPathSteps)
	}
	return steps, nil
}

func arrayIndex(s string) (int, bool) {
	if len(s) == 0 || len(s) > 6 {
		return 0, false
	}
	return fixedInt(s)
}

// walkPath calls visit with every value at the steps, going through each element
// of arrays on the way, until visit returns false. It says whether it went to the end.
func walkPath(v any, steps []pathStep, visit func(any) bool) bool {
	for i, st := range steps {
		switch x := v.(type) {
		case map[string]any:
			if st.bracket {
				return true
			}
			next, ok := x[st.key]
			if !ok {
				return true
			}
			v = next
		case []any:
			if st.index >= 0 {
				if st.index >= len(x) {
					return true
				}
				v = x[st.index]
				continue
			}
			for _, e := range x {
				if !walkPath(e, steps[i:], visit) {
					return false
				}
			}
			return true
		default:
			return true
		}
	}
	return visit(v)
}

// Lookup gives the value at a path (see parsePath for its grammar) of a
// document. Where the path goes through an array without an index, the value is
// the array of what its elements have there; ok is false where there is nothing,
// and for a path that cannot be read.
func Lookup(doc map[string]any, path string) (v any, ok bool) {
	if !strings.ContainsAny(path, `.["`) {
		v, ok = doc[path]
		return v, ok
	}
	steps, err := parsePath(path)
	if err != nil {
		return nil, false
	}
	return lookupSteps(doc, steps)
}

func lookupSteps(v any, steps []pathStep) (any, bool) {
	for i, st := range steps {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[st.key]
			if !ok || st.bracket {
				return nil, false
			}
			v = next
		case []any:
			if st.index >= 0 {
				if st.index >= len(x) {
					return nil, false
				}
				v = x[st.index]
				continue
			}
			found := []any{}
			walkPath(x, steps[i:], func(e any) bool { found = append(found, e); return true })
			return found, len(found) > 0
		default:
			return nil, false
		}
	}
	return v, true
}
