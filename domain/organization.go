package domain

import (
	"encoding/json"
	"maps"
	"time"
)

// Events of an organization's log. Users, keys and namespaces are one stream
// with it, so that unique names and references need no machinery of their own.
type (
	// OrganizationCreated opens an organization's log.
	OrganizationCreated struct {
		OrganizationID string `json:"organization_id"`
		TenantID       string `json:"tenant_id"`
		Name           string `json:"organization_name"`
		AccountType    string `json:"account_type"`
	}
	// OrganizationUpdated holds all settings as they are from now on.
	OrganizationUpdated struct {
		OrganizationSettings
	}
)

// EventType is organization.created.
func (*OrganizationCreated) EventType() string { return "organization.created" }

// EventType is organization.updated.
func (*OrganizationUpdated) EventType() string { return "organization.updated" }

var (
	_ = register[OrganizationCreated]()
	_ = register[OrganizationUpdated]()
)

// OrganizationSettings is what PATCH /v1/organizations may change.
type OrganizationSettings struct {
	Name                  string            `json:"organization_name"`
	LogoURL               string            `json:"logo_url,omitempty"`
	BillingEmail          string            `json:"billing_email,omitempty"`
	NotificationsEmail    string            `json:"notifications_email,omitempty"`
	Metadata              json.RawMessage   `json:"metadata,omitempty"`
	RateLimits            map[string]int    `json:"rate_limits,omitempty"` // class → requests a minute; absent: the server's default
	DefaultLLMCredentials map[string]string `json:"default_llm_credentials,omitempty"`
}

// Organization is the fold of an organization's stream. Values are shared
// between readers: Apply never changes its receiver.
type Organization struct {
	OrganizationSettings
	ID          string
	TenantID    string
	AccountType string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     uint64
	Position    uint64
	Users       map[string]User      // by e-mail
	Keys        map[string]APIKey    // by key id, revoked ones included
	Namespaces  map[string]Namespace // by id, deleted ones not included
}

// Apply gives the organization after one more event.
func (o Organization) Apply(e EventData, at Stamp) Organization {
	o.Version, o.Position = at.Version, at.Position
	switch e := e.(type) {
	case *OrganizationCreated:
		o.ID, o.TenantID, o.Name, o.AccountType = e.OrganizationID, e.TenantID, e.Name, e.AccountType
		o.CreatedAt, o.UpdatedAt = at.Time, at.Time
	case *OrganizationUpdated:
		o.OrganizationSettings, o.UpdatedAt = e.OrganizationSettings, at.Time
	case *UserSaved:
		o.Users = with(o.Users, e.Email, e.User.stamped(o.Users[e.Email], at))
	case *UserDeleted:
		o.Users = without(o.Users, e.Email)
	case *APIKeySaved:
		o.Keys = with(o.Keys, e.KeyID, e.APIKey.stamped(o.Keys[e.KeyID], at))
	case *APIKeyRevoked:
		k := o.Keys[e.KeyID]
		k.RevokedAt, k.RevokedBy = at.Time, at.Actor
		o.Keys = with(o.Keys, e.KeyID, k)
	case *NamespaceCreated:
		o.Namespaces = with(o.Namespaces, e.NamespaceID, Namespace{ID: e.NamespaceID, Name: e.Name, Log: e.Log, CreatedAt: at.Time, UpdatedAt: at.Time})
	case *NamespaceRenamed:
		n := o.Namespaces[e.NamespaceID]
		n.Name, n.UpdatedAt = e.Name, at.Time
		o.Namespaces = with(o.Namespaces, e.NamespaceID, n)
	case *NamespaceDeleted:
		o.Namespaces = without(o.Namespaces, e.NamespaceID)
	}
	return o
}

// Namespace finds a namespace by id or, where no id fits, by name.
func (o Organization) Namespace(identifier string) (Namespace, bool) {
	if n, ok := o.Namespaces[identifier]; ok {
		return n, true
	}
	for _, n := range o.Namespaces {
		if n.Name == identifier {
			return n, true
		}
	}
	return Namespace{}, false
}

// KeyByName finds a user's key that was not revoked, by name or id.
func (o Organization) KeyByName(userID, name string) (APIKey, bool) {
	for _, k := range o.Keys {
		if k.UserID == userID && k.RevokedAt.IsZero() && (k.Name == name || k.KeyID == name) {
			return k, true
		}
	}
	return APIKey{}, false
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	c := maps.Clone(m)
	if c == nil {
		c = map[string]V{}
	}
	c[key] = v
	return c
}

func without[V any](m map[string]V, key string) map[string]V {
	c := maps.Clone(m)
	delete(c, key)
	return c
}
