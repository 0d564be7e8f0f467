package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
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
			for _, m := range n.open().members {
				check(m.value, depth+1)
			}
			for _, i := range n.open().items {
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

// A body of the largest size whose values nobody asks for costs little more than
// its bytes: the nodes of sixteen million values would take over a gigabyte.
func TestBodyOfManyValues(t *testing.T) {
	body := append(append([]byte(`{"a":[`), bytes.Repeat([]byte("1,"), 4<<20)...), "1]}"...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := parseBody(body)
	runtime.ReadMemStats(&after)
	if err != nil || len(n.member("a").raw) != len(body)-len(`{"a":}`) {
		t.Fatalf("a long list was not read: %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(len(body)) {
		t.Errorf("a body of %d bytes took %d bytes more", len(body), used)
	}
	list := &Request[sample]{Call: &Call{body: body[len(`{"a":`) : len(body)-1]}}
	runtime.ReadMemStats(&before)
	err = list.decode()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > uint64(len(body)) {
		t.Errorf("a list instead of an object: %v, %d bytes", err, used)
	}
	for text, want := range map[string]string{
		`{"a":[0,{"b":{"c":1,"c":2}}]}`: "names the member a[1].b.c twice", `[[{"x":1,"x":1}]]`: "names the member [0][0].x twice",
		strings.Repeat("[", 65) + strings.Repeat("]", 65): "deeper than 64",
	} {
		if _, err := parseBody([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
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
