package http

import (
	"encoding/json"
	"strconv"
	"time"
)

// wireTime is a time as the reference writes it: RFC 3339, UTC, microseconds;
// null where there is none.
type wireTime time.Time

// MarshalJSON writes the time.
func (t wireTime) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + wireText(time.Time(t)) + `"`), nil
}

// wireText is a time as wireTime writes it, for texts.
func wireText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// object gives free JSON, or an empty object where there is none.
func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// orEmpty makes sure that a list is written as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// textOrNull makes null of an empty text.
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// given says whether a member came with a value other than null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// orAbsent makes null of JSON the same as nothing.
func orAbsent(raw json.RawMessage) json.RawMessage {
	if !given(raw) {
		return nil
	}
	return raw
}

// orNull gives free JSON, or null where there is none.
func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
