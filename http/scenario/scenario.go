// Package scenario plays tables of requests against a server: each step states
// the answer and the events that were appended, and every answer is held to
// the OpenAPI document. It is for tests.
package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/eventstore"
	"varve/http/openapi"
)

// Stack is a running server.
type Stack struct {
	Handler http.Handler
	Store   eventstore.Follower // nil: events are not looked at
	// Keys are API keys by the name that Step.As uses. "admin" is the one that
	// steps without As use.
	Keys map[string]string
	// Vars are what ${name} stands for in requests, bodies and checks; Save adds to them.
	Vars map[string]string
}

// Step is one request and what must come of it.
type Step struct {
	Name      string
	As        string            // key of Stack.Keys; "nobody" sends none; empty: "admin"
	Do        string            // "POST /v1/buckets?limit=3"
	Namespace string            // header X-Namespace
	Header    map[string]string // further headers
	Body      string
	Status    int               // 0: the one that the document declares
	Events    []string          // types appended, in order, of all logs; nil: none may be appended
	AnyEvents bool              // do not look at events: something runs in the background
	Check     map[string]any    // path ("results.0.name", "results.#" for a length) → value, Present, Absent, or Match
	Save      map[string]string // variable → path
	Until     bool              // repeat until status and checks hold, at most Patience
	Outside   bool              // not in the OpenAPI document
}

// Patience is how long a scenario waits for what runs beside it, on machines that are slow.
const Patience = time.Minute

type presence string

// Values of checks.
const (
	Present presence = "present" // there, and not null
	Absent  presence = "absent"  // not there, or null
)

// Match checks a value's text (a string's own, else its JSON) by a regular expression.
func Match(expression string) *regexp.Regexp { return regexp.MustCompile(expression) }

// Play runs the steps in order, each as a subtest; a step that fails ends the scenario.
func (s *Stack) Play(t *testing.T, steps ...Step) {
	t.Helper()
	if s.Vars == nil {
		s.Vars = map[string]string{}
	}
	for _, step := range steps {
		if step.Name == "" {
			step.Name = step.Do
		}
		if !t.Run(step.Name, func(t *testing.T) { s.play(t, step) }) {
			t.FailNow()
		}
	}
}

func (s *Stack) play(t *testing.T, step Step) {
	t.Helper()
	method, target, _ := strings.Cut(s.expand(step.Do), " ")
	before := s.heads(t)
	deadline := time.Now().Add(Patience)
	for {
		w, problems := s.try(step, method, target)
		if len(problems) == 0 {
			cover(method, target, t)
			if !step.AnyEvents && !step.Until {
				problems = s.events(t, before, step.Events)
			}
		}
		if len(problems) == 0 {
			s.save(t, step, w.Body.Bytes())
			return
		}
		if !step.Until || time.Now().After(deadline) {
			t.Fatalf("%s %s:\n  %s\nanswer %d: %s", method, target, strings.Join(problems, "\n  "), w.Code, w.Body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *Stack) try(step Step, method, target string) (*httptest.ResponseRecorder, []string) {
	req := httptest.NewRequest(method, target, strings.NewReader(s.expand(step.Body)))
	as := step.As
	if as == "" {
		as = "admin"
	}
	if as != "nobody" {
		req.Header.Set("Authorization", "Bearer "+s.expand(s.key(as)))
	}
	if step.Namespace != "" {
		req.Header.Set("X-Namespace", s.expand(step.Namespace))
	}
	if step.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range step.Header {
		req.Header.Set(k, s.expand(v))
	}
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, req)
	var problems []string
	want := step.Status
	if want == 0 {
		if o, ok := openapi.Find(method, path(target)); ok {
			want = o.Success()
		} else {
			want = 200
		}
	}
	if w.Code != want {
		problems = append(problems, fmt.Sprintf("status %d, want %d", w.Code, want))
	}
	if !step.Outside {
		if err := openapi.ValidateResponse(method, path(target), w.Code, w.Body.Bytes()); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return w, append(problems, s.check(step.Check, w.Body.Bytes())...)
}

// key is a named key, or a key saved as a variable.
func (s *Stack) key(as string) string {
	if k, ok := s.Keys[as]; ok {
		return k
	}
	return "${" + as + "}"
}

func path(target string) string {
	p, _, _ := strings.Cut(target, "?")
	return p
}

func (s *Stack) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if v, ok := s.Vars[name]; ok {
			return v
		}
		return "${" + name + "}"
	})
}

// expandValue expands strings inside of lists and objects too.
func (s *Stack) expandValue(v any) any {
	if text, ok := v.(string); ok {
		return s.expand(text)
	}
	raw, err := json.Marshal(v)
	if err != nil || !bytes.Contains(raw, []byte("${")) {
		return v
	}
	return json.RawMessage(s.expand(string(raw)))
}

func (s *Stack) heads(t *testing.T) []uint64 {
	if s.Store == nil {
		return nil
	}
	heads := make([]uint64, s.Store.Shards())
	for shard := range heads {
		var err error
		if heads[shard], err = s.Store.Head(context.Background(), shard); err != nil {
			t.Fatal(err)
		}
	}
	return heads
}

// events compares the types appended since with what is wanted.
func (s *Stack) events(t *testing.T, since []uint64, want []string) []string {
	var got []string
	for shard, head := range since {
		for r, err := range s.Store.Feed(context.Background(), shard, head, 0) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Type)
		}
	}
	if s.Store == nil || slices.Equal(got, want) {
		return nil
	}
	return []string{fmt.Sprintf("events %q, want %q", got, want)}
}

func (s *Stack) check(checks map[string]any, body []byte) []string {
	var problems []string
	for where, want := range checks {
		got, there := Lookup(body, where)
		switch want := want.(type) {
		case presence:
			if (there && got != nil) != (want == Present) {
				problems = append(problems, fmt.Sprintf("%s is %s, want it %s", where, text(got), want))
			}
		case *regexp.Regexp:
			if !there || !want.MatchString(text(got)) {
				problems = append(problems, fmt.Sprintf("%s is %s, want a match of %s", where, text(got), want))
			}
		default:
			want = s.expandValue(want)
			if !there || !same(got, want) {
				problems = append(problems, fmt.Sprintf("%s is %s, want %s", where, text(got), text(want)))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func (s *Stack) save(t *testing.T, step Step, body []byte) {
	for name, where := range step.Save {
		v, ok := Lookup(body, where)
		if !ok {
			t.Fatalf("cannot save %s: the answer has no %s: %s", name, where, body)
		}
		s.Vars[name] = text(v)
	}
}

// text is a string's own text, else the JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// same compares as JSON.
func same(a, b any) bool {
	var x, y any
	return decode(a, &x) && decode(b, &y) && text(x) == text(y)
}

func decode(v any, into *any) bool {
	b, err := json.Marshal(v)
	return err == nil && json.Unmarshal(b, into) == nil
}

// Lookup finds a value of a JSON body by path: names and indexes joined by
// dots; # is the length of an array or object; "" is the whole body.
func Lookup(body []byte, where string) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	if where == "" {
		return v, true
	}
	for part := range strings.SplitSeq(where, ".") {
		switch at := v.(type) {
		case map[string]any:
			if part == "#" {
				v = len(at)
				continue
			}
			next, ok := at[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			if part == "#" {
				v = len(at)
				continue
			}
			var i int
			if _, err := fmt.Sscanf(part, "%d", &i); err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			v = at[i]
		default:
			return nil, false
		}
	}
	return v, true
}
