package projections

import (
	"encoding/json"
	"fmt"
)

// eachMember calls visit with every member of a JSON object, in order; value is
// the member's JSON as written. It reads events' data, which the store keeps
// as valid JSON, and is several times as fast as decoding all of it; what it
// does not visit it does not check. A member that is null is visited as null.
func eachMember(data []byte, visit func(key, value []byte) error) error {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return errJSON(data)
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return nil
	}
	for {
		if i >= len(data) || data[i] != '"' {
			return errJSON(data)
		}
		end := skipString(data, i)
		if end < 0 {
			return errJSON(data)
		}
		key := data[i+1 : end-1]
		i = skipSpace(data, end)
		if i >= len(data) || data[i] != ':' {
			return errJSON(data)
		}
		i = skipSpace(data, i+1)
		end = skipValue(data, i)
		if end < 0 {
			return errJSON(data)
		}
		if err := visit(key, data[i:end]); err != nil {
			return err
		}
		i = skipSpace(data, end)
		if i < len(data) && data[i] == '}' {
			return nil
		}
		if i >= len(data) || data[i] != ',' {
			return errJSON(data)
		}
		i = skipSpace(data, i+1)
	}
}

func errJSON(data []byte) error {
	return fmt.Errorf("the event's data are not a JSON object: %.60q", data)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString gives the index after the string that begins at i, -1 where it does not end.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// skipValue gives the index after the value that begins at i.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for ; i < len(b); i++ {
			switch b[i] {
			case '"':
				if i = skipString(b, i) - 1; i < 0 {
					return -1
				}
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
		return -1
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] != ' ' && b[i] != '\n' && b[i] != '\t' && b[i] != '\r' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// text reads a JSON string; null is empty.
func text(value []byte) (string, error) {
	if n := len(value); n >= 2 && value[0] == '"' {
		plain := true
		for _, c := range value[1 : n-1] {
			if c == '\\' || c < ' ' || c >= 0x80 {
				plain = false
				break
			}
		}
		if plain {
			return string(value[1 : n-1]), nil
		}
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err
}

// number reads a JSON integer that is not negative; null is 0.
func number(value []byte) (uint64, error) {
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' || n > 1<<59 {
			err := json.Unmarshal(value, &n)
			return n, err
		}
		n = n*10 + uint64(c-'0')
	}
	return n, nil
}
