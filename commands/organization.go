package commands

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// CreateOrganization makes an organization, its first user and that user's
// protected key.
type CreateOrganization struct {
	Name  string
	Email string
	User  string // full name; empty: the part of the address before @
}

// CreatedOrganization is what CreateOrganization gives. APIKey is shown once.
type CreatedOrganization struct {
	Organization domain.Organization
	User         domain.User
	APIKey       string
}

// AdminKeyName is the name of the first key, which cannot be changed, deleted or rotated.
const AdminKeyName = "admin-key"

// CreateOrganization opens an organization's log. in needs only Shard, Origin and Actor.
func (h *Handler) CreateOrganization(ctx context.Context, in In, cmd CreateOrganization) (CreatedOrganization, error) {
	var out CreatedOrganization
	if err := domain.CheckName("organization_name", cmd.Name, 1, 100); err != nil {
		return out, err
	}
	if err := domain.CheckEmail("email", cmd.Email); err != nil {
		return out, err
	}
	if cmd.User == "" {
		cmd.User, _, _ = strings.Cut(cmd.Email, "@")
	}
	id := domain.NewID(domain.OrganizationPrefix, h.Entropy())
	log := eventstore.LogID("o-" + strings.TrimPrefix(id, domain.OrganizationPrefix))
	user := domain.User{UserID: domain.NewID(domain.UserPrefix, h.Entropy()), Email: cmd.Email, UserName: cmd.User, Role: "admin", Status: "active"}
	key, prefix, hash, err := h.Keys.Mint()
	if err != nil {
		return out, err
	}
	in.Organization, in.OrganizationID, in.Actor = log, id, user.UserID
	admin := domain.APIKey{KeyID: domain.NewID(domain.KeyPrefix, h.Entropy()), UserID: user.UserID, Name: AdminKeyName,
		Prefix: prefix, Hash: hash, Permissions: []string{"read", "write", "delete", "admin"}, Protected: true, CreatedBy: user.UserID}
	_, err = h.organize(ctx, in, func(domain.Organization) ([]domain.EventData, error) {
		return []domain.EventData{
			&domain.OrganizationCreated{OrganizationID: id, TenantID: domain.NewID(domain.TenantPrefix, h.Entropy()), Name: cmd.Name, AccountType: "enterprise"},
			&domain.UserSaved{User: user}, &domain.APIKeySaved{APIKey: admin},
		}, nil
	})
	if err != nil {
		return out, err
	}
	out.Organization, _, err = h.Organizations.Head(ctx, log)
	out.User, out.APIKey = out.Organization.Users[cmd.Email], key
	return out, err
}

// UpdateOrganization changes what is not nil. RateLimits are merged by class,
// metadata and credentials are replaced.
type UpdateOrganization struct {
	Name, LogoURL, BillingEmail, NotificationsEmail *string
	Metadata                                        []byte // JSON object
	RateLimits                                      map[string]int
	DefaultLLMCredentials                           map[string]string
}

// UpdateOrganization gives the organization as it is afterwards.
func (h *Handler) UpdateOrganization(ctx context.Context, in In, cmd UpdateOrganization) (domain.Organization, error) {
	_, err := h.organize(ctx, in, func(o domain.Organization) ([]domain.EventData, error) {
		s := o.OrganizationSettings
		set(&s.Name, cmd.Name)
		set(&s.LogoURL, cmd.LogoURL)
		set(&s.BillingEmail, cmd.BillingEmail)
		set(&s.NotificationsEmail, cmd.NotificationsEmail)
		if err := domain.CheckName("organization_name", s.Name, 1, 100); err != nil {
			return nil, err
		}
		if cmd.Metadata != nil {
			s.Metadata = cmd.Metadata
		}
		if len(cmd.RateLimits) > 0 {
			merged := map[string]int{}
			for k, v := range s.RateLimits {
				merged[k] = v
			}
			for k, v := range cmd.RateLimits {
				if v < 1 {
					return nil, domain.Invalid("rate_limit_overrides."+k, "range", "%d is not allowed; give at least 1 request a minute", v)
				}
				merged[k] = v
			}
			s.RateLimits = merged
		}
		if cmd.DefaultLLMCredentials != nil {
			s.DefaultLLMCredentials = cmd.DefaultLLMCredentials
		}
		return []domain.EventData{&domain.OrganizationUpdated{OrganizationSettings: s}}, nil
	})
	if err != nil {
		return domain.Organization{}, err
	}
	o, _, err := h.Organizations.Head(ctx, in.Organization)
	return o, err
}

// CreateUser adds a person to the organization.
type CreateUser struct {
	Email, UserName, AvatarURL, Role, Status string
	Metadata                                 []byte
}

// CreateUser refuses an e-mail address that is in use with CodeConflict.
func (h *Handler) CreateUser(ctx context.Context, in In, cmd CreateUser) (domain.User, error) {
	u := domain.User{UserID: h.newID(in, domain.UserPrefix), Email: cmd.Email, UserName: cmd.UserName, AvatarURL: cmd.AvatarURL,
		Role: cmp.Or(cmd.Role, "member"), Status: cmp.Or(cmd.Status, "active"), Metadata: cmd.Metadata}
	return h.saveUser(ctx, in, func(o domain.Organization) (domain.User, error) {
		if _, used := o.Users[u.Email]; used {
			return u, &domain.Error{Code: domain.CodeConflict, Reason: "user_exists", Message: "a user with the e-mail address " + u.Email + " exists"}
		}
		return u, nil
	})
}

// UpdateUser changes what is not nil.
type UpdateUser struct {
	Email                             string // which user
	UserName, AvatarURL, Role, Status *string
	Metadata                          []byte
}

// UpdateUser gives the user as it is afterwards.
func (h *Handler) UpdateUser(ctx context.Context, in In, cmd UpdateUser) (domain.User, error) {
	return h.saveUser(ctx, in, func(o domain.Organization) (domain.User, error) {
		u, ok := o.Users[cmd.Email]
		if !ok {
			return u, domain.NotFound("user", cmd.Email)
		}
		set(&u.UserName, cmd.UserName)
		set(&u.AvatarURL, cmd.AvatarURL)
		set(&u.Role, cmd.Role)
		set(&u.Status, cmd.Status)
		if cmd.Metadata != nil {
			u.Metadata = cmd.Metadata
		}
		return u, nil
	})
}

func (h *Handler) saveUser(ctx context.Context, in In, decide func(domain.Organization) (domain.User, error)) (domain.User, error) {
	records, err := h.organize(ctx, in, func(o domain.Organization) ([]domain.EventData, error) {
		u, err := decide(o)
		if err != nil {
			return nil, err
		}
		if err := u.Check(); err != nil {
			return nil, err
		}
		return []domain.EventData{&domain.UserSaved{User: u}}, nil
	})
	if err != nil {
		return domain.User{}, err
	}
	saved, _, err := last[*domain.UserSaved](records)
	if err != nil {
		return domain.User{}, err
	}
	o, _, err := h.Organizations.Head(ctx, in.Organization)
	return o.Users[saved.Email], err
}

// DeleteUser ends a user and revokes the user's keys in the same append.
func (h *Handler) DeleteUser(ctx context.Context, in In, email string) error {
	_, err := h.organize(ctx, in, func(o domain.Organization) ([]domain.EventData, error) {
		u, ok := o.Users[email]
		if !ok {
			return nil, domain.NotFound("user", email)
		}
		if u.UserID == in.Actor {
			return nil, domain.Errorf(domain.CodeConflict, "user %s cannot delete itself", email)
		}
		events := []domain.EventData{&domain.UserDeleted{UserID: u.UserID, Email: email}}
		for _, id := range slices.Sorted(maps.Keys(o.Keys)) {
			if k := o.Keys[id]; k.UserID == u.UserID && k.RevokedAt.IsZero() {
				events = append(events, &domain.APIKeyRevoked{KeyID: id})
			}
		}
		return events, nil
	})
	return err
}

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
		if _, used := o.KeyByName(u.UserID, cmd.Name); used {
			return domain.APIKey{}, &domain.Error{Code: domain.CodeConflict, Reason: "api_key_name_taken", Message: "the user has a key named " + cmd.Name}
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
			if _, used := o.KeyByName(k.UserID, *cmd.Name); used {
				return k, &domain.Error{Code: domain.CodeConflict, Reason: "api_key_name_taken", Message: "the user has a key named " + *cmd.Name}
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
