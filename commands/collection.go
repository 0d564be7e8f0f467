package commands

import (
	"context"
	"errors"

	"varve/commands/extract"
	"varve/domain"
)

// SaveCollection creates a collection or changes one, as SaveBucket does.
type SaveCollection struct {
	Identifier string
	Change     func(domain.Collection) (domain.Collection, error)
}

// SaveCollection gives the collection as it is afterwards. The extractor's
// parameters are checked by the extractor.
func (h *Handler) SaveCollection(ctx context.Context, in In, cmd SaveCollection) (domain.Collection, error) {
	id := h.newID(in, domain.CollectionPrefix)
	saved, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.CollectionSaved, error) {
		k := domain.Collection{CollectionID: id, Enabled: true}
		if cmd.Identifier != "" {
			var ok bool
			if k, ok = c.Collection(cmd.Identifier); !ok {
				return nil, domain.NotFound("collection", cmd.Identifier)
			}
			if err := matchVersion(in, k.Updated.Version); err != nil {
				return nil, err
			}
		}
		k, err := cmd.Change(k)
		if err != nil {
			return nil, err
		}
		x, err := extract.Lookup(k.Extractor.Name, k.Extractor.Version)
		if err != nil {
			return nil, noExtractor(err)
		}
		if err := x.Validate(k.Extractor.Parameters); err != nil {
			return nil, err
		}
		return c.SaveCollection(k)
	})
	if err != nil {
		return domain.Collection{}, err
	}
	c, _, err := h.Configs.Head(ctx, in.Log)
	return c.Collections[saved.CollectionID], err
}

// noExtractor tells of an extractor that a collection names and that is not
// there: as any reference in a body, a wrong value (422) under its path. The
// reason stays that of Lookup, for clients that branch on it.
func noExtractor(err error) error {
	var e *domain.Error
	if !errors.As(err, &e) || e.Code != domain.CodeNotFound {
		return err
	}
	v := domain.Violation{Path: "feature_extractor.feature_extractor_name", Type: "reference", Message: e.Message}
	return &domain.Error{Code: domain.CodeInvalid, Reason: e.Reason, Message: v.Path + ": " + v.Message, Violations: []domain.Violation{v}, Details: e.Details, Err: err}
}

// DeleteCollection ends a collection; its documents end with it, by position.
func (h *Handler) DeleteCollection(ctx context.Context, in In, identifier string) (string, error) {
	e, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.CollectionDeleted, error) { return c.DeleteCollection(identifier) })
	if err != nil {
		return "", err
	}
	return e.CollectionID, nil
}

// collection finds a collection of the newest configuration by id or name.
func (h *Handler) collection(ctx context.Context, in In, identifier string) (domain.Config, domain.Collection, error) {
	c, _, err := h.Configs.Head(ctx, in.Log)
	if err != nil {
		return c, domain.Collection{}, err
	}
	k, ok := c.Collection(identifier)
	if !ok {
		return c, k, domain.NotFound("collection", identifier)
	}
	return c, k, nil
}
