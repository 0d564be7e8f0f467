package http

import (
	"context"
	"fmt"
	"sort"
	"time"

	"varve/commands"
	"varve/domain"
)

var _ = noun("api_key", (*Server).keyRoutes)

func (s *Server) keyRoutes() {
	admin := needs{Permission: "admin", Resource: "api_key"}
	s.route("GET", "/v1/organizations/users/{user_email}/api-keys", admin, handle(s.listKeys))
	s.route("POST", "/v1/organizations/users/{user_email}/api-keys", admin, handle(s.createKey))
	s.route("PATCH", "/v1/organizations/users/{user_email}/api-keys/{key_name}", admin, handle(s.updateKey))
	s.route("DELETE", "/v1/organizations/users/{user_email}/api-keys/{key_name}", admin, handle(s.revokeKey))
	s.route("POST", "/v1/organizations/users/{user_email}/api-keys/{key_name}/rotate", admin, handle(s.rotateKey))
}

// keyWire is APIKeyModel. The reference wants key_hash in every answer and
// reads any text; ours never leaves the server.
type keyWire struct {
	KeyID             string      `json:"key_id"`
	KeyHash           string      `json:"key_hash"`
	KeyPrefix         string      `json:"key_prefix"`
	KeyType           string      `json:"key_type"`
	IsInternal        bool        `json:"is_internal"`
	InternalID        string      `json:"internal_id"`
	OrganizationID    string      `json:"organization_id"`
	UserID            string      `json:"user_id"`
	Name              string      `json:"name"`
	Description       string      `json:"description"`
	Permissions       []string    `json:"permissions"`
	Scopes            []scopeWire `json:"scopes"`
	RateLimitOverride *int        `json:"rate_limit_override"`
	Status            string      `json:"status"`
	ExpiresAt         *wireTime   `json:"expires_at"`
	LastUsedAt        *wireTime   `json:"last_used_at"`
	CreatedAt         wireTime    `json:"created_at"`
	CreatedBy         *string     `json:"created_by"`
	RevokedAt         *wireTime   `json:"revoked_at"`
	RevokedBy         *string     `json:"revoked_by"`
	AllowedOrigins    []string    `json:"allowed_origins"`
	PrincipalID       *string     `json:"principal_id"`
}

// secretKeyWire is APIKeyCreateResponse: the one answer that shows a key.
type secretKeyWire struct {
	keyWire
	Key string `json:"key"`
}

type scopeWire struct {
	ResourceType string   `json:"resource_type" validate:"required,oneof=organization user api_key namespace collection document bucket retriever cluster taxonomy storage_connection alert annotation secret webhook"`
	ResourceID   string   `json:"resource_id" validate:"required,min=1,max=100"`
	Operations   []string `json:"operations" validate:"dive,oneof=read_data write_data delete_data execute_retriever create_retriever delete_retriever execute_job cancel_job create_cluster delete_cluster modify_cluster modify_infrastructure manage_permissions"`
}

func keyType(k domain.APIKey) string {
	if k.PrincipalID != "" {
		return "user_scoped"
	}
	return "standard"
}

func keyOut(o domain.Organization, k domain.APIKey, now time.Time) keyWire {
	w := keyWire{
		KeyID: k.KeyID, KeyHash: "not shown", KeyPrefix: k.Prefix, KeyType: keyType(k), InternalID: o.TenantID, OrganizationID: o.ID, UserID: k.UserID,
		Name: k.Name, Description: k.Description, Permissions: orEmpty(k.Permissions), Scopes: []scopeWire{}, Status: k.Status(now), ExpiresAt: timeOrNull(k.ExpiresAt),
		CreatedAt: wireTime(k.CreatedAt), CreatedBy: textOrNull(k.CreatedBy), RevokedAt: timeOrNull(&k.RevokedAt), RevokedBy: textOrNull(k.RevokedBy),
		AllowedOrigins: k.AllowedOrigins, PrincipalID: textOrNull(k.PrincipalID),
	}
	for _, s := range k.Scopes {
		w.Scopes = append(w.Scopes, scopeWire{s.ResourceType, s.ResourceID, orEmpty(s.Operations)})
	}
	if k.RateLimitOverride > 0 {
		w.RateLimitOverride = &k.RateLimitOverride
	}
	return w
}

func scopesIn(wire []scopeWire) []domain.ResourceScope {
	var scopes []domain.ResourceScope
	for _, s := range wire {
		scopes = append(scopes, domain.ResourceScope{ResourceType: s.ResourceType, ResourceID: s.ResourceID, Operations: s.Operations})
	}
	return scopes
}

func (s *Server) listKeys(_ context.Context, r *Request[None]) (any, error) {
	u, err := userOf(r.Call)
	if err != nil {
		return nil, err
	}
	revoked, err := r.QueryBool("include_revoked", false)
	if err != nil {
		return nil, err
	}
	if _, err := r.QueryBool("include_session_keys", false); err != nil {
		return nil, err
	}
	var keys []domain.APIKey
	for _, k := range r.Organization.Keys {
		if k.UserID == u.UserID && (revoked || k.RevokedAt.IsZero()) {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		a, b := keys[i], keys[j]
		return a.CreatedAt.Before(b.CreatedAt) || a.CreatedAt.Equal(b.CreatedAt) && a.KeyID < b.KeyID
	})
	results := []keyWire{}
	for _, k := range keys {
		results = append(results, keyOut(r.Organization, k, s.Now()))
	}
	return map[string]any{"results": results, "total": len(results)}, nil
}

type createKeyBody struct {
	Name              string      `json:"name" validate:"required,min=1,max=100"`
	Description       string      `json:"description" validate:"max=500"`
	Permissions       []string    `json:"permissions" validate:"dive,oneof=read write delete admin"`
	Scopes            []scopeWire `json:"scopes" validate:"dive"`
	RateLimitOverride *int        `json:"rate_limit_override" validate:"omitempty,min=1"`
	ExpiresAt         *time.Time  `json:"expires_at"`
	PrincipalID       string      `json:"principal_id"`
	AllowedOrigins    []string    `json:"allowed_origins"`
}

func (s *Server) createKey(ctx context.Context, r *Request[createKeyBody]) (any, error) {
	b := r.Body
	if b.ExpiresAt != nil && !b.ExpiresAt.After(s.Now()) {
		return nil, domain.Invalid("expires_at", "range", "is in the past")
	}
	cmd := commands.CreateKey{Email: r.Path("user_email"), Name: b.Name, Description: b.Description, Permissions: b.Permissions, Scopes: scopesIn(b.Scopes),
		ExpiresAt: b.ExpiresAt, PrincipalID: b.PrincipalID, AllowedOrigins: b.AllowedOrigins}
	if b.RateLimitOverride != nil {
		cmd.RateLimitOverride = *b.RateLimitOverride
	}
	k, err := s.Commands.CreateKey(ctx, r.In(), cmd)
	if err != nil {
		return nil, err
	}
	return s.minted(ctx, r.Call, k)
}

// minted answers with a new secret, once it can be found by its prefix.
func (s *Server) minted(ctx context.Context, c *Call, k commands.CreatedKey) (any, error) {
	if s.Models != nil {
		if _, err := s.Models.Pin(ctx, c.Log, "directory"); err != nil {
			return nil, fmt.Errorf("wait for the key to be known: %w", err)
		}
	}
	return secretKeyWire{keyOut(c.Organization, k.APIKey, s.Now()), k.Secret}, nil
}

type updateKeyBody struct {
	Name              *string     `json:"name" validate:"omitempty,min=1,max=100"`
	Description       *string     `json:"description" validate:"omitempty,max=500"`
	Permissions       []string    `json:"permissions" validate:"dive,oneof=read write delete admin"`
	Scopes            []scopeWire `json:"scopes" validate:"dive"`
	RateLimitOverride *int        `json:"rate_limit_override" validate:"omitempty,min=1"`
	ExpiresAt         *time.Time  `json:"expires_at"`
	Status            string      `json:"status" validate:"omitempty,oneof=active revoked expired"`
	AllowedOrigins    []string    `json:"allowed_origins"`
}

// updateKey changes a key. Status revoked revokes it, expired ends it now;
// active changes nothing, since nothing brings a revoked key back.
func (s *Server) updateKey(ctx context.Context, r *Request[updateKeyBody]) (any, error) {
	b := r.Body
	email, name := r.Path("user_email"), r.Path("key_name")
	if b.Status == "revoked" {
		u, err := userOf(r.Call)
		if err != nil {
			return nil, err
		}
		k, ok := r.Organization.KeyByName(u.UserID, name)
		if !ok {
			return nil, domain.NotFound("API key", name)
		}
		if err := s.Commands.RevokeKey(ctx, r.In(), email, name); err != nil {
			return nil, err
		}
		org, err := s.organization(ctx, r.Log)
		if err != nil {
			return nil, err
		}
		return keyOut(org, org.Keys[k.KeyID], s.Now()), nil
	}
	cmd := commands.UpdateKey{Email: email, Key: name, Name: b.Name, Description: b.Description, Permissions: b.Permissions, RateLimitOverride: b.RateLimitOverride,
		ExpiresAt: b.ExpiresAt, AllowedOrigins: b.AllowedOrigins}
	if b.Scopes != nil {
		cmd.Scopes = append([]domain.ResourceScope{}, scopesIn(b.Scopes)...)
	}
	if b.Status == "expired" {
		now := s.Now().UTC()
		cmd.ExpiresAt = &now
	}
	k, err := s.Commands.UpdateKey(ctx, r.In(), cmd)
	if err != nil {
		return nil, err
	}
	return keyOut(r.Organization, k, s.Now()), nil
}

func (s *Server) revokeKey(ctx context.Context, r *Request[None]) (any, error) {
	if _, err := r.QueryBool("force", false); err != nil {
		return nil, err
	}
	if err := s.Commands.RevokeKey(ctx, r.In(), r.Path("user_email"), r.Path("key_name")); err != nil {
		return nil, err
	}
	return done{"API key revoked", true}, nil
}

// rotateKey gives a key another secret. ?overlap_seconds= (ours, default 0, at
// most a week) lets the old one work that much longer.
func (s *Server) rotateKey(ctx context.Context, r *Request[None]) (any, error) {
	overlap, err := r.QueryInt("overlap_seconds", 0, 0, 7*24*3600)
	if err != nil {
		return nil, err
	}
	k, err := s.Commands.RotateKey(ctx, r.In(), r.Path("user_email"), r.Path("key_name"), time.Duration(overlap)*time.Second)
	if err != nil {
		return nil, err
	}
	return s.minted(ctx, r.Call, k)
}
