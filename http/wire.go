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
	return []byte(time.Time(t).UTC().Format(`"2006-01-02T15:04:05.000000Z"`)), nil
}

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

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
