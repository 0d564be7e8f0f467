package http

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"pgregory.net/rapid"
)

// FuzzBody holds the parser to encoding/json: what it reads is valid JSON, and
// every value's bytes are the ones that came. It must never panic.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"name":"abc"}`, `[1,2,{"a":[]}]`, `{"a":"\u00e4\"\\"}`, `{"a":1,"a":2}`, ` null `, `-1.5e+3`, "{\"a\":\"\xff\"}", `{"a":{}}x`, strings.Repeat("[", 70), `{"":0}`, `"\\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := parseBody(body)
		if err != nil || n == nil {
			return
		}
		if !json.Valid(n.raw) {
			t.Fatalf("accepted %q", body)
		}
		var check func(*node, int)
		check = func(n *node, depth int) {
			if !json.Valid(n.raw) || depth > maxBodyDepth+1 {
				t.Fatalf("part %q of %q, depth %d", n.raw, body, depth)
			}
			for _, m := range n.members {
				check(m.value, depth+1)
			}
			for _, i := range n.items {
				check(i, depth+1)
			}
		}
		check(n, 1)
		r := &Request[sample]{Call: &Call{body: body}}
		_ = r.decode()
		r2 := &Request[[]sampleStage]{Call: &Call{body: body}}
		_ = r2.decode()
	})
}

// For bodies that fit the type and name every member exactly, the decoder and
// encoding/json agree.
func TestDecoderAgreesWithEncodingJSON(t *testing.T) {
	type inner struct {
		S string  `json:"s"`
		F float64 `json:"f"`
		B *bool   `json:"b"`
	}
	type outer struct {
		I    int               `json:"i"`
		U    uint8             `json:"u"`
		L    []inner           `json:"l"`
		M    map[string]int    `json:"m"`
		P    *inner            `json:"p"`
		N    map[string]*inner `json:"n"`
		Text string
	}
	err := quick.Check(func(want outer) bool {
		raw, err := json.Marshal(want)
		if err != nil {
			return false
		}
		var plain outer
		if err := json.Unmarshal(raw, &plain); err != nil {
			return false
		}
		r := &Request[outer]{Call: &Call{body: raw}}
		return r.decode() == nil && len(r.Unknown) == 0 && reflect.DeepEqual(r.Body, plain)
	}, &quick.Config{MaxCount: 200})
	if err != nil {
		t.Error(err)
	}
}

// Whatever the sizes, and whatever disappears between requests, following the
// cursor shows every item that stays exactly once, in order.
func TestPagesOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("k%03d", i)
		}
		stays := slices.Clone(all)
		var seen []string
		p := Paging{Limit: rapid.IntRange(1, 7).Draw(t, "limit")}
		for {
			page, next := pageOfAll(p, all, func(s string) string { return s })
			seen = append(seen, page...)
			if next == "" {
				break
			}
			p.Cursor = next
			if len(all) > 0 && rapid.Bool().Draw(t, "delete") {
				gone := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				if !slices.Contains(seen, gone) {
					stays = slices.DeleteFunc(stays, func(s string) bool { return s == gone })
				}
				all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == gone })
			}
		}
		if !slices.Equal(seen, stays) {
			t.Fatalf("saw %v, want %v", seen, stays)
		}
	})
}

func TestLocation(t *testing.T) {
	for path, want := range map[string]string{
		"name":                   `["body","name"]`,
		"stages[0].config.limit": `["body","stages",0,"config","limit"]`,
		"query.limit":            `["query","limit"]`,
		"rates[search]":          `["body","rates","search"]`,
		"body":                   `["body"]`,
		"":                       `["body"]`,
		"a[":                     `["body","a",""]`,
	} {
		got, _ := json.Marshal(location(path))
		if string(got) != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}
