package domain

import "encoding/json"

// Retriever is a list of stages with the collections they search and the
// inputs they take. Stages are kept normalised; projections/retrieve gives them
// their meaning and checks them before a retriever is saved.
type Retriever struct {
	RetrieverID   string          `json:"retriever_id"`
	Name          string          `json:"retriever_name"`
	Description   string          `json:"description,omitempty"`
	CollectionIDs []string        `json:"collection_ids"`
	Stages        []Stage         `json:"stages"`
	InputSchema   json.RawMessage `json:"input_schema,omitempty"` // map name → field, as in the reference
	BudgetLimits  json.RawMessage `json:"budget_limits,omitempty"`
	Tags          []string        `json:"tags,omitempty"`
	Metadata      json.RawMessage `json:"metadata,omitempty"`
	DisplayConfig json.RawMessage `json:"display_config,omitempty"`
	Visibility    string          `json:"visibility,omitempty"`
	Created       Stamp           `json:"-"`
	Updated       Stamp           `json:"-"`
	Version       uint64          `json:"-"` // counts saves, from 1
}

// Stage is one step of a retriever, normalised to the reference's canonical form.
type Stage struct {
	Name        string          `json:"stage_name"` // unique in the retriever
	Type        string          `json:"stage_type"` // filter, sort, reduce, apply, enrich
	ID          string          `json:"stage_id"`   // feature_search, attribute_filter, …
	Parameters  json.RawMessage `json:"parameters"`
	PreFilters  json.RawMessage `json:"pre_filters,omitempty"`
	PostFilters json.RawMessage `json:"post_filters,omitempty"`
	BatchSize   string          `json:"batch_size,omitempty"`
	Description string          `json:"description,omitempty"`
	OnError     string          `json:"on_error,omitempty"` // "", "error" or "skip"
	OutputAlias string          `json:"output_alias,omitempty"`
}

// Events about retrievers, in the configuration stream.
type (
	// RetrieverSaved holds a retriever as it is from now on.
	RetrieverSaved struct{ Retriever }
	// RetrieverDeleted ends a retriever; its executions stay.
	RetrieverDeleted struct {
		RetrieverID string `json:"retriever_id"`
	}
)

// EventType is retriever.saved.
func (*RetrieverSaved) EventType() string { return "retriever.saved" }

// EventType is retriever.deleted.
func (*RetrieverDeleted) EventType() string { return "retriever.deleted" }

var (
	_ = register[RetrieverSaved]()
	_ = register[RetrieverDeleted]()
)

// SaveRetriever decides a retriever's creation or change. Collections are named
// by id or name and become ids. What stages mean is checked by projections/retrieve.
func (c Config) SaveRetriever(r Retriever) (*RetrieverSaved, error) {
	if err := CheckName("retriever_name", r.Name, 1, 100); err != nil {
		return nil, err
	}
	if other, ok := c.Retriever(r.Name); ok && other.RetrieverID != r.RetrieverID {
		return nil, &Error{Code: CodeConflict, Reason: "retriever_name_taken", Message: "a retriever named " + r.Name + " exists in this namespace"}
	}
	if len(r.Stages) == 0 {
		return nil, Invalid("stages", "length", "a retriever has at least one stage")
	}
	ids, err := c.ResolveCollections("collection_identifiers", r.CollectionIDs)
	if err != nil {
		return nil, err
	}
	r.CollectionIDs = ids
	return &RetrieverSaved{Retriever: r}, nil
}

// DeleteRetriever decides a retriever's deletion.
func (c Config) DeleteRetriever(identifier string) (*RetrieverDeleted, error) {
	r, ok := c.Retriever(identifier)
	if !ok {
		return nil, NotFound("retriever", identifier)
	}
	return &RetrieverDeleted{RetrieverID: r.RetrieverID}, nil
}
