package domain

import (
	"encoding/json"
	"time"
)

// Namespace is what an organization knows of a namespace; its settings are in
// the configuration stream of the namespace's own log.
type Namespace struct {
	ID        string
	Name      string
	Log       string // internal
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Events about namespaces in the organization's stream. Only here do a
// namespace's id and name stand: its own log never holds them.
type (
	// NamespaceCreated names a new log.
	NamespaceCreated struct {
		NamespaceID string `json:"namespace_id"`
		Name        string `json:"namespace_name"`
		Log         string `json:"log"`
	}
	// NamespaceRenamed gives another name.
	NamespaceRenamed struct {
		NamespaceID string `json:"namespace_id"`
		Name        string `json:"namespace_name"`
	}
	// NamespaceDeleted ends it; the namespace's log is closed in the same append.
	NamespaceDeleted struct {
		NamespaceID string `json:"namespace_id"`
	}
	// NamespaceConfigured is in the namespace's own configuration stream and
	// holds all settings as they are from now on. It is the first event of a log.
	NamespaceConfigured struct{ NamespaceSettings }
	// NamespaceClosed is the last event of a namespace's log.
	NamespaceClosed struct{}
)

// NamespaceSettings is a namespace's own configuration.
type NamespaceSettings struct {
	Description       string          `json:"description,omitempty"`
	Mode              string          `json:"mode"` // managed, standalone
	FeatureExtractors []ExtractorRef  `json:"feature_extractors,omitempty"`
	PayloadIndexes    json.RawMessage `json:"payload_indexes,omitempty"` // array as in the reference
	VectorConfigs     json.RawMessage `json:"vector_configs,omitempty"`
	Infrastructure    json.RawMessage `json:"infrastructure,omitempty"`
	AutoCreateIndexes bool            `json:"auto_create_indexes,omitempty"`
	TTLSeconds        int             `json:"ttl_seconds,omitempty"`
}

// ExtractorRef names an extractor and its parameters.
type ExtractorRef struct {
	Name    string          `json:"feature_extractor_name"`
	Version string          `json:"version"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// EventType is namespace.created.
func (*NamespaceCreated) EventType() string { return "namespace.created" }

// EventType is namespace.renamed.
func (*NamespaceRenamed) EventType() string { return "namespace.renamed" }

// EventType is namespace.deleted.
func (*NamespaceDeleted) EventType() string { return "namespace.deleted" }

// EventType is namespace.configured.
func (*NamespaceConfigured) EventType() string { return "namespace.configured" }

// EventType is namespace.closed.
func (*NamespaceClosed) EventType() string { return "namespace.closed" }

var (
	_ = register[NamespaceCreated]()
	_ = register[NamespaceRenamed]()
	_ = register[NamespaceDeleted]()
	_ = register[NamespaceConfigured]()
	_ = register[NamespaceClosed]()
)
