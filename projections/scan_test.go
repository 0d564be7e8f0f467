package projections

import (
	"bytes"
	"encoding/json"
	"testing"
)

// What eachMember visits is what encoding/json decodes, for every JSON object;
// of anything else it may say anything but must not panic.
func FuzzEachMember(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : 1 , "b":[{"c":"}\""}], "":null,"d":{"e":[]} } `, `{"a":"\\"}`, `{"a":true,"b":-1.5e3}`, `{"ü":"\u00fc"}`, `{"a":`, `[`, `{"a"1}`, `{"a":1 2}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		visited := map[string]json.RawMessage{}
		err := eachMember(data, func(key, value []byte) error {
			var k string
			if json.Unmarshal(append(append([]byte{'"'}, key...), '"'), &k) == nil {
				visited[k] = bytes.Clone(value)
			}
			if len(value) == 0 {
				t.Errorf("a value without bytes in %q", data)
			}
			_, _ = text(value)
			_, _ = number(value)
			return nil
		})
		var want map[string]json.RawMessage
		if json.Unmarshal(data, &want) != nil || want == nil {
			return
		}
		if err != nil || len(visited) != len(want) {
			t.Fatalf("%q: visited %d of %d members: %v", data, len(visited), len(want), err)
		}
		for k, v := range want {
			if !bytes.Equal(bytes.TrimSpace(v), visited[k]) {
				t.Errorf("%q: %q is %q, want %q", data, k, visited[k], v)
			}
			var s string
			if json.Unmarshal(v, &s) == nil {
				if have, err := text(visited[k]); err != nil || have != s {
					t.Errorf("text of %q is %q, %v", v, have, err)
				}
			}
			var n uint64
			if json.Unmarshal(v, &n) == nil {
				if have, err := number(visited[k]); (err != nil || have != n) && string(v) != "null" {
					t.Errorf("number of %q is %d, %v", v, have, err)
				}
			}
		}
	})
}
