package commands

import (
	"context"
	"time"

	"varve/domain"
)

// CreateKey makes an API key for a user.
type CreateKey struct {
	Email             string
	Name, Description string
	Permissions       []string // none: read, write, delete
	Scopes            []domain.ResourceScope
	RateLimitOverride int
	ExpiresAt         *time.Time
	PrincipalID       string
	AllowedOrigins    []string
}

// CreatedKey is a key with its secret, which is not shown again: under a
// repeated idempotency key, Secret is empty.
type CreatedKey struct {
	domain.APIKey
	Secret string
}

// CreateKey refuses a name that another of the user's keys has.
func (h *Handler) CreateKey(ctx context.Context, in In, cmd CreateKey) (CreatedKey, error) {
	secret, prefix, hash, err := h.Keys.Mint()
	if err != nil {
		return CreatedKey{}, err
	}
	return h.saveKey(ctx, in, secret, func(o domain.Organization) (domain.APIKey, error) {
		u, ok := o.Users[cmd.Email]
		if !ok {
			return domain.APIKey{}, domain.NotFound("user", cmd.Email)
		}
		if err := nameIsFree(o, u.UserID, cmd.Name); err != nil {
			return domain.APIKey{}, err
		}
		permissions := cmd.Permissions
		if len(permissions) == 0 {
			permissions = []string{"read", "write", "delete"}
		}
		return domain.APIKey{KeyID: h.newID(in, domain.KeyPrefix), UserID: u.UserID, Name: cmd.Name, Description: cmd.Description,
			Prefix: prefix, Hash: hash, Permissions: permissions, Scopes: cmd.Scopes, RateLimitOverride: cmd.RateLimitOverride,
			ExpiresAt: cmd.ExpiresAt, PrincipalID: cmd.PrincipalID, AllowedOrigins: cmd.AllowedOrigins, CreatedBy: in.Actor}, nil
	})
}

// UpdateKey changes what is not nil.
type UpdateKey struct {
	Email, Key        string // which: a key's name or id
	Name, Description *string
	Permissions       []string
	Scopes            []domain.ResourceScope
	RateLimitOverride *int
	ExpiresAt         *time.Time
	AllowedOrigins    []string
}

// UpdateKey gives the key as it is afterwards. The protected key is refused.
func (h *Handler) UpdateKey(ctx context.Context, in In, cmd UpdateKey) (domain.APIKey, error) {
	k, err := h.saveKey(ctx, in, "", func(o domain.Organization) (domain.APIKey, error) {
		k, err := ownKey(o, cmd.Email, cmd.Key, "changed")
		if err != nil {
			return k, err
		}
		if cmd.Name != nil && *cmd.Name != k.Name {
			if err := nameIsFree(o, k.UserID, *cmd.Name); err != nil {
				return k, err
			}
		}
		set(&k.Name, cmd.Name)
		set(&k.Description, cmd.Description)
		set(&k.RateLimitOverride, cmd.RateLimitOverride)
		if cmd.Permissions != nil {
			k.Permissions = cmd.Permissions
		}
		if cmd.Scopes != nil {
			k.Scopes = cmd.Scopes
		}
		if cmd.ExpiresAt != nil {
			k.ExpiresAt = cmd.ExpiresAt
		}
		if cmd.AllowedOrigins != nil {
			k.AllowedOrigins = cmd.AllowedOrigins
		}
		return k, nil
	})
	return k.APIKey, err
}

// RotateKey gives a key another secret. The old one is good until overlap has passed.
func (h *Handler) RotateKey(ctx context.Context, in In, email, key string, overlap time.Duration) (CreatedKey, error) {
	secret, prefix, hash, err := h.Keys.Mint()
	if err != nil {
		return CreatedKey{}, err
	}
	return h.saveKey(ctx, in, secret, func(o domain.Organization) (domain.APIKey, error) {
		k, err := ownKey(o, email, key, "rotated")
		if err != nil {
			return k, err
		}
		k.PreviousHash, k.PreviousPrefix, k.PreviousUntil = "", "", nil
		if overlap > 0 {
			until := h.Now().Add(overlap).UTC()
			k.PreviousHash, k.PreviousPrefix, k.PreviousUntil = k.Hash, k.Prefix, &until
		}
		k.Prefix, k.Hash = prefix, hash
		return k, nil
	})
}

// RevokeKey ends a key at once.
func (h *Handler) RevokeKey(ctx context.Context, in In, email, key string) error {
	_, err := h.organize(ctx, in, func(o domain.Organization) ([]domain.EventData, error) {
		k, err := ownKey(o, email, key, "deleted")
		if err != nil {
			return nil, err
		}
		return []domain.EventData{&domain.APIKeyRevoked{KeyID: k.KeyID}}, nil
	})
	return err
}

func nameIsFree(o domain.Organization, userID, name string) error {
	if _, used := o.KeyByName(userID, name); used {
		return &domain.Error{Code: domain.CodeConflict, Reason: "api_key_name_taken", Message: "the user has a key named " + name}
	}
	return nil
}

func ownKey(o domain.Organization, email, name, verb string) (domain.APIKey, error) {
	u, ok := o.Users[email]
	if !ok {
		return domain.APIKey{}, domain.NotFound("user", email)
	}
	k, ok := o.KeyByName(u.UserID, name)
	if !ok {
		return k, domain.NotFound("API key", name)
	}
	if k.Protected {
		return k, domain.Errorf(domain.CodeForbidden, "the key %s is protected and cannot be %s", k.Name, verb)
	}
	return k, nil
}

func (h *Handler) saveKey(ctx context.Context, in In, secret string, decide func(domain.Organization) (domain.APIKey, error)) (CreatedKey, error) {
	var decided string
	records, err := h.organize(ctx, in, func(o domain.Organization) ([]domain.EventData, error) {
		k, err := decide(o)
		if err != nil {
			return nil, err
		}
		if err := k.Check(); err != nil {
			return nil, err
		}
		decided = k.Hash
		return []domain.EventData{&domain.APIKeySaved{APIKey: k}}, nil
	})
	if err != nil {
		return CreatedKey{}, err
	}
	saved, _, err := last[*domain.APIKeySaved](records)
	if err != nil {
		return CreatedKey{}, err
	}
	if saved.Hash != decided {
		secret = "" // a repeated command: the first answer had the secret
	}
	o, _, err := h.Organizations.Head(ctx, in.Organization)
	return CreatedKey{APIKey: o.Keys[saved.KeyID], Secret: secret}, err
}
