package domain

import (
	"encoding/json"
	"time"
)

// User is a person of an organization.
type User struct {
	UserID    string          `json:"user_id"`
	Email     string          `json:"email"`
	UserName  string          `json:"user_name"`
	AvatarURL string          `json:"avatar_url,omitempty"`
	Role      string          `json:"role"`   // admin, member, viewer
	Status    string          `json:"status"` // active, suspended, pending
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	CreatedAt time.Time       `json:"-"`
	UpdatedAt time.Time       `json:"-"`
}

func (u User) stamped(before User, at Stamp) User {
	u.CreatedAt, u.UpdatedAt = before.CreatedAt, at.Time
	if u.CreatedAt.IsZero() {
		u.CreatedAt = at.Time
	}
	return u
}

// APIKey is a key without its secret: the log keeps a keyed hash.
type APIKey struct {
	KeyID             string          `json:"key_id"`
	UserID            string          `json:"user_id"`
	Name              string          `json:"name"`
	Description       string          `json:"description,omitempty"`
	Prefix            string          `json:"key_prefix"`                  // public part, finds the key
	Hash              string          `json:"key_hash"`                    // hex HMAC-SHA256 of the whole key under the server's pepper
	PreviousHash      string          `json:"previous_key_hash,omitempty"` // rotation with overlap
	PreviousPrefix    string          `json:"previous_key_prefix,omitempty"`
	PreviousUntil     *time.Time      `json:"previous_until,omitempty"`
	Permissions       []string        `json:"permissions"` // read, write, delete, admin
	Scopes            []ResourceScope `json:"scopes,omitempty"`
	RateLimitOverride int             `json:"rate_limit_override,omitempty"`
	ExpiresAt         *time.Time      `json:"expires_at,omitempty"`
	PrincipalID       string          `json:"principal_id,omitempty"`
	AllowedOrigins    []string        `json:"allowed_origins,omitempty"`
	Protected         bool            `json:"protected,omitempty"` // admin-key: cannot be changed, deleted or rotated
	CreatedBy         string          `json:"created_by,omitempty"`
	CreatedAt         time.Time       `json:"-"`
	RevokedAt         time.Time       `json:"-"`
	RevokedBy         string          `json:"-"`
}

// ResourceScope narrows a key to resources; a key without scopes is not narrowed.
type ResourceScope struct {
	ResourceType string   `json:"resource_type"`
	ResourceID   string   `json:"resource_id"` // literal, "*", or a prefix that ends in "*"
	Operations   []string `json:"operations,omitempty"`
}

func (k APIKey) stamped(before APIKey, at Stamp) APIKey {
	k.CreatedAt = before.CreatedAt
	if k.CreatedAt.IsZero() {
		k.CreatedAt = at.Time
	}
	return k
}

// Status is active, revoked or expired at a time.
func (k APIKey) Status(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case k.ExpiresAt != nil && !now.Before(*k.ExpiresAt):
		return "expired"
	}
	return "active"
}

// Events about users and keys, in the organization's stream.
type (
	// UserSaved holds a user as it is from now on.
	UserSaved struct{ User }
	// UserDeleted ends a user; its keys are revoked in the same append.
	UserDeleted struct {
		UserID string `json:"user_id"`
		Email  string `json:"email"`
	}
	// APIKeySaved holds a key as it is from now on (created, changed, rotated).
	APIKeySaved struct{ APIKey }
	// APIKeyRevoked ends a key at once and for good.
	APIKeyRevoked struct {
		KeyID string `json:"key_id"`
	}
)

// EventType is user.saved.
func (*UserSaved) EventType() string { return "user.saved" }

// EventType is user.deleted.
func (*UserDeleted) EventType() string { return "user.deleted" }

// EventType is api_key.saved.
func (*APIKeySaved) EventType() string { return "api_key.saved" }

// EventType is api_key.revoked.
func (*APIKeyRevoked) EventType() string { return "api_key.revoked" }

var (
	_ = register[UserSaved]()
	_ = register[UserDeleted]()
	_ = register[APIKeySaved]()
	_ = register[APIKeyRevoked]()
)
