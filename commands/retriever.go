package commands

import (
	"context"

	"varve/domain"
)

// SaveRetriever creates a retriever or changes one, as SaveBucket does.
type SaveRetriever struct {
	Identifier string
	Change     func(domain.Retriever) (domain.Retriever, error)
}

// SaveRetriever gives the retriever as it is afterwards.
func (h *Handler) SaveRetriever(ctx context.Context, in In, cmd SaveRetriever) (domain.Retriever, error) {
	id := h.newID(in, domain.RetrieverPrefix)
	saved, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.RetrieverSaved, error) {
		r := domain.Retriever{RetrieverID: id}
		if cmd.Identifier != "" {
			var ok bool
			if r, ok = c.Retriever(cmd.Identifier); !ok {
				return nil, domain.NotFound("retriever", cmd.Identifier)
			}
			if err := matchVersion(in, r.Updated.Version); err != nil {
				return nil, err
			}
		}
		r, err := cmd.Change(r)
		if err != nil {
			return nil, err
		}
		e, err := c.SaveRetriever(r)
		if err != nil {
			return nil, err
		}
		return e, h.CheckRetriever(c, e.Retriever)
	})
	if err != nil {
		return domain.Retriever{}, err
	}
	c, _, err := h.Configs.Head(ctx, in.Log)
	return c.Retrievers[saved.RetrieverID], err
}

// DeleteRetriever ends a retriever; its executions stay readable.
func (h *Handler) DeleteRetriever(ctx context.Context, in In, identifier string) (string, error) {
	e, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.RetrieverDeleted, error) { return c.DeleteRetriever(identifier) })
	if err != nil {
		return "", err
	}
	return e.RetrieverID, nil
}
