package http

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"varve/commands"
	"varve/domain"
	. "varve/http/scenario"
)

// probes are routes of tests that only say whether the caller got through.
func probes(s *Server) {
	pass := handle(func(_ context.Context, r *Request[None]) (any, error) {
		return map[string]any{"namespace": r.Namespace.ID, "unresolved": r.Unresolved, "actor": r.In().Actor}, nil
	})
	s.route("GET", "/probe/read", needs{Permission: "read", Resource: "bucket", Namespaced: true}, pass)
	s.route("POST", "/probe/write", needs{Permission: "write", Resource: "bucket", Namespaced: true}, pass)
	s.route("DELETE", "/probe/{bucket_identifier}", needs{Permission: "delete", Resource: "bucket", Namespaced: true}, pass)
	s.route("GET", "/probe/buckets/{bucket_identifier}", needs{Permission: "read", Resource: "bucket", Namespaced: true}, pass)
	s.route("GET", "/probe/narrow", needs{Permission: "read", Resource: "event", Narrows: true}, pass)
	s.route("GET", "/probe/plain", needs{Permission: "read", Resource: "organization"}, pass)
	s.route("POST", "/probe/run/{retriever_id}", needs{Permission: "read", Resource: "retriever", Operation: "execute_retriever", Namespaced: true}, pass)
	s.route("GET", "/probe/search", needs{Permission: "read", Resource: "organization", Class: "search"}, pass)
}

func probeStack(t *testing.T) *stack {
	t.Helper()
	nouns["test"] = probes
	defer delete(nouns, "test")
	st := newStack(t, func(d *Deps) { d.Limits.Rate = map[string]int{"search": 3} })
	st.Play(t,
		Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"films","namespace_id":"ns_films"}`, Events: namespaceCreated},
		Step{Do: "POST /v1/namespaces", Body: `{"namespace_name":"books","namespace_id":"ns_books"}`, Events: namespaceCreated},
		Step{Do: "POST /v1/namespaces", As: "other", Body: `{"namespace_name":"theirs","namespace_id":"ns_theirs"}`, Events: namespaceCreated},
	)
	return st
}

func (st *stack) key(t *testing.T, as string, change func(*commands.CreateKey)) {
	t.Helper()
	ctx := context.Background()
	found, err := st.server.LookupKey(ctx, commands.PublicPrefix(st.Keys["admin"]))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	cmd := commands.CreateKey{Email: "ada@example.com", Name: as}
	change(&cmd)
	in := commands.In{OrganizationID: st.Vars["org"], Organization: found[0].Organization, Actor: "test"}
	made, err := st.commands.CreateKey(ctx, in, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.server.Models.Pin(ctx, in.Organization, "directory"); err != nil {
		t.Fatal(err)
	}
	st.Keys[as] = made.Secret
}

func TestKeysAndPermissions(t *testing.T) {
	st := probeStack(t)
	st.Keys["garbage"], st.Keys["short"] = "sk_live_00000000000000000000000000000000000000000000000", "x"
	st.Keys["almost"] = st.Keys["admin"][:len(st.Keys["admin"])-1] + "!"
	soon := st.clock.at.Add(time.Minute)
	st.key(t, "brief", func(c *commands.CreateKey) { c.ExpiresAt = &soon })
	st.key(t, "browser", func(c *commands.CreateKey) {
		c.AllowedOrigins = []string{"https://app.example.com", "https://*.example.org"}
	})
	st.key(t, "principal", func(c *commands.CreateKey) { c.PrincipalID = "user:7" })
	p := func(name, as, do string, status int, check map[string]any, header ...string) Step {
		h := map[string]string{}
		for i := 0; i < len(header); i += 2 {
			h[header[i]] = header[i+1]
		}
		return Step{Name: name, As: as, Do: do, Status: status, Check: check, Header: h, Namespace: "films", Outside: true}
	}
	st.Play(t,
		p("no key", "nobody", "GET /probe/read", 401, map[string]any{"error.code": "missing_key"}),
		p("another scheme", "nobody", "GET /probe/read", 401, nil, "Authorization", "Basic abc"),
		p("scheme in lower case", "nobody", "GET /probe/read", 200, nil, "Authorization", "bearer "+st.Keys["admin"]),
		p("unknown key", "garbage", "GET /probe/read", 401, map[string]any{"error.code": "unknown_key"}),
		p("right prefix, wrong rest", "almost", "GET /probe/read", 401, map[string]any{"error.code": "unknown_key"}),
		p("no key at all", "short", "GET /probe/read", 401, nil),
		p("reader reads", "reader", "GET /probe/read", 200, nil),
		p("reader does not write", "reader", "POST /probe/write", 403, map[string]any{"error.code": "permission_missing", "error.details.required": "write"}),
		p("reader does not delete", "reader", "DELETE /probe/x", 403, nil),
		p("member writes", "member", "POST /probe/write", 200, nil),
		p("viewer does not, whatever its key says", "viewer", "POST /probe/write", 403, nil),
		p("actor of a principal's key", "principal", "GET /probe/read", 200, map[string]any{"actor": "user:7"}),
		p("no browser", "browser", "GET /probe/read", 200, nil),
		p("allowed page", "browser", "GET /probe/read", 200, nil, "Origin", "https://app.example.com"),
		p("allowed family", "browser", "GET /probe/read", 200, nil, "Origin", "https://a.b.example.org"),
		p("not the family's own name", "browser", "GET /probe/read", 403, nil, "Origin", "https://example.org"),
		p("look-alike", "browser", "GET /probe/read", 403, map[string]any{"error.code": "origin_not_allowed"}, "Origin", "https://evilexample.org"),
		p("another scheme of page", "browser", "GET /probe/read", 403, nil, "Origin", "http://app.example.com"),
		p("brief works", "brief", "GET /probe/read", 200, nil),
		Step{Name: "suspend", Do: "PATCH /v1/organizations/users/member@example.com", Body: `{"status":"suspended"}`, Events: []string{"user.saved"}},
		p("suspended", "member", "GET /probe/read", 401, map[string]any{"error.code": "user_suspended"}),
	)
	st.clock.at = st.clock.at.Add(time.Minute)
	st.Play(t, p("expired", "brief", "GET /probe/read", 401, map[string]any{"error.code": "key_expired"}))
}

func TestScopes(t *testing.T) {
	st := probeStack(t)
	scope := func(as string, scopes ...domain.ResourceScope) {
		st.key(t, as, func(c *commands.CreateKey) { c.Scopes = scopes })
	}
	scope("films-only", domain.ResourceScope{ResourceType: "namespace", ResourceID: "ns_films"})
	scope("one-bucket", domain.ResourceScope{ResourceType: "bucket", ResourceID: "bkt_1", Operations: []string{"read_data"}})
	scope("all-buckets", domain.ResourceScope{ResourceType: "bucket", ResourceID: "*"})
	scope("prefix", domain.ResourceScope{ResourceType: "bucket", ResourceID: "bkt_*"})
	scope("of-films", domain.ResourceScope{ResourceType: "bucket", ResourceID: "ns_films_*"})
	scope("runner", domain.ResourceScope{ResourceType: "retriever", ResourceID: "ret_1", Operations: []string{"execute_retriever"}})
	scope("whole", domain.ResourceScope{ResourceType: "organization", ResourceID: st.Vars["org"]})
	for _, c := range []struct {
		as, do, namespace string
		status            int
	}{
		{"films-only", "GET /probe/read", "films", 200},
		{"films-only", "GET /probe/read", "ns_films", 200},
		{"films-only", "GET /probe/read", "books", 403},
		{"films-only", "GET /probe/plain", "films", 403},
		{"one-bucket", "GET /probe/buckets/bkt_1", "films", 200},
		{"one-bucket", "GET /probe/buckets/bkt_2", "films", 403},
		{"one-bucket", "DELETE /probe/bkt_1", "films", 403},
		{"one-bucket", "GET /probe/read", "films", 403},
		{"all-buckets", "GET /probe/read", "films", 200},
		{"all-buckets", "DELETE /probe/bkt_1", "films", 200},
		{"all-buckets", "POST /probe/run/ret_1", "films", 403},
		{"prefix", "GET /probe/buckets/bkt_2", "films", 200},
		{"prefix", "GET /probe/buckets/other", "films", 403},
		{"prefix", "GET /probe/read", "films", 403},
		{"of-films", "GET /probe/buckets/bkt_2", "films", 200},
		{"of-films", "GET /probe/buckets/bkt_2", "books", 403},
		{"runner", "POST /probe/run/ret_1", "films", 200},
		{"runner", "POST /probe/run/ret_2", "films", 403},
		{"runner", "GET /probe/read", "films", 403},
		{"whole", "GET /probe/read", "films", 200},
		{"whole", "GET /probe/plain", "", 200},
	} {
		st.Play(t, Step{Name: c.as + " " + c.do + " " + c.namespace, As: c.as, Do: c.do, Namespace: c.namespace, Status: c.status, Outside: true})
	}
	st.Play(t,
		Step{Name: "lists show what is covered", As: "films-only", Do: "GET /v1/namespaces", Check: map[string]any{"results.#": 1, "results.0.namespace_id": "ns_films"}},
		Step{Name: "and no more", As: "films-only", Do: "GET /v1/namespaces/ns_books", Status: 403},
		Step{Name: "what does not exist looks the same", As: "films-only", Do: "GET /v1/namespaces/ns_nowhere", Status: 403},
		Step{Name: "its own", As: "films-only", Do: "GET /v1/namespaces/films"},
	)
}

func TestNamespaceResolution(t *testing.T) {
	st := probeStack(t)
	for _, c := range []struct {
		name, do, header string
		status           int
		check            map[string]any
	}{
		{"header, id", "GET /probe/read", "ns_films", 200, map[string]any{"namespace": "ns_films"}},
		{"header, name", "GET /probe/read", "films", 200, map[string]any{"namespace": "ns_films"}},
		{"query", "GET /probe/read?namespace=films", "", 200, map[string]any{"namespace": "ns_films"}},
		{"query by id", "GET /probe/read?namespace_id=ns_films", "", 200, map[string]any{"namespace": "ns_films"}},
		{"id and name agree", "GET /probe/read?namespace=ns_films", "films", 200, map[string]any{"namespace": "ns_films"}},
		{"disagree", "GET /probe/read?namespace=books", "films", 400, map[string]any{"error.code": "namespace_ambiguous"}},
		{"missing", "GET /probe/read", "", 400, map[string]any{"error.code": "namespace_required"}},
		{"unknown", "GET /probe/read", "nowhere", 404, map[string]any{"error.code": "namespace_not_found"}},
		{"of another organization", "GET /probe/read", "ns_theirs", 404, map[string]any{"error.code": "namespace_not_found"}},
		{"narrows", "GET /probe/narrow", "films", 200, map[string]any{"namespace": "ns_films", "unresolved": ""}},
		{"narrows to nothing", "GET /probe/narrow", "nowhere", 200, map[string]any{"namespace": "", "unresolved": "nowhere"}},
		{"not needed, not looked at", "GET /probe/plain", "nowhere", 200, map[string]any{"namespace": ""}},
	} {
		st.Play(t, Step{Name: c.name, Do: c.do, Namespace: c.header, Status: c.status, Check: c.check, Outside: true})
	}
}

func TestRateLimit(t *testing.T) {
	st := probeStack(t)
	ok := Step{Name: "within", Do: "GET /probe/search", As: "reader", Outside: true}
	st.Play(t, ok, ok, ok,
		Step{Name: "beyond", Do: "GET /probe/search", As: "reader", Status: 429, Outside: true,
			Check: map[string]any{"error.type": "TooManyRequestsError", "error.details.retryable": true, "error.details.retry_after_seconds": 20}},
		Step{Name: "another key has its own", Do: "GET /probe/search", As: "viewer", Outside: true},
		Step{Name: "another class too", Do: "GET /probe/plain", As: "reader", Outside: true},
	)
	st.clock.at = st.clock.at.Add(20 * time.Second)
	st.Play(t, ok)
	a := ask(st.server, "GET", "/probe/plain", "", "Authorization", "Bearer "+st.Keys["reader"])
	for _, h := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window"} {
		if a.Header().Get(h) == "" {
			t.Errorf("no header %s", h)
		}
	}
}

func TestReferenceWithoutRoute(t *testing.T) {
	newStack(t).Play(t,
		Step{Name: "not enabled", Do: "GET /v1/taxonomies", Status: 501, Check: map[string]any{"error.type": "NotEnabledError", "error.details.operation": Present, "error.details.retryable": Absent}},
		Step{Name: "needs a key", Do: "GET /v1/taxonomies", As: "nobody", Status: 401},
	)
}

// A key is in the answer that makes it and nowhere else: not in events, not in
// later answers, not in the log.
func TestKeysAreShownOnce(t *testing.T) {
	var logged bytes.Buffer
	st := newStack(t, func(d *Deps) {
		d.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	keys := "/v1/organizations/users/ada@example.com/api-keys"
	st.Play(t,
		Step{Do: "POST " + keys, Body: `{"name":"ci"}`, Events: []string{"api_key.saved"}, Save: map[string]string{"ci": "key"}},
		Step{Do: "POST " + keys + "/ci/rotate", Events: []string{"api_key.saved"}, Save: map[string]string{"ci2": "key"}},
		Step{Do: "GET /v1/me", As: "ci2"},
		Step{Name: "dead", Do: "GET /v1/me", As: "ci", Status: 401},
	)
	var seen strings.Builder
	for r, err := range st.Store.Feed(context.Background(), 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(r.Data)
	}
	for _, target := range []string{keys, "/v1/organizations", "/v1/me"} {
		seen.WriteString(ask(st.server, "GET", target, "", "Authorization", "Bearer "+st.Keys["admin"]).Body.String())
	}
	seen.Write(logged.Bytes())
	for _, secret := range []string{st.Vars["ci"], st.Vars["ci2"], st.Keys["admin"]} {
		if strings.Contains(seen.String(), secret[16:]) {
			t.Errorf("the secret part of %s… is in an event, an answer or the log", secret[:16])
		}
	}
	for _, u := range []string{"key_hash\":\"", "previous_key_hash\":\""} {
		a := ask(st.server, "GET", keys, "", "Authorization", "Bearer "+st.Keys["admin"]).Body.String()
		if i := strings.Index(a, u); i >= 0 && !strings.HasPrefix(a[i+len(u):], "not shown") {
			t.Errorf("an answer shows %s", u)
		}
	}
}
