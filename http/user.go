package http

import (
	"context"
	"encoding/json"
	"math"
	"sort"
	"time"

	"varve/commands"
	"varve/domain"
)

var _ = noun("user", (*Server).userRoutes)

func (s *Server) userRoutes() {
	admin := needs{Permission: "admin", Resource: "user"}
	read := needs{Permission: "read", Resource: "user"}
	s.route("GET", "/v1/organizations/users", read, handle(s.listUsers))
	s.route("POST", "/v1/organizations/users", admin, handle(s.createUser))
	s.route("GET", "/v1/organizations/users/{user_email}", read, handle(s.showUser))
	s.route("PATCH", "/v1/organizations/users/{user_email}", admin, handle(s.updateUser))
	s.route("DELETE", "/v1/organizations/users/{user_email}", admin, handle(s.deleteUser))
}

type userWire struct {
	InternalID     string          `json:"internal_id"`
	OrganizationID string          `json:"organization_id"`
	UserID         string          `json:"user_id"`
	Email          string          `json:"email"`
	UserName       string          `json:"user_name"`
	AvatarURL      *string         `json:"avatar_url"`
	Role           string          `json:"role"`
	Status         string          `json:"status"`
	Metadata       json.RawMessage `json:"metadata"`
	CreatedAt      wireTime        `json:"created_at"`
	UpdatedAt      wireTime        `json:"updated_at"`
	LastLogin      *wireTime       `json:"last_login"`
}

func userOut(o domain.Organization, u domain.User) userWire {
	return userWire{InternalID: o.TenantID, OrganizationID: o.ID, UserID: u.UserID, Email: u.Email, UserName: u.UserName, AvatarURL: textOrNull(u.AvatarURL),
		Role: u.Role, Status: u.Status, Metadata: object(u.Metadata), CreatedAt: wireTime(u.CreatedAt), UpdatedAt: wireTime(u.UpdatedAt)}
}

func timeOrNull(t *time.Time) *wireTime {
	if t == nil || t.IsZero() {
		return nil
	}
	w := wireTime(*t)
	return &w
}

type userList struct {
	Results []userWire `json:"results"`
	Total   int        `json:"total"`
	Skip    int        `json:"skip"`
	Limit   int        `json:"limit"`
}

func (s *Server) listUsers(_ context.Context, r *Request[None]) (any, error) {
	skip, err := r.QueryInt("skip", 0, 0, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	limit, err := r.QueryInt("limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	role, err := r.QueryEnum("role", "admin", "member", "viewer")
	if err != nil {
		return nil, err
	}
	status, err := r.QueryEnum("status", "active", "suspended", "pending")
	if err != nil {
		return nil, err
	}
	a := userList{Results: []userWire{}, Skip: skip, Limit: limit}
	for _, u := range r.Organization.Users {
		if (role == "" || u.Role == role) && (status == "" || u.Status == status) {
			a.Results = append(a.Results, userOut(r.Organization, u))
		}
	}
	sort.Slice(a.Results, func(i, j int) bool { return a.Results[i].Email < a.Results[j].Email })
	a.Total = len(a.Results)
	from := min(skip, a.Total)
	a.Results = a.Results[from:min(from+limit, a.Total)]
	return a, nil
}

type createUserBody struct {
	Email     string         `json:"email" validate:"required"`
	UserName  string         `json:"user_name" validate:"required,min=2,max=100"`
	AvatarURL string         `json:"avatar_url"`
	Role      string         `json:"role" validate:"omitempty,oneof=admin member viewer"`
	Status    string         `json:"status" validate:"omitempty,oneof=active suspended pending"`
	Metadata  map[string]any `json:"metadata"`
}

func (s *Server) createUser(ctx context.Context, r *Request[createUserBody]) (any, error) {
	b := r.Body
	u, err := s.Commands.CreateUser(ctx, r.In(), commands.CreateUser{Email: b.Email, UserName: b.UserName, AvatarURL: b.AvatarURL, Role: b.Role, Status: b.Status,
		Metadata: orAbsent(r.Members["metadata"])})
	if err != nil {
		return nil, err
	}
	return userOut(r.Organization, u), nil
}

func (s *Server) showUser(_ context.Context, r *Request[None]) (any, error) {
	u, err := userOf(r.Call)
	if err != nil {
		return nil, err
	}
	return userOut(r.Organization, u), nil
}

// userOf finds the user that the path names by e-mail address.
func userOf(c *Call) (domain.User, error) {
	u, ok := c.Organization.Users[c.Path("user_email")]
	if !ok {
		return u, domain.NotFound("user", c.Path("user_email"))
	}
	return u, nil
}

type updateUserBody struct {
	UserName  *string        `json:"user_name" validate:"omitempty,min=2,max=100"`
	AvatarURL *string        `json:"avatar_url"`
	Role      *string        `json:"role" validate:"omitempty,oneof=admin member viewer"`
	Status    *string        `json:"status" validate:"omitempty,oneof=active suspended pending"`
	Metadata  map[string]any `json:"metadata"`
}

func (s *Server) updateUser(ctx context.Context, r *Request[updateUserBody]) (any, error) {
	b := r.Body
	u, err := s.Commands.UpdateUser(ctx, r.In(), commands.UpdateUser{Email: r.Path("user_email"), UserName: b.UserName, AvatarURL: b.AvatarURL, Role: b.Role, Status: b.Status,
		Metadata: orAbsent(r.Members["metadata"])})
	if err != nil {
		return nil, err
	}
	return userOut(r.Organization, u), nil
}

// done is GenericSuccessResponse of the reference.
type done struct {
	Message string `json:"message"`
	Success bool   `json:"success"`
}

func (s *Server) deleteUser(ctx context.Context, r *Request[None]) (any, error) {
	if err := s.Commands.DeleteUser(ctx, r.In(), r.Path("user_email")); err != nil {
		return nil, err
	}
	return done{"user deleted, its API keys revoked", true}, nil
}
