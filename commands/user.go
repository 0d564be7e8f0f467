package commands

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"varve/domain"
)

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
