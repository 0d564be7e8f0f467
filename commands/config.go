package commands

import (
	"context"
	"errors"

	"varve/commands/extract"
	"varve/domain"
)

// SaveBucket creates a bucket (BucketID empty) or changes one through change,
// which gets the bucket as it is. Force allows a schema that breaks objects.
type SaveBucket struct {
	Identifier string // of the bucket to change; empty: create
	Change     func(domain.Bucket) (domain.Bucket, error)
	Force      bool
}

// SaveBucket gives the bucket as it is afterwards.
func (h *Handler) SaveBucket(ctx context.Context, in In, cmd SaveBucket) (domain.Bucket, error) {
	id := h.newID(in, domain.BucketPrefix)
	saved, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.BucketSaved, error) {
		b := domain.Bucket{BucketID: id}
		if cmd.Identifier != "" {
			var ok bool
			if b, ok = c.Bucket(cmd.Identifier); !ok {
				return nil, domain.NotFound("bucket", cmd.Identifier)
			}
			if err := matchVersion(in, b.Updated.Version); err != nil {
				return nil, err
			}
		}
		b, err := cmd.Change(b)
		if err != nil {
			return nil, err
		}
		return c.SaveBucket(b, cmd.Force)
	})
	if err != nil {
		return domain.Bucket{}, err
	}
	c, _, err := h.Configs.Head(ctx, in.Log)
	return c.Buckets[saved.BucketID], err
}

// DeleteBucket ends a bucket; its objects end with it, by position.
func (h *Handler) DeleteBucket(ctx context.Context, in In, identifier string) (string, error) {
	e, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.BucketDeleted, error) { return c.DeleteBucket(identifier) })
	if err != nil {
		return "", err
	}
	return e.BucketID, nil
}

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
