package commands

import (
	"context"
	"hash/fnv"
	"maps"
	"strings"

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

// CreateOrganization opens an organization's log, on the shard that its id decides.
// in needs only Origin and Actor.
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
	in.Organization, in.OrganizationID, in.Actor, in.Shard = log, id, user.UserID, shardOf(id, h.Store.Shards())
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

// shardOf spreads organizations over the shards of a store: FNV-1a of the id.
func shardOf(organizationID string, shards int) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(organizationID))
	return int(hash.Sum32() % uint32(shards))
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
			maps.Copy(merged, s.RateLimits)
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
