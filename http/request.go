package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
)

// None is the body type of operations that read no body.
type None struct{}

// Raw is the body type of operations that read the body themselves.
type Raw []byte

// Caller is who asks. It is the zero Caller on public routes.
type Caller struct {
	Organization domain.Organization // as it was when the request came
	Log          eventstore.LogID    // of the organization
	Shard        int
	Key          domain.APIKey
	User         domain.User
}

// Call is one request behind authentication, as every handler sees it.
type Call struct {
	Caller
	Request        *nethttp.Request
	Operation      string // "POST /v1/buckets"
	RequestID      string
	Namespace      domain.Namespace // zero where none was named
	Unresolved     string           // a named namespace that the caller cannot see, on routes that it only narrows
	Query          url.Values
	Reason         string // X-Change-Reason
	IdempotencyKey string
	IfMatch        *uint64

	params map[string]string
	scopes []domain.ResourceScope // of the key, those that allow the operation
	body   []byte
	writer nethttp.ResponseWriter
	pinned uint64 // position at which a list of configuration is read
}

// Request is a Call with its body decoded.
type Request[B any] struct {
	*Call
	Body    B
	Members map[string]json.RawMessage // top-level members as they came
	Unknown []string                   // paths of members that Body does not have, sorted
}

// Response is an answer that is more than JSON with status 200.
type Response struct {
	Status      int // 0: 200
	Header      nethttp.Header
	ContentType string // "": application/json, text/event-stream for streams
	Body        any    // []byte is written as it is
	// Stream, where set, writes the body piece by piece; flush sends what is there.
	Stream func(w io.Writer, flush func()) error
}

func (r *Response) contentType(otherwise string) string {
	if r.ContentType != "" {
		return r.ContentType
	}
	return otherwise
}

// NoContent is the answer 204.
func NoContent() *Response { return &Response{Status: 204} }

// Warned is embedded by answers that list what was ignored.
type Warned struct {
	Warnings []string `json:"warnings,omitempty"`
}

func (w *Warned) warn(texts []string) { w.Warnings = append(w.Warnings, texts...) }

// call makes the Call of a request: who, in which namespace, with which body.
func (s *Server) call(ec echo.Context, n needs, operation string) (*Call, error) {
	req := ec.Request()
	tr := trailOf(req)
	tr.operation = operation
	query, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, domain.Errorf(domain.CodeBadRequest, "the query string is not valid: %v", err)
	}
	c := &Call{Request: req, Operation: operation, RequestID: tr.id, Query: query, Reason: req.Header.Get("X-Change-Reason"), params: map[string]string{}, writer: ec.Response()}
	for _, name := range ec.ParamNames() {
		v, err := pathValue(ec.Param(name), req.URL.RawPath != "")
		if err != nil {
			return nil, domain.Errorf(domain.CodeBadRequest, "path parameter %s: %v", name, err)
		}
		c.params[name] = v
	}
	if n.Permission != "public" {
		if err := s.authenticate(c); err != nil {
			return nil, err
		}
		tr.organization, tr.key = c.Organization.ID, c.Key.KeyID
		if err := s.limit(c, n); err != nil {
			return nil, err
		}
		if err := s.resolveNamespace(c, n); err != nil {
			return nil, err
		}
		if err := s.authorize(c, n); err != nil {
			return nil, err
		}
	}
	if err := c.conditions(); err != nil {
		return nil, err
	}
	if req.Body != nil && req.Body != nethttp.NoBody {
		if c.body, err = s.readBody(c); err != nil {
			return nil, err
		}
		tr.received = int64(len(c.body))
	}
	return c, nil
}

// pathValue decodes a path parameter. Where the path came with escapes that
// matter (%2F), the router saw it undecoded.
func pathValue(v string, raw bool) (string, error) {
	if raw {
		decoded, err := url.PathUnescape(v)
		if err != nil {
			return "", fmt.Errorf("is not percent-encoded correctly")
		}
		v = decoded
	}
	if len(v) > 1024 {
		return "", fmt.Errorf("is longer than 1,024 bytes")
	}
	return v, nil
}

func (s *Server) readBody(c *Call) ([]byte, error) {
	limit := s.Limits.Body
	tooLarge := &domain.Error{Code: domain.CodeTooLarge, Reason: "body_too_large", Message: fmt.Sprintf("the request body is larger than %d bytes; send less at once", limit), Details: map[string]any{"limits": map[string]any{"body_bytes": limit}}}
	if c.Request.ContentLength > limit {
		return nil, tooLarge
	}
	arrival := nethttp.NewResponseController(c.writer) // a connection that cannot have deadlines goes without
	_ = arrival.SetReadDeadline(time.Now().Add(s.Limits.BodyTime))
	b, err := io.ReadAll(io.LimitReader(c.Request.Body, limit+1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &domain.Error{Code: domain.CodeBadRequest, Reason: "body_too_slow", Message: fmt.Sprintf("the request body did not arrive within %s", s.Limits.BodyTime)}
	}
	if err != nil {
		return nil, domain.Errorf(domain.CodeBadRequest, "the request body ended early: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge
	}
	_ = arrival.SetReadDeadline(time.Time{})
	return b, nil
}

// conditions reads the headers about writing.
func (c *Call) conditions() error {
	if len(c.Reason) > 1000 {
		return domain.Errorf(domain.CodeBadRequest, "header X-Change-Reason is longer than 1,000 bytes")
	}
	if c.writes() {
		c.IdempotencyKey = c.Request.Header.Get("Idempotency-Key")
		if len(c.IdempotencyKey) > 255 {
			return domain.Errorf(domain.CodeBadRequest, "header Idempotency-Key is longer than 255 bytes")
		}
	}
	if tag := c.Request.Header.Get("If-Match"); tag != "" && tag != "*" {
		v, err := strconv.ParseUint(strings.Trim(strings.TrimPrefix(tag, "W/"), `"`), 10, 64)
		if err != nil {
			return domain.Errorf(domain.CodeBadRequest, "header If-Match is %q; send the ETag of the answer that you read, for example \"7\"", tag)
		}
		c.IfMatch = &v
	}
	return nil
}

func (c *Call) writes() bool { return c.Request.Method != "GET" && c.Request.Method != "HEAD" }

// namespaceLog is the log of the request's namespace.
func (c *Call) namespaceLog() eventstore.LogID { return eventstore.LogID(c.Namespace.Log) }

// In gives what a command needs to know of the caller.
func (c *Call) In() commands.In {
	in := commands.In{
		OrganizationID: c.Organization.ID, Organization: c.Log, Log: c.namespaceLog(), Shard: c.Shard,
		Actor: c.User.UserID, Principal: c.Key.PrincipalID, KeyID: c.Key.KeyID, Request: c.RequestID, Origin: "http", Reason: c.Reason,
		IdempotencyKey: c.IdempotencyKey, Operation: c.Operation, IfMatch: c.IfMatch,
	}
	if c.Key.PrincipalID != "" {
		in.Actor = c.Key.PrincipalID
	}
	if in.IdempotencyKey != "" {
		in.Digest = commands.RequestDigest(c.Request.Method, c.Request.URL.RequestURI(), c.body)
	}
	return in
}

// Path gives a path parameter, percent-decoded.
func (c *Call) Path(name string) string {
	v, ok := c.params[name]
	if !ok {
		panic(fmt.Sprintf("%s has no path parameter %s", c.Operation, name))
	}
	return v
}

// QueryBool reads a boolean of the query: true, false, 1, 0; absent is otherwise.
func (c *Call) QueryBool(name string, otherwise bool) (bool, error) {
	v, ok := c.queryOne(name)
	if !ok {
		return otherwise, nil
	}
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, queryError(name, "bool_parsing", "%q is not a boolean; write true or false", v)
}

// QueryInt reads an integer of the query within bounds, both inclusive; absent is otherwise.
func (c *Call) QueryInt(name string, otherwise, lo, hi int) (int, error) {
	v, ok := c.queryOne(name)
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, queryError(name, "int_parsing", "%q is not an integer", v)
	}
	if n < lo || n > hi {
		return 0, queryError(name, "range", "is %d; it must be from %d to %d", n, lo, hi)
	}
	return n, nil
}

// QueryEnum reads a word of the query that must be one of some; absent is "".
func (c *Call) QueryEnum(name string, words ...string) (string, error) {
	v, ok := c.queryOne(name)
	if !ok {
		return "", nil
	}
	for _, w := range words {
		if v == w {
			return v, nil
		}
	}
	return "", queryError(name, "enum", "is %q; it must be one of %s", v, strings.Join(words, ", "))
}

func (c *Call) queryOne(name string) (string, bool) {
	v := c.Query[name]
	if len(v) == 0 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

func queryError(name, kind, format string, args ...any) error {
	return domain.Invalid("query."+name, kind, format, args...)
}

// Extra gives the top-level members that Body does not have.
func (r *Request[B]) Extra() map[string]json.RawMessage {
	extra := map[string]json.RawMessage{}
	for _, name := range r.Unknown {
		if raw, ok := r.Members[name]; ok {
			extra[name] = raw
		}
	}
	return extra
}

// Warnings tells of members that were ignored, one text each.
func (r *Request[B]) Warnings() []string {
	var texts []string
	for _, path := range r.Unknown {
		if path != "note" { // clients that cannot send an empty body send a note
			texts = append(texts, fmt.Sprintf("%s: not known here, ignored", path))
		}
	}
	sort.Strings(texts)
	return texts
}
