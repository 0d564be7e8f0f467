package http

import (
	"context"
	"fmt"
	"sync"

	"varve/domain"
	"varve/http/openapi"
)

var _ = noun("openapi", (*Server).documentRoutes)

func (s *Server) documentRoutes() {
	n := needs{Permission: "public", Resource: "service", Class: "none"}
	s.route("GET", "/openapi.json", n, handle(s.document))
	s.route("GET", "/docs/openapi.json", n, handle(s.document))
}

// Served says whether an operation has a handler; the others answer 501.
func (s *Server) Served(o openapi.Operation) bool {
	r, ok := s.routes[routeKey(o.Method, o.Path)]
	return ok && !r.reference
}

// document gives the OpenAPI document, made once.
func (s *Server) document(context.Context, *Request[None]) (any, error) {
	doc, err := s.contract()
	return &Response{Body: doc}, err
}

func (s *Server) makeContract() func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) {
		doc, err := openapi.Document(s.Version, s.Served)
		if err != nil {
			return nil, fmt.Errorf("write the OpenAPI document: %w", err)
		}
		return doc, nil
	})
}

// restOfReference registers every operation of the document that has no route:
// it asks for a valid key and answers 501 with its name, never something invented.
func (s *Server) restOfReference() {
	for _, o := range openapi.Operations() {
		key := routeKey(o.Method, o.Path)
		if _, served := s.routes[key]; served {
			continue
		}
		n := needs{Permission: "any", Resource: "service"}
		if o.Public {
			n.Permission = "public"
		}
		s.route(o.Method, o.Path, n, func(context.Context, *Call) (any, error) { return nil, notEnabled(o) })
		r := s.routes[key]
		r.reference = true
		s.routes[key] = r
	}
}

func notEnabled(o openapi.Operation) error {
	return &domain.Error{Code: domain.CodeUnsupported, Reason: "operation_not_enabled",
		Message: fmt.Sprintf("%s (%s %s) is not served by this version of Varve", o.ID, o.Method, o.Path),
		Details: map[string]any{"operation": o.ID}}
}
