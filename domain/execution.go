package domain

import "encoding/json"

// ExecutionRecorded is the header of an execution record, the one event of the
// second store. The stages' sets of documents are in its attachment "trace"
// (projections/retrieve/trace.go has the format). What is external to the code
// (query embeddings are not: the embedder is code, pinned by version) is in Effects.
type ExecutionRecorded struct {
	ExecutionID      string            `json:"execution_id"`
	TraceID          string            `json:"trace_id"`
	Mode             string            `json:"mode"` // retriever, adhoc
	RetrieverID      string            `json:"retriever_id,omitempty"`
	RetrieverName    string            `json:"retriever_name,omitempty"`
	RetrieverVersion uint64            `json:"retriever_version,omitempty"`
	Config           json.RawMessage   `json:"config"` // effective: collections, stages, input schema
	ConfigDigest     string            `json:"config_digest"`
	Code             map[string]string `json:"code"` // versions of tokenizer, embedder, scorers, stages, varve
	Principal        string            `json:"principal,omitempty"`
	KeyID            string            `json:"key_id,omitempty"`
	Position         uint64            `json:"position"` // of the namespace's log: the one pin of the request
	PolicyPosition   uint64            `json:"policy_position"`
	Inputs           json.RawMessage   `json:"inputs,omitempty"`
	Filters          json.RawMessage   `json:"filters,omitempty"`
	Pagination       json.RawMessage   `json:"pagination,omitempty"`
	Status           string            `json:"status"` // completed, failed, degraded
	Error            string            `json:"error,omitempty"`
	Stages           []StageRecord     `json:"stages"`
	Results          []ResultRecord    `json:"results"` // as answered, in rank order
	ResultHash       string            `json:"result_hash"`
	Total            int               `json:"total"` // results before paging
	DurationMicros   int64             `json:"duration_us"`
	Warnings         []string          `json:"warnings,omitempty"`
	Effects          []EffectRecord    `json:"effects,omitempty"`
}

// StageRecord is what the header says of one stage.
type StageRecord struct {
	Name           string          `json:"name"`
	ID             string          `json:"id"`
	Type           string          `json:"type"`
	Parameters     json.RawMessage `json:"parameters"` // after templating
	Plan           string          `json:"plan"`       // exact, index, scan, …
	Input          int             `json:"input"`
	Output         int             `json:"output"`
	Dropped        int             `json:"dropped"`
	Passed         []FilterPassed  `json:"passed,omitempty"` // per filter how many passed
	Cutoff         *float32        `json:"cutoff,omitempty"` // score below which an index handed nothing over
	Unseen         int             `json:"unseen,omitempty"` // documents that the index never handed over
	FeatureURIs    []string        `json:"feature_uris,omitempty"`
	Collections    []string        `json:"collections,omitempty"`
	Segments       []string        `json:"segments,omitempty"` // by digest
	DurationMicros int64           `json:"duration_us"`
	Error          string          `json:"error,omitempty"`
}

// FilterPassed counts what one condition let through.
type FilterPassed struct {
	Filter string `json:"filter"`
	Passed int    `json:"passed"`
	Of     int    `json:"of"`
}

// ResultRecord is one document of an answer.
type ResultRecord struct {
	ID           string  `json:"id"`
	CollectionID string  `json:"collection_id"`
	Position     uint64  `json:"position"` // of the document version
	Score        float32 `json:"score"`
	Rank         int     `json:"rank"` // from 1
}

// EffectRecord is a reply from outside the code, kept once by content hash.
type EffectRecord struct {
	Kind     string `json:"kind"` // embed, rerank, llm, candidates, clock, random
	Request  string `json:"request_hash"`
	Response string `json:"response_digest"`
}

// EventType is execution.recorded.
func (*ExecutionRecorded) EventType() string { return "execution.recorded" }

var _ = register[ExecutionRecorded]()
