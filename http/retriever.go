package http

import (
	"context"
	"encoding/json"

	"varve/commands"
	"varve/domain"
	"varve/projections/retrieve"
)

var _ = noun("retriever", (*Server).retrieverRoutes)

func (s *Server) retrieverRoutes() {
	read := needs{Permission: "read", Resource: "retriever", Namespaced: true}
	write := needs{Permission: "write", Resource: "retriever", Operation: "create_retriever", Namespaced: true}
	s.route("POST", "/v1/retrievers", write, handle(s.createRetriever))
	s.list("/v1/retrievers", read, handle(s.listRetrievers))
	s.route("GET", "/v1/retrievers/{retriever_id}", read, handle(s.retriever))
	s.route("PATCH", "/v1/retrievers/{retriever_id}", write, handle(s.changeRetriever))
	s.route("DELETE", "/v1/retrievers/{retriever_id}", needs{Permission: "delete", Resource: "retriever", Operation: "delete_retriever", Namespaced: true}, handle(s.deleteRetriever))
	s.route("POST", "/v1/retrievers/{retriever_id}/clone", write, handle(s.cloneRetriever))
}

type retrieverBody struct {
	Name          *string           `json:"retriever_name"`
	Description   *string           `json:"description"`
	Collections   []string          `json:"collection_identifiers"`
	CollectionIDs []string          `json:"collection_ids"`
	Stages        []json.RawMessage `json:"stages"`
	InputSchema   json.RawMessage   `json:"input_schema"`
	BudgetLimits  json.RawMessage   `json:"budget_limits"`
	Tags          []string          `json:"tags"`
	Metadata      json.RawMessage   `json:"metadata"`
	DisplayConfig json.RawMessage   `json:"display_config"`
	Visibility    string            `json:"visibility" validate:"omitempty,oneof=private public marketplace"`
	Fusion        json.RawMessage   `json:"fusion"`
}

func (b retrieverBody) collections() []string {
	if b.Collections != nil {
		return b.Collections
	}
	return b.CollectionIDs
}

// onto lays what was given over a retriever.
func (b retrieverBody) onto(r domain.Retriever) (domain.Retriever, error) {
	if b.Name != nil {
		r.Name = *b.Name
	}
	if b.Description != nil {
		r.Description = *b.Description
	}
	if ids := b.collections(); ids != nil {
		r.CollectionIDs = ids
	}
	if b.Stages != nil {
		stages, err := retrieve.Normalize("stages", b.Stages)
		if err != nil {
			return r, err
		}
		r.Stages = stages
	}
	if given(b.InputSchema) {
		r.InputSchema = b.InputSchema
	}
	if given(b.BudgetLimits) {
		r.BudgetLimits = b.BudgetLimits
	}
	if b.Tags != nil {
		r.Tags = b.Tags
	}
	if given(b.Metadata) {
		r.Metadata = b.Metadata
	}
	if given(b.DisplayConfig) {
		r.DisplayConfig = b.DisplayConfig
	}
	if b.Visibility != "" {
		r.Visibility = b.Visibility
	}
	return r, nil
}

type stageWire struct {
	Name        string          `json:"stage_name"`
	Type        string          `json:"stage_type"`
	Config      stageConfigWire `json:"config"`
	Parameters  json.RawMessage `json:"parameters"`
	BatchSize   *string         `json:"batch_size"`
	Description *string         `json:"description"`
	OnError     *string         `json:"on_error"`
	OutputAlias *string         `json:"output_alias"`
}

type stageConfigWire struct {
	StageID     string          `json:"stage_id"`
	Parameters  json.RawMessage `json:"parameters"`
	PreFilters  json.RawMessage `json:"pre_filters,omitempty"`
	PostFilters json.RawMessage `json:"post_filters,omitempty"`
}

// retrieverWire is RetrieverConfig of the reference. The mirrors
// collection_identifiers and parameters are required by its clients.
type retrieverWire struct {
	RetrieverID  string          `json:"retriever_id"`
	Name         string          `json:"retriever_name"`
	Description  *string         `json:"description"`
	Collections  []string        `json:"collection_ids"`
	Identifiers  []string        `json:"collection_identifiers"`
	Stages       []stageWire     `json:"stages"`
	InputSchema  json.RawMessage `json:"input_schema"`
	BudgetLimits json.RawMessage `json:"budget_limits"`
	Features     []any           `json:"feature_dependencies"`
	Tags         []string        `json:"tags"`
	Metadata     json.RawMessage `json:"metadata"`
	Display      json.RawMessage `json:"display_config,omitempty"`
	Version      uint64          `json:"version"`
	CreatedAt    wireTime        `json:"created_at"`
	UpdatedAt    wireTime        `json:"updated_at"`
	CreatedBy    string          `json:"created_by"`
	UpdatedBy    string          `json:"updated_by"`
	IsPublished  bool            `json:"is_published"`
	Fusion       *string         `json:"fusion"`
	// Retriever repeats the retriever on creation: older clients look for it there.
	Retriever *retrieverWire `json:"retriever,omitempty"`
	Warned
}

func retrieverOut(r domain.Retriever) *retrieverWire {
	w := &retrieverWire{RetrieverID: r.RetrieverID, Name: r.Name, Description: textOrNull(r.Description), Collections: orEmpty(r.CollectionIDs), Identifiers: orEmpty(r.CollectionIDs),
		InputSchema: object(unwrapped(r.InputSchema)), BudgetLimits: orNull(r.BudgetLimits), Features: []any{}, Tags: orEmpty(r.Tags), Metadata: object(r.Metadata), Display: r.DisplayConfig,
		Version: r.Version, CreatedAt: wireTime(r.Created.Time), UpdatedAt: wireTime(r.Updated.Time), CreatedBy: r.Created.Actor, UpdatedBy: r.Updated.Actor}
	for _, st := range r.Stages {
		w.Stages = append(w.Stages, stageWire{Name: st.Name, Type: st.Type, Parameters: object(st.Parameters), BatchSize: textOrNull(st.BatchSize), Description: textOrNull(st.Description),
			OnError: textOrNull(st.OnError), OutputAlias: textOrNull(st.OutputAlias),
			Config: stageConfigWire{StageID: st.ID, Parameters: object(st.Parameters), PreFilters: st.PreFilters, PostFilters: st.PostFilters}})
	}
	return w
}

// unwrapped takes an input schema out of {"properties": {…}}: the reference
// answers a map of fields.
func unwrapped(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	schema, err := domain.ParseInputSchema("input_schema", raw)
	if err != nil {
		return raw
	}
	b, err := json.Marshal(schema)
	if err != nil {
		return raw
	}
	return b
}

func (s *Server) createRetriever(ctx context.Context, r *Request[retrieverBody]) (any, error) {
	switch {
	case r.Body.Name == nil:
		return nil, domain.Invalid("retriever_name", "missing", "a retriever needs a name")
	case len(r.Body.Stages) == 0:
		return nil, domain.Invalid("stages", "length", "a retriever has at least one stage")
	}
	saved, err := s.Commands.SaveRetriever(ctx, r.In(), commands.SaveRetriever{Change: r.Body.onto})
	if err != nil {
		return nil, err
	}
	w := retrieverOut(saved)
	w.Retriever = retrieverOut(saved)
	return tagged(w, saved.Updated.Version), nil
}

func (s *Server) retrieverOf(ctx context.Context, c *Call) (domain.Retriever, error) {
	_, cfg, err := s.pin(ctx, c)
	if err != nil {
		return domain.Retriever{}, err
	}
	found, ok := cfg.Retriever(c.Path("retriever_id"))
	if !ok {
		return found, domain.NotFound("retriever", c.Path("retriever_id"))
	}
	return found, nil
}

func (s *Server) retriever(ctx context.Context, r *Request[None]) (any, error) {
	found, err := s.retrieverOf(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return tagged(retrieverOut(found), found.Updated.Version), nil
}

func (s *Server) listRetrievers(ctx context.Context, r *Request[listBody]) (any, error) {
	_, cfg, err := s.pinList(ctx, r)
	if err != nil {
		return nil, err
	}
	answer, all, err := configList(r, cfg.Retrievers, retrieverOut)
	if err != nil {
		return nil, err
	}
	return &retrieverList{answer, len(all)}, nil
}

// retrieverList is ListRetrieversResponse, which counts under a name of its own.
type retrieverList struct {
	*listAnswer[*retrieverWire]
	Total int `json:"total"`
}

// changeRetriever changes what was given. A changed input schema must still
// take the inputs that the old one took; budget_limits do not change.
func (s *Server) changeRetriever(ctx context.Context, r *Request[retrieverBody]) (any, error) {
	saved, err := s.Commands.SaveRetriever(ctx, r.In(), commands.SaveRetriever{Identifier: r.Path("retriever_id"), Change: func(before domain.Retriever) (domain.Retriever, error) {
		if given(r.Body.BudgetLimits) && string(r.Body.BudgetLimits) != string(before.BudgetLimits) {
			return before, domain.Invalid("budget_limits", "immutable", "budget limits of a retriever cannot change; clone it with others")
		}
		after, err := r.Body.onto(before)
		if err != nil || before.InputSchema == nil || after.InputSchema == nil {
			return after, err
		}
		old, err := domain.ParseInputSchema("input_schema", before.InputSchema)
		if err != nil {
			return after, err
		}
		changed, err := domain.ParseInputSchema("input_schema", after.InputSchema)
		if err != nil {
			return after, err
		}
		return after, invalid(domain.BreakingInputChanges(old, changed))
	}})
	if err != nil {
		return nil, err
	}
	return tagged(map[string]any{"retriever": retrieverOut(saved)}, saved.Updated.Version), nil
}

func (s *Server) deleteRetriever(ctx context.Context, r *Request[None]) (any, error) {
	id, err := s.Commands.DeleteRetriever(ctx, r.In(), r.Path("retriever_id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"success": true, "retriever_id": id, "message": "retriever deleted; its executions stay"}, nil
}

func (s *Server) cloneRetriever(ctx context.Context, r *Request[retrieverBody]) (any, error) {
	from, err := s.retrieverOf(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	if r.Body.Name == nil {
		return nil, domain.Invalid("retriever_name", "missing", "a clone needs a name of its own")
	}
	saved, err := s.Commands.SaveRetriever(ctx, r.In(), commands.SaveRetriever{Change: func(made domain.Retriever) (domain.Retriever, error) {
		copied := from
		copied.RetrieverID, copied.Created, copied.Updated, copied.Version = made.RetrieverID, domain.Stamp{}, domain.Stamp{}, 0
		return r.Body.onto(copied)
	}})
	if err != nil {
		return nil, err
	}
	return map[string]any{"retriever": retrieverOut(saved), "source_retriever_id": from.RetrieverID}, nil
}
