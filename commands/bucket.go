package commands

import (
	"context"

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
