package http

import (
	"context"

	"varve/projections/retrieve"
)

var _ = noun("stage", (*Server).stageRoutes)

func (s *Server) stageRoutes() {
	read := needs{Permission: "public", Resource: "stage"} // as the reference: the same for everyone
	s.route("GET", "/v1/retrievers/stages", read, handle(s.listStages))
	s.route("GET", "/v1/discovery/stages", read, handle(s.listStages))
	s.route("GET", "/v1/discovery", read, handle(s.discovery))
}

// listStages answers both listings: the longer form holds the shorter.
func (s *Server) listStages(context.Context, *Request[None]) (any, error) {
	return orEmpty(retrieve.StageDefinitions()), nil
}

type discoveryAnswer struct {
	Extractors []extractorInDiscovery     `json:"extractors"`
	Stages     []retrieve.StageDefinition `json:"stages"`
}

func (s *Server) discovery(context.Context, *Request[None]) (any, error) {
	return discoveryAnswer{extractorsInDiscovery(), orEmpty(retrieve.StageDefinitions())}, nil
}
