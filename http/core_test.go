package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"varve/domain"
	"varve/http/openapi"
)

// bare is a server with routes for tests and nothing behind it.
func bare(t *testing.T, register func(*Server)) *Server {
	t.Helper()
	nouns["test"] = register
	defer delete(nouns, "test")
	return New(Deps{Log: slog.New(slog.DiscardHandler), Limits: Limits{Body: 4096}})
}

type answered struct {
	*httptest.ResponseRecorder
	envelope envelope
}

func ask(s *Server, method, target, body string, header ...string) answered {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	a := answered{ResponseRecorder: w}
	_ = json.Unmarshal(w.Body.Bytes(), &a.envelope)
	return a
}

var public = needs{Permission: "public", Resource: "service"}

type sample struct {
	Name   string            `json:"name" validate:"required,min=3,max=10"`
	Count  int               `json:"count" validate:"omitempty,min=1"`
	Ratio  *float64          `json:"ratio"`
	On     bool              `json:"on"`
	Kind   string            `json:"kind" validate:"omitempty,oneof=a b"`
	Stages []sampleStage     `json:"stages" validate:"dive"`
	Labels map[string]string `json:"labels"`
	Note   Maybe[string]     `json:"description"`
	At     time.Time         `json:"at"`
	Free   any               `json:"free"`
	Raw    json.RawMessage   `json:"raw"`
}

type sampleStage struct {
	Name  string `json:"stage_name" validate:"required"`
	Limit int    `json:"limit" validate:"max=5"`
}

type sampleAnswer struct {
	Got sample `json:"got"`
	Warned
}

func sampleServer(t *testing.T) *Server {
	return bare(t, func(s *Server) {
		s.route("POST", "/v1/samples", public, handle(func(_ context.Context, r *Request[sample]) (any, error) {
			return &sampleAnswer{Got: r.Body}, nil
		}))
		s.route("GET", "/v1/samples/{sample_id}", public, handle(func(_ context.Context, r *Request[None]) (any, error) {
			return map[string]string{"id": r.Path("sample_id")}, nil
		}))
		s.route("GET", "/v1/panic", public, handle(func(context.Context, *Request[None]) (any, error) { panic("secret detail") }))
		s.route("GET", "/v1/fails", public, handle(func(context.Context, *Request[None]) (any, error) { return nil, io.ErrUnexpectedEOF }))
		s.route("GET", "/v1/busy", public, handle(func(context.Context, *Request[None]) (any, error) {
			return nil, &domain.Error{Code: domain.CodeUnavailable, Message: "busy", RetryAfter: 1.2}
		}))
		s.route("GET", "/v1/over", public, handle(func(context.Context, *Request[None]) (any, error) {
			return nil, &domain.Error{Code: domain.CodeRateLimited, Message: "quota is used up"}
		}))
		s.list("/v1/pages", public, handle(func(_ context.Context, r *Request[PageBody]) (any, error) {
			p, err := r.Page()
			return p, err
		}))
	})
}

func TestBodies(t *testing.T) {
	s := sampleServer(t)
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	for _, c := range []struct {
		name, body string
		status     int
		where      string // location of a violation, joined by "/"
		kind       string
	}{
		{"good", `{"name":"abc","count":2,"ratio":0.5,"on":true,"kind":"a","stages":[{"stage_name":"x"}],"labels":{"k":"v"},"at":"2026-01-02","free":{"a":[1]},"raw":[1]}`, 200, "", ""},
		{"missing", `{}`, 422, "body/name", "missing"},
		{"empty body is an empty object", ``, 422, "body/name", "missing"},
		{"null body is an empty object", `null`, 422, "body/name", "missing"},
		{"null for required", `{"name":null}`, 422, "body/name", "missing"},
		{"too short", `{"name":"ab"}`, 422, "body/name", "range"},
		{"wrong type", `{"name":7}`, 422, "body/name", "string_type"},
		{"fraction for integer", `{"name":"abc","count":1.5}`, 422, "body/count", "int_type"},
		{"text for integer", `{"name":"abc","count":"1"}`, 422, "body/count", "int_type"},
		{"text for boolean", `{"name":"abc","on":"true"}`, 422, "body/on", "bool_type"},
		{"number too large", `{"name":"abc","count":99999999999999999999}`, 422, "body/count", "int_type"},
		{"deep inside", `{"name":"abc","stages":[{"stage_name":"x"},{"stage_name":"y","limit":9}]}`, 422, "body/stages/1/limit", "range"},
		{"missing inside", `{"name":"abc","stages":[{}]}`, 422, "body/stages/0/stage_name", "missing"},
		{"type inside", `{"name":"abc","stages":[7]}`, 422, "body/stages/0", "object_type"},
		{"array expected", `{"name":"abc","stages":{}}`, 422, "body/stages", "list_type"},
		{"map value", `{"name":"abc","labels":{"k":1}}`, 422, "body/labels/k", "string_type"},
		{"closed words", `{"name":"abc","kind":"c"}`, 422, "body/kind", "enum"},
		{"time", `{"name":"abc","at":"soon"}`, 422, "body/at", "datetime_type"},
		{"array at the top", `[]`, 422, "body", "object_type"},
		{"other case is another member", `{"Name":"abc"}`, 422, "body/name", "missing"},
		{"syntax", `{"name":`, 400, "", ""},
		{"trailing", `{"name":"abc"}{}`, 400, "", ""},
		{"twice", `{"name":"abc","name":"abd"}`, 400, "", ""},
		{"utf-8", "{\"name\":\"a\xffb\"}", 400, "", ""},
		{"deep nesting", `{"name":"abc","free":` + deep + `}`, 400, "", ""},
		{"too large", `{"name":"abc","free":"` + strings.Repeat("x", 5000) + `"}`, 413, "", ""},
	} {
		a := ask(s, "POST", "/v1/samples", c.body)
		if a.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, a.Code, c.status, a.Body)
			continue
		}
		if c.where == "" {
			continue
		}
		raw, _ := json.Marshal(a.envelope.Error.Details["validation_errors"])
		var list []struct {
			Type     string
			Location []any
			Message  string
		}
		_ = json.Unmarshal(raw, &list)
		found := false
		for _, v := range list {
			var parts []string
			for _, l := range v.Location {
				b, _ := json.Marshal(l)
				parts = append(parts, strings.Trim(string(b), `"`))
			}
			found = found || strings.Join(parts, "/") == c.where && v.Type == c.kind && v.Message != ""
		}
		if !found {
			t.Errorf("%s: no violation %s at %s in %s", c.name, c.kind, c.where, raw)
		}
	}
}

func TestUnknownMembersAreNamed(t *testing.T) {
	a := ask(sampleServer(t), "POST", "/v1/samples", `{"name":"abc","colour":1,"note":"x","stages":[{"stage_name":"x","depth":1}]}`)
	var got sampleAnswer
	if err := json.Unmarshal(a.Body.Bytes(), &struct{ *Warned }{&got.Warned}); err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) != 2 || !strings.Contains(got.Warnings[0], "colour") || !strings.Contains(got.Warnings[1], "stages[0].depth") {
		t.Errorf("warnings %q", got.Warnings)
	}
}

func TestMaybe(t *testing.T) {
	var seen []Maybe[string]
	s := bare(t, func(s *Server) {
		s.route("POST", "/v1/samples", public, handle(func(_ context.Context, r *Request[sample]) (any, error) {
			seen = append(seen, r.Body.Note)
			return nil, nil
		}))
	})
	for _, member := range []string{"", `,"description":null`, `,"description":"d"`} {
		ask(s, "POST", "/v1/samples", `{"name":"abc"`+member+`}`)
	}
	want := []Maybe[string]{{}, {Set: true, Null: true}, {Set: true, Value: "d"}}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("case %d: %+v, want %+v", i, seen[i], want[i])
		}
	}
}

func TestPathsAndSlashes(t *testing.T) {
	s := sampleServer(t)
	for target, id := range map[string]string{
		"/v1/samples/a":         "a",
		"/v1/samples/a/":        "a",
		"/v1/samples/a%20b":     "a b",
		"/v1/samples/a%2Fb":     "a/b",
		"/v1/samples/a%2Fb/":    "a/b",
		"/v1/samples/a%2F":      "a/",
		"/v1/samples/100%25":    "100%",
		"/v1/samples/a%252Fb":   "a%2Fb",
		"/v1/samples/%C3%A4?x=": "ä",
	} {
		a := ask(s, "GET", target, "")
		if want := `{"id":` + quote(id) + "}\n"; a.Body.String() != want {
			t.Errorf("%s: %s, want %s", target, a.Body, want)
		}
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestErrorsOnTheWire(t *testing.T) {
	s := sampleServer(t)
	for _, c := range []struct {
		method, path string
		status       int
		kind, code   string
		retryAfter   string
		retryable    any
	}{
		{"GET", "/v1/nowhere", 404, "NotFoundError", "no_such_operation", "", nil},
		{"DELETE", "/v1/samples", 405, "MethodNotAllowedError", "method_not_allowed", "", nil},
		{"GET", "/v1/panic", 500, "InternalServerError", "", "", nil},
		{"GET", "/v1/fails", 500, "InternalServerError", "", "", nil},
		{"GET", "/v1/busy", 503, "ServiceUnavailableError", "", "2", true},
		{"GET", "/v1/over", 429, "TooManyRequestsError", "", "", false},
	} {
		a := ask(s, c.method, c.path, "")
		e := a.envelope
		if a.Code != c.status || e.Status != c.status || e.Success || e.Error.Type != c.kind || e.Error.Code != c.code || e.Error.Message == "" || e.RequestID == "" {
			t.Errorf("%s: %d %s", c.path, a.Code, a.Body)
		}
		if e.RequestID != a.Header().Get("X-Request-Id") {
			t.Errorf("%s: request id %s, header %s", c.path, e.RequestID, a.Header().Get("X-Request-Id"))
		}
		if a.Header().Get("Retry-After") != c.retryAfter || e.Error.Details["retryable"] != c.retryable {
			t.Errorf("%s: Retry-After %q, details %v", c.path, a.Header().Get("Retry-After"), e.Error.Details)
		}
		if strings.Contains(a.Body.String(), "secret") || strings.Contains(a.Body.String(), "EOF") {
			t.Errorf("%s tells the cause: %s", c.path, a.Body)
		}
	}
}

func TestPaging(t *testing.T) {
	s := sampleServer(t)
	for _, c := range []struct {
		method, target, body string
		want                 Paging
		status               int
	}{
		{"GET", "/v1/pages", "", Paging{Limit: 100}, 200},
		{"POST", "/v1/pages/list", "", Paging{Limit: 100}, 200},
		{"POST", "/v1/pages/list?page_size=7", `{"limit":9}`, Paging{Limit: 7}, 200},
		{"POST", "/v1/pages/list", `{"page_size":9,"page":3}`, Paging{Limit: 9, Offset: 18}, 200},
		{"POST", "/v1/pages/list", `{"limit":9,"offset":4,"include_total":true}`, Paging{Limit: 9, Offset: 4, IncludeTotal: true}, 200},
		{"POST", "/v1/pages/list", `{"cursor":"abc","offset":4}`, Paging{Limit: 100, Cursor: "abc"}, 200},
		{"GET", "/v1/pages?next_cursor=x&include_total=true", "", Paging{Limit: 100, Cursor: "x", IncludeTotal: true}, 200},
		{"GET", "/v1/pages?after=x", "", Paging{Limit: 100, Cursor: "x"}, 200},
		{"GET", "/v1/pages?limit=0", "", Paging{}, 422},
		{"GET", "/v1/pages?limit=1001", "", Paging{}, 422},
		{"GET", "/v1/pages?offset=10001", "", Paging{}, 422},
		{"GET", "/v1/pages?page=0", "", Paging{}, 422},
		{"GET", "/v1/pages?limit=x", "", Paging{}, 422},
	} {
		a := ask(s, c.method, c.target, c.body)
		if a.Code != c.status {
			t.Errorf("%s %s: %d %s", c.target, c.body, a.Code, a.Body)
			continue
		}
		if c.status != 200 {
			continue
		}
		var got Paging
		_ = json.Unmarshal(a.Body.Bytes(), &got)
		if got != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.target, c.body, got, c.want)
		}
	}
}

func TestRouteWithoutPermissionDoesNotStart(t *testing.T) {
	for name, n := range map[string]needs{
		"nothing": {}, "no resource": {Permission: "read"}, "no permission": {Resource: "bucket"}, "unknown": {Permission: "raed", Resource: "bucket"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the server started", name)
				}
			}()
			bare(t, func(s *Server) { s.route("GET", "/v1/x", n, nil) })
		}()
	}
}

// Routes and document are held to each other: everything in the document has a
// route (a handler or 501), and everything with a handler is in the document.
func TestRoutesAndDocument(t *testing.T) {
	s := New(Deps{})
	for _, o := range openapi.Operations() {
		r, ok := s.routes[routeKey(o.Method, o.Path)]
		if !ok {
			t.Errorf("%s %s has no route", o.Method, o.Path)
			continue
		}
		if o.Public != (r.needs.Permission == "public") {
			t.Errorf("%s %s: the document says public %v, the route needs %q", o.Method, o.Path, o.Public, r.needs.Permission)
		}
		if !o.Namespace && r.needs.Namespaced {
			t.Errorf("%s %s requires a namespace, but clients send no X-Namespace with it; use Narrows", o.Method, o.Path)
		}
	}
	for _, r := range s.routes {
		if o, ok := openapi.Find(r.method, r.path); !ok || routeKey(o.Method, o.Path) != routeKey(r.method, r.path) {
			t.Errorf("%s %s is not in the document: add it to http/openapi/own/%s.json", r.method, r.path, r.needs.Resource)
		}
	}
}

func TestRequestID(t *testing.T) {
	s := sampleServer(t)
	if got := ask(s, "GET", "/v1/busy", "", "X-Request-Id", "caller-chosen-1").envelope.RequestID; got != "caller-chosen-1" {
		t.Errorf("request id %s", got)
	}
	if got := ask(s, "GET", "/v1/busy", "", "X-Request-Id", "a\"b").envelope.RequestID; !strings.HasPrefix(got, "req_") {
		t.Errorf("request id %s", got)
	}
}

func TestDocumentIsServedTwice(t *testing.T) {
	s := New(Deps{Version: "1.2"})
	a, b := ask(s, "GET", "/openapi.json", ""), ask(s, "GET", "/docs/openapi.json", "")
	if a.Code != nethttp.StatusOK || !bytes.Equal(a.Body.Bytes(), b.Body.Bytes()) {
		t.Errorf("%d, %d", a.Code, b.Code)
	}
}

func TestObservation(t *testing.T) {
	s := sampleServer(t)
	var seen []Observation
	s.Observe = func(o Observation) { seen = append(seen, o) }
	ask(s, "GET", "/v1/samples/abc", "")
	ask(s, "GET", "/v1/panic", "")
	ask(s, "GET", "/v1/nowhere", "")
	want := []struct {
		operation string
		status    int
	}{{"GET /v1/samples/{sample_id}", 200}, {"GET /v1/panic", 500}, {"", 404}}
	for i, w := range want {
		if seen[i].Operation != w.operation || seen[i].Status != w.status {
			t.Errorf("request %d: %+v, want %+v", i, seen[i], w)
		}
	}
}

// BenchmarkCore measures what routing, body and answer cost a request.
func BenchmarkCore(b *testing.B) {
	nouns["test"] = func(s *Server) {
		s.route("POST", "/v1/samples", public, handle(func(_ context.Context, r *Request[sample]) (any, error) { return r.Body, nil }))
	}
	s := New(Deps{Log: slog.New(slog.DiscardHandler)})
	delete(nouns, "test")
	body := `{"name":"abc","count":2,"ratio":0.5,"on":true,"kind":"a","stages":[{"stage_name":"x"}],"labels":{"k":"v"},"at":"2026-01-02","free":{"a":[1]},"raw":[1]}`
	b.ReportAllocs()
	for b.Loop() {
		if a := ask(s, "POST", "/v1/samples", body); a.Code != 200 {
			b.Fatal(a.Body)
		}
	}
}
