package http

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"varve/domain"
)

// How a noun's author adds routes. One file per noun:
//
//	var _ = noun("bucket", (*Server).bucketRoutes)
//
//	func (s *Server) bucketRoutes() {
//		s.route("POST", "/v1/buckets", needs{Permission: "write", Resource: "bucket", Namespaced: true}, handle(s.createBucket))
//		s.list("/v1/buckets", needs{Permission: "read", Resource: "bucket", Namespaced: true}, handle(s.listBuckets)) // GET path + POST path/list
//		s.route("GET", "/v1/buckets/{bucket_identifier}", needs{Permission: "read", Resource: "bucket", Namespaced: true}, handle(s.bucket))
//	}
//
//	type createBucketBody struct {
//		Name  string         `json:"bucket_name" validate:"required,min=3,max=100"`
//		Notes Maybe[string]  `json:"description"` // tells absent from null
//	}
//
//	func (s *Server) createBucket(ctx context.Context, r *Request[createBucketBody]) (any, error) {
//		b, err := s.Commands.CreateBucket(ctx, r.In(), commands.CreateBucket{Name: r.Body.Name})
//		if err != nil {
//			return nil, err // *domain.Error → envelope; anything else → 500
//		}
//		return bucketWire(b), nil // 200 with this JSON
//	}
//
// The body type decides how the body is read: a struct is decoded member by
// member (exact names, no case folding; unknown members are in r.Unknown and,
// with their JSON, in r.Members; an empty body is an empty object), None is not
// read, Raw is given as bytes. Errors of shape and of validate tags are
// answered before the handler runs. A handler returns any value (200 with that
// JSON), a *Response (another status, headers, bytes, a stream) or an error.
// An answer type that embeds Warned gets warnings about unknown members.
// Path parameters: r.Path(name); query: r.Query, r.QueryBool, r.QueryInt; lists: r.Page().

// needs is what a route asks of its caller. Permission and Resource are required.
type needs struct {
	Permission string // public (no key), any (any valid key), read, write, delete, admin
	Resource   string // of the reference's scopes: bucket, collection, …; "service" where it is none
	Operation  string // of the reference's scope operations, where it is not what follows from permission and resource
	Namespaced bool   // a namespace must be named
	Filters    bool   // a key whose scopes name some resources may ask too: the handler leaves out what Call.Covers denies
	Narrows    bool   // a namespace may be named and then narrows; an unknown one gives r.Unresolved, not an error
	Class      string // rate-limit class: metadata (the default), data, search, upload, compute; "none" for probes
}

// endpoint is a handler behind its decoding.
type endpoint func(ctx context.Context, c *Call) (any, error)

// handle makes an endpoint of a typed handler.
func handle[B any](fn func(context.Context, *Request[B]) (any, error)) endpoint {
	return func(ctx context.Context, c *Call) (any, error) {
		r := &Request[B]{Call: c}
		if err := r.decode(); err != nil {
			return nil, err
		}
		answer, err := fn(ctx, r)
		body := answer
		if wrapped, ok := answer.(*Response); ok && wrapped != nil {
			body = wrapped.Body
		}
		if w, ok := body.(interface{ warn([]string) }); ok && err == nil {
			w.warn(r.Warnings())
		}
		return answer, err
	}
}

// registered is a route of the server.
type registered struct {
	method, path string
	needs        needs
	reference    bool // registered only to answer 501
}

// routeKey names a route without its parameters' names.
func routeKey(method, path string) string {
	return method + " " + parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), "{}")
}

var parameter = regexp.MustCompile(`\{([^}]*)\}`)

var (
	permissions = map[string]bool{"public": true, "any": true, "read": true, "write": true, "delete": true, "admin": true}
	resources   = map[string]bool{
		"service": true, "organization": true, "user": true, "api_key": true, "namespace": true, "collection": true, "document": true, "bucket": true,
		"object": true, "batch": true, "task": true, "retriever": true, "execution": true, "extractor": true, "stage": true, "cluster": true, "taxonomy": true,
		"alert": true, "secret": true, "webhook": true, "event": true, "manifest": true, "audit": true, "feature": true, "lineage": true, "trigger": true, "migration": true, "evaluation": true, "interaction": true,
	}
)

// route registers an operation. The path is written as in the OpenAPI document
// ("/v1/buckets/{bucket_identifier}"); it is served with and without a trailing slash.
func (s *Server) route(method, path string, n needs, serve endpoint) {
	if !permissions[n.Permission] || !resources[n.Resource] {
		panic(fmt.Sprintf("route %s %s states no known permission and resource (%q, %q)", method, path, n.Permission, n.Resource))
	}
	key := routeKey(method, path)
	if before, twice := s.routes[key]; twice {
		panic(fmt.Sprintf("route %s %s is registered twice, before as %s", method, path, before.path))
	}
	s.routes[key] = registered{method: method, path: path, needs: n}
	pattern := parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), ":$1")
	s.echo.Add(method, pattern, func(ec echo.Context) error {
		c, err := s.call(ec, n, method+" "+path)
		if err != nil {
			return err
		}
		answer, err := serve(c.Request.Context(), c)
		if err != nil {
			return behind(c, err)
		}
		return s.answer(c, answer)
	})
}

// behind makes "does not exist" of read models that lag into "not known yet":
// what was acknowledged a moment ago may be among the events that they have not applied.
func behind(c *Call, err error) error {
	lag := c.writer.Header().Get("Varve-Lag")
	if lag == "" || domain.CodeOf(err) != domain.CodeNotFound || c.Query.Has("as_of") {
		return err
	}
	return &domain.Error{Code: domain.CodeUnavailable, Reason: "read_models_behind", RetryAfter: 1, Err: err,
		Message: fmt.Sprintf("the read models are %s events behind, and as far as they are: %s; try again", lag, err)}
}

// list registers the two spellings of a listing: GET path and POST path/list.
func (s *Server) list(path string, n needs, serve endpoint) {
	s.route("GET", path, n, serve)
	s.route("POST", path+"/list", n, serve)
}

// newEcho makes the router. Nothing of Echo is visible outside this file.
func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, ec echo.Context) {
		var status *echo.HTTPError
		errors.As(err, &status)
		switch {
		case status != nil && status.Code == 404:
			err = &domain.Error{Code: domain.CodeNotFound, Reason: "no_such_operation", Message: fmt.Sprintf("there is no operation %s %s; the operations are listed at /openapi.json", ec.Request().Method, ec.Request().URL.Path)}
		case status != nil && status.Code == 405:
			s.writeStatus(ec.Response(), ec.Request(), 405, envelopeError{Type: "MethodNotAllowedError", Code: "method_not_allowed", Message: fmt.Sprintf("%s is not served with %s; see /openapi.json", ec.Request().URL.Path, ec.Request().Method)})
			return
		}
		s.writeError(ec.Response(), ec.Request(), err)
	}
	return e
}

// serve surrounds every request.
func (s *Server) serve(w nethttp.ResponseWriter, req *nethttp.Request) {
	id := req.Header.Get("X-Request-Id")
	if !requestID.MatchString(id) {
		id = newRequestID()
	}
	begun, tr, watched := s.Now(), &trail{id: id}, &watchedWriter{ResponseWriter: w}
	ctx, endSpan := s.trace(context.WithValue(req.Context(), trailKey{}, tr), req, tr, watched)
	defer endSpan()
	req = req.WithContext(ctx)
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if req.Body != nil && req.Body != nethttp.NoBody { // until its caller is known, a body may not hold the connection for long
		_ = nethttp.NewResponseController(w).SetReadDeadline(time.Now().Add(min(s.Limits.BodyTime, 10*time.Second)))
	}
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, nethttp.ErrAbortHandler) {
				panic(p)
			}
			s.Log.Error("panic in a request", slog.String("request_id", id), slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			if !watched.begun {
				s.writeError(watched, req, &domain.Error{Code: domain.CodeInternal, Message: internalMessage})
			}
		}
		took := s.Now().Sub(begun)
		s.logRequest(req, tr, watched, took)
		if s.Observe != nil {
			s.Observe(Observation{Operation: tr.operation, Method: methodOf(req), Organization: tr.organization, Status: watched.status, Duration: took, Received: tr.received, Sent: watched.bytes})
		}
	}()
	if origin := req.Header.Get("Origin"); origin != "" {
		h := watched.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Window, Retry-After, ETag, X-Namespace-Unresolved, Varve-Position, Varve-Lag")
		if req.Method == "OPTIONS" && req.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Namespace, X-Change-Reason, X-Request-Id, Idempotency-Key, If-Match, Varve-Consistency, Varve-Min-Position")
			h.Set("Access-Control-Max-Age", "600")
			watched.WriteHeader(204)
			return
		}
	}
	trimSlash(req)
	if path := req.URL.Path; s.HealthOnly && path != "/v1/health" && !strings.HasPrefix(path, "/v1/health/") {
		s.writeError(watched, req, domain.Errorf(domain.CodeNotFound, "this process does not serve the API: ask one that runs with the role api"))
		return
	}
	s.echo.ServeHTTP(watched, req)
}

// trimSlash makes "/v1/x/" the same as "/v1/x", without a redirect. An encoded
// slash at the end (%2F) is part of an identifier and stays.
func trimSlash(req *nethttp.Request) {
	u := *req.URL
	if u.RawPath != "" {
		raw := strings.TrimRight(u.RawPath, "/")
		u.Path = u.Path[:len(u.Path)-(len(u.RawPath)-len(raw))]
		u.RawPath = raw
	} else {
		u.Path = strings.TrimRight(u.Path, "/")
	}
	if u.Path == "" {
		u.Path, u.RawPath = "/", ""
	}
	req.URL = &u
}

type trailKey struct{}

// trail is what a request leaves behind on its way through the layers.
type trail struct {
	id, operation, organization, key string
	received                         int64 // bytes of the body
}

// logRequest writes a line about a request, for debugging: never a header, a
// query or a body, which may hold secrets.
func (s *Server) logRequest(req *nethttp.Request, tr *trail, w *watchedWriter, took time.Duration) {
	ctx := req.Context()
	if !s.Log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("request_id", tr.id), slog.String("method", req.Method), slog.String("path", req.URL.Path), slog.String("operation", tr.operation),
		slog.Int("status", w.status), slog.Duration("took", took), slog.Int64("received", tr.received), slog.Int64("sent", w.bytes), slog.String("key", tr.key), traceID(ctx)}
	s.Log.LogAttrs(ctx, slog.LevelDebug, "request", attrs...)
}

func trailOf(req *nethttp.Request) *trail {
	if t, ok := req.Context().Value(trailKey{}).(*trail); ok {
		return t
	}
	return &trail{}
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

func newRequestID() string {
	var b [12]byte
	rand.Read(b[:])
	return "req_" + hex.EncodeToString(b[:])
}

// watchedWriter remembers whether an answer has begun.
type watchedWriter struct {
	nethttp.ResponseWriter
	begun  bool
	status int
	bytes  int64 // of the body
}

// WriteHeader begins the answer.
func (w *watchedWriter) WriteHeader(status int) {
	if !w.begun {
		w.status = status
	}
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the answer where it has not begun.
func (w *watchedWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun, w.status = true, 200
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watchedWriter) Unwrap() nethttp.ResponseWriter { return w.ResponseWriter }

// Flush sends what was written so far.
func (w *watchedWriter) Flush() { _ = nethttp.NewResponseController(w.ResponseWriter).Flush() }

// answer writes what a handler returned.
func (s *Server) answer(c *Call, v any) error {
	r, ok := v.(*Response)
	if !ok {
		r = &Response{Body: v}
	}
	h := c.writer.Header()
	for name, values := range r.Header {
		h[nethttp.CanonicalHeaderKey(name)] = values
	}
	status := r.Status
	if status == 0 {
		status = 200
	}
	switch {
	case r.Stream != nil:
		h.Set("Content-Type", r.contentType("text/event-stream"))
		c.writer.WriteHeader(status)
		flush := nethttp.NewResponseController(c.writer)
		if err := r.Stream(c.writer, func() { _ = flush.Flush() }); err != nil {
			s.Log.Warn("stream ended early", slog.String("request_id", c.RequestID), slog.Any("error", err))
		}
		return nil
	case status == 204 || status == 304:
		c.writer.WriteHeader(status)
		return nil
	}
	b, isBytes := r.Body.([]byte)
	if !isBytes {
		var err error
		if b, err = encodeJSON(r.Body); err != nil {
			return fmt.Errorf("encode answer of %s: %w", c.Operation, err)
		}
	}
	h.Set("Content-Type", r.contentType("application/json"))
	c.writer.WriteHeader(status)
	_, err := c.writer.Write(b)
	if err != nil {
		s.Log.Debug("client went away", slog.String("request_id", c.RequestID), slog.Any("error", err))
	}
	return nil
}

func encodeJSON(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
