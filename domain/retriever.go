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
