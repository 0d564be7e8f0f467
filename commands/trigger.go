package commands

import (
	"context"
	"fmt"
	"slices"

	"varve/domain"
)

// TriggerCollection runs a collection, and those that read it, over objects of
// the buckets it comes from: all, or those named or matching.
type TriggerCollection struct {
	Collection string
	Buckets    []string // ids or names; none: all that the collection comes from
	ObjectIDs  []string
	Filter     *domain.Filter
}

// TriggerCollection makes and submits one batch a bucket that has objects to
// run; none of them have any where it gives no batches.
func (h *Handler) TriggerCollection(ctx context.Context, in In, cmd TriggerCollection) ([]domain.BatchState, error) {
	c, k, err := h.collection(ctx, in, cmd.Collection)
	if err != nil {
		return nil, err
	}
	if !k.Enabled {
		return nil, domain.Errorf(domain.CodeConflict, "collection %s is disabled; enable it first", k.Name)
	}
	buckets := c.RootBuckets(k.CollectionID)
	if len(cmd.Buckets) > 0 {
		from := map[string]bool{}
		for _, b := range buckets {
			from[b] = true
		}
		buckets = nil
		for _, identifier := range cmd.Buckets {
			b, ok := c.Bucket(identifier)
			if !ok || !from[b.BucketID] {
				return nil, domain.Invalid("include_buckets", "reference", "%q is not a bucket that collection %s comes from", identifier, k.Name)
			}
			buckets = append(buckets, b.BucketID)
		}
	}
	if len(buckets) == 0 {
		return nil, domain.Errorf(domain.CodeBadRequest, "collection %s does not come from a bucket: there is nothing to run", k.Name)
	}
	if len(buckets) > 1 {
		if err := h.checkKnown(ctx, in, c, buckets, cmd.ObjectIDs); err != nil {
			return nil, err
		}
	}
	var batches []domain.BatchState
	for _, bucket := range buckets {
		one := in
		if in.IdempotencyKey != "" {
			one.Operation += " " + bucket
		}
		ids := cmd.ObjectIDs
		if len(ids) > 0 && len(buckets) > 1 {
			if ids, err = h.objectsIn(ctx, in, bucket, ids); err != nil {
				return batches, err
			}
			if len(ids) == 0 {
				continue
			}
		}
		if len(ids) == 0 {
			some, err := h.MatchingObjects(ctx, in.Log, bucket, cmd.Filter, 1)
			if err != nil {
				return batches, err
			}
			if len(some) == 0 {
				continue // no batch: an empty one would be a draft for ever
			}
		}
		b, err := h.CreateBatch(ctx, one, bucket, CreateBatch{ObjectIDs: ids, Filter: cmd.Filter, All: len(ids) == 0, CollectionIDs: c.ReadersOf(k.CollectionID), Name: "trigger " + k.Name})
		if err != nil {
			return batches, err
		}
		if len(b.ObjectIDs) == 0 { // they went in between
			continue
		}
		one.Operation += " submit"
		if b, err = h.SubmitBatch(ctx, one, b.BatchID); err != nil {
			return batches, err
		}
		batches = append(batches, b)
	}
	return batches, nil
}

// checkKnown refuses ids that no object of the buckets has, before any batch is made.
func (h *Handler) checkKnown(ctx context.Context, in In, c domain.Config, buckets, ids []string) error {
	for i, id := range ids {
		s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return err
		}
		if !s.Exists || !slices.Contains(buckets, s.BucketID) || !c.Holds(s.BucketID, s.ConfigVersion) {
			return domain.Invalid(fmt.Sprintf("object_ids[%d]", i), "reference", "object %q does not exist in the buckets that the collection comes from", id)
		}
	}
	return nil
}

func (h *Handler) objectsIn(ctx context.Context, in In, bucket string, ids []string) ([]string, error) {
	var own []string
	for _, id := range ids {
		s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return nil, err
		}
		if s.Exists && s.BucketID == bucket {
			own = append(own, id)
		}
	}
	return own, nil
}
