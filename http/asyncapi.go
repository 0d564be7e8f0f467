package http

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"varve/domain"
	"varve/http/asyncapi"
)

var _ = noun("asyncapi", (*Server).eventDocumentRoutes)

func (s *Server) eventDocumentRoutes() {
	public := needs{Permission: "public", Resource: "service", Class: "none"}
	made := sync.OnceValues(func() ([]byte, error) {
		options := s.Events
		options.Version = cmp.Or(options.Version, s.Version)
		return asyncapi.Document(options)
	})
	s.route("GET", "/asyncapi.json", public, handle(func(context.Context, *Request[None]) (any, error) {
		doc, err := made()
		if err != nil {
			return nil, fmt.Errorf("write the AsyncAPI document: %w", err)
		}
		return &Response{Body: doc}, nil
	}))
	s.route("GET", "/asyncapi/schemas/{event_type}", public, handle(eventSchema))
}

// eventSchema gives one event type's JSON Schema, whole in itself.
func eventSchema(_ context.Context, r *Request[None]) (any, error) {
	schema, ok := asyncapi.Schema(r.Path("event_type"))
	if !ok {
		return nil, domain.NotFound("event type", r.Path("event_type"))
	}
	return &Response{Body: schema, ContentType: "application/schema+json"}, nil
}
