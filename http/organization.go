package http

import (
	"context"
	"encoding/json"
	"sort"

	"varve/commands"
	"varve/domain"
)

var _ = noun("organization", (*Server).organizationRoutes)

func (s *Server) organizationRoutes() {
	s.route("GET", "/v1/me", needs{Permission: "any", Resource: "organization"}, handle(s.whoAmI))
	s.route("GET", "/v1/organizations", needs{Permission: "read", Resource: "organization"}, handle(s.showOrganization))
	s.route("PATCH", "/v1/organizations", needs{Permission: "admin", Resource: "organization"}, handle(s.updateOrganization))
	s.route("GET", "/v1/organizations/credits", needs{Permission: "read", Resource: "organization"}, handle(s.credits))
}

type meAnswer struct {
	OrganizationID   string         `json:"organization_id"`
	OrganizationName string         `json:"organization_name"`
	AccountType      string         `json:"account_type"`
	UserEmail        string         `json:"user_email"`
	Key              meKey          `json:"key"`
	RateLimits       map[string]int `json:"rate_limits"`
	PrincipalScoped  bool           `json:"principal_scoped"`
}

type meKey struct {
	Name        string    `json:"name"`
	KeyType     string    `json:"key_type"`
	Permissions []string  `json:"permissions"`
	ExpiresAt   *wireTime `json:"expires_at"`
}

func (s *Server) whoAmI(_ context.Context, r *Request[None]) (any, error) {
	return meAnswer{
		OrganizationID: r.Organization.ID, OrganizationName: r.Organization.Name, AccountType: r.Organization.AccountType,
		UserEmail: r.User.Email, RateLimits: s.rateLimits(r.Organization), PrincipalScoped: r.Key.PrincipalID != "",
		Key: meKey{Name: r.Key.Name, KeyType: keyType(r.Key), Permissions: orEmpty(r.Key.Permissions), ExpiresAt: timeOrNull(r.Key.ExpiresAt)},
	}, nil
}

var rateClasses = []string{"metadata", "data", "search", "upload", "compute"}

// rateLimits gives the requests a minute of every class. A class without a
// limit shows the largest number that clients read.
func (s *Server) rateLimits(o domain.Organization) map[string]int {
	limits := map[string]int{}
	for _, class := range rateClasses {
		rate, own := o.RateLimits[class]
		if !own {
			rate = s.Limits.Rate[class]
		}
		switch {
		case rate == 0:
			rate = defaultRate
		case rate < 0:
			rate = 1<<31 - 1
		}
		limits[class] = rate
	}
	return limits
}

type organizationWire struct {
	OrganizationID        string            `json:"organization_id"`
	Name                  string            `json:"organization_name"`
	LogoURL               *string           `json:"logo_url"`
	AccountType           string            `json:"account_type"`
	CreditCount           int               `json:"credit_count"`
	Metadata              json.RawMessage   `json:"metadata"`
	BillingEmail          *string           `json:"billing_email"`
	NotificationsEmail    *string           `json:"notifications_email"`
	RateLimits            map[string]int    `json:"rate_limits"`
	CreatedAt             wireTime          `json:"created_at"`
	UpdatedAt             wireTime          `json:"updated_at"`
	Users                 []userWire        `json:"users"`
	DefaultLLMCredentials map[string]string `json:"default_llm_credentials"`
	RequiresPlan          bool              `json:"requires_plan"`
	IsInternal            bool              `json:"is_internal"`
}

func (s *Server) organizationOut(o domain.Organization) organizationWire {
	w := organizationWire{
		OrganizationID: o.ID, Name: o.Name, LogoURL: textOrNull(o.LogoURL), AccountType: o.AccountType, Metadata: object(o.Metadata),
		BillingEmail: textOrNull(o.BillingEmail), NotificationsEmail: textOrNull(o.NotificationsEmail), RateLimits: s.rateLimits(o),
		CreatedAt: wireTime(o.CreatedAt), UpdatedAt: wireTime(o.UpdatedAt), Users: []userWire{}, DefaultLLMCredentials: o.DefaultLLMCredentials,
	}
	for _, u := range o.Users {
		w.Users = append(w.Users, userOut(o, u))
	}
	sort.Slice(w.Users, func(i, j int) bool { return w.Users[i].Email < w.Users[j].Email })
	return w
}

func (s *Server) showOrganization(_ context.Context, r *Request[None]) (any, error) {
	return s.organizationOut(r.Organization), nil
}

type updateOrganizationBody struct {
	Name                  *string           `json:"organization_name"`
	LogoURL               *string           `json:"logo_url"`
	BillingEmail          *string           `json:"billing_email" validate:"omitempty,email"`
	NotificationsEmail    *string           `json:"notifications_email" validate:"omitempty,email"`
	Metadata              map[string]any    `json:"metadata"`
	RateLimitOverrides    map[string]int    `json:"rate_limit_overrides" validate:"dive,keys,oneof=metadata data search upload compute,endkeys,min=1"`
	DefaultLLMCredentials map[string]string `json:"default_llm_credentials"`
}

func (s *Server) updateOrganization(ctx context.Context, r *Request[updateOrganizationBody]) (any, error) {
	b := r.Body
	cmd := commands.UpdateOrganization{Name: b.Name, LogoURL: b.LogoURL, BillingEmail: b.BillingEmail, NotificationsEmail: b.NotificationsEmail,
		RateLimits: b.RateLimitOverrides, DefaultLLMCredentials: b.DefaultLLMCredentials}
	if b.Metadata != nil {
		cmd.Metadata = r.Members["metadata"]
	}
	o, err := s.Commands.UpdateOrganization(ctx, r.In(), cmd)
	if err != nil {
		return nil, err
	}
	return s.organizationOut(o), nil
}

// credits answers for a server that counts none: everything is allowed.
func (s *Server) credits(_ context.Context, r *Request[None]) (any, error) {
	return map[string]any{"organization_id": r.Organization.ID, "credit_count": 0, "effective_monthly_credit_cap": nil, "current_month_usage": 0, "unlimited": true}, nil
}
