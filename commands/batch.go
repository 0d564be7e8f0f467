package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"varve/domain"
	"varve/eventstore"
)

// CreateBatch makes a draft of objects of one bucket.
type CreateBatch struct {
	ObjectIDs     []string
	Filter        *domain.Filter // instead of ids: all objects that match; nil with no ids: all
	All           bool           // with neither ids nor filter: take all objects
	Limit         int
	CollectionIDs []string // ids or names; none: all that read the bucket
	Name          string
	Metadata      json.RawMessage
}

// maxBatch is the most objects in a batch (reference: limit ≤ 50000).
const maxBatch = 50_000

// CreateBatch refuses objects and collections that do not exist, by name.
func (h *Handler) CreateBatch(ctx context.Context, in In, bucket string, cmd CreateBatch) (domain.BatchState, error) {
	id := h.newID(in, domain.BatchPrefix)
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		c, _, err := h.Configs.Head(ctx, in.Log)
		if err != nil {
			return nil, err
		}
		b, ok := c.Bucket(bucket)
		if !ok {
			return nil, domain.NotFound("bucket", bucket)
		}
		collections, err := c.ResolveCollections("collection_ids", cmd.CollectionIDs)
		if err != nil {
			return nil, err
		}
		for i, id := range collections {
			if !slices.Contains(c.RootBuckets(id), b.BucketID) {
				return nil, domain.Invalid(fmt.Sprintf("collection_ids[%d]", i), "reference", "collection %s reads nothing of bucket %s", c.Collections[id].Name, b.Name)
			}
		}
		objects := cmd.ObjectIDs
		if len(objects) == 0 && (cmd.Filter != nil || cmd.All) {
			limit := cmd.Limit
			if limit == 0 {
				limit = maxBatch
			}
			if objects, err = h.MatchingObjects(ctx, in.Log, b.BucketID, cmd.Filter, limit); err != nil {
				return nil, err
			}
		} else if err := h.checkObjects(ctx, in, b, c, objects); err != nil {
			return nil, err
		}
		batch := domain.Batch{BatchID: id, BucketID: b.BucketID, ConfigVersion: c.Version, Name: cmd.Name, ObjectIDs: objects, CollectionIDs: collections, Metadata: cmd.Metadata}
		e, err := batchOf(in.Log, domain.BatchStream(id), eventstore.New(), &domain.BatchSaved{Batch: batch})
		return []eventstore.Batch{e}, err
	})
	if err != nil {
		return domain.BatchState{}, err
	}
	s, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(id))
	return s, err
}

func (h *Handler) checkObjects(ctx context.Context, in In, b domain.Bucket, c domain.Config, ids []string) error {
	if len(ids) > maxBatch {
		return domain.Invalid("object_ids", "length", "%d objects; a batch has at most %d", len(ids), maxBatch)
	}
	seen := map[string]bool{}
	for i, id := range ids {
		path := fmt.Sprintf("object_ids[%d]", i)
		if seen[id] {
			return domain.Invalid(path, "duplicate", "object %q is named twice", id)
		}
		seen[id] = true
		s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return err
		}
		if !s.Exists || s.BucketID != b.BucketID || !c.Holds(s.BucketID, s.ConfigVersion) {
			return domain.Invalid(path, "reference", "object %q does not exist in bucket %s", id, b.Name)
		}
	}
	return nil
}

// ChangeBatch changes a draft's objects, or any batch's name and metadata, through change.
func (h *Handler) ChangeBatch(ctx context.Context, in In, batchID string, draftOnly bool, change func(domain.Batch) (domain.Batch, error)) (domain.BatchState, error) {
	return h.onBatch(ctx, in, batchID, func(c domain.Config, s domain.BatchState) ([]domain.EventData, error) {
		if draftOnly && s.Status != domain.StatusDraft {
			return nil, domain.Errorf(domain.CodeConflict, "batch %s is %s; objects can be added to a %s only", batchID, s.Status, domain.StatusDraft)
		}
		b, err := change(s.Batch)
		if err != nil {
			return nil, err
		}
		if draftOnly {
			if err := h.checkObjects(ctx, in, c.Buckets[b.BucketID], c, b.ObjectIDs); err != nil {
				return nil, err
			}
		}
		return []domain.EventData{&domain.BatchSaved{Batch: b}}, nil
	})
}

// SubmitBatch starts a draft. The process manager takes it from there; the
// state names the task that shows its progress.
func (h *Handler) SubmitBatch(ctx context.Context, in In, batchID string) (domain.BatchState, error) {
	s, err := h.onBatch(ctx, in, batchID, func(c domain.Config, s domain.BatchState) ([]domain.EventData, error) {
		if s.Status != domain.StatusDraft {
			return nil, domain.Errorf(domain.CodeConflict, "batch %s is %s; only a %s can be submitted", batchID, s.Status, domain.StatusDraft)
		}
		if len(s.ObjectIDs) == 0 {
			return nil, domain.Errorf(domain.CodeBadRequest, "batch %s has no objects; add some first", batchID)
		}
		return h.submission(in, c, s, s.ObjectIDs, "")
	})
	if err == nil {
		h.wake(in, batchID)
	}
	return s, err
}

// RetryBatch runs a batch that ended with failures again: only objects that
// failed are extracted again. Mode is transient_only or all.
func (h *Handler) RetryBatch(ctx context.Context, in In, batchID, mode string) (domain.BatchState, error) {
	s, err := h.onBatch(ctx, in, batchID, func(c domain.Config, s domain.BatchState) ([]domain.EventData, error) {
		if !s.Terminal() {
			return nil, domain.Errorf(domain.CodeConflict, "batch %s is %s; only one that ended can be retried", batchID, s.Status)
		}
		return h.submission(in, c, s, s.ObjectIDs, mode)
	})
	if err == nil {
		h.wake(in, batchID)
	}
	return s, err
}

func (h *Handler) submission(in In, c domain.Config, s domain.BatchState, objects []string, mode string) ([]domain.EventData, error) {
	collections := s.CollectionIDs
	if len(collections) == 0 {
		collections = c.DownstreamOf(s.BucketID)
	}
	collections = slices.DeleteFunc(slices.Clone(collections), func(id string) bool { _, ok := c.Collections[id]; return !ok })
	tiers, err := c.Tiers(collections)
	if err != nil {
		return nil, err
	}
	return []domain.EventData{&domain.BatchSubmitted{BatchID: s.BatchID, BucketID: s.BucketID, Attempt: s.Attempt + 1, ConfigVersion: c.Version,
		TaskID: domain.DeriveID(domain.TaskPrefix, string(in.Log), s.BatchID, s.Attempt+1), Tiers: tiers, ObjectIDs: objects, RetryMode: mode}}, nil
}

// CancelBatch stops a batch; objects that were done stay done.
func (h *Handler) CancelBatch(ctx context.Context, in In, batchID, reason string) (domain.BatchState, error) {
	s, err := h.onBatch(ctx, in, batchID, func(_ domain.Config, s domain.BatchState) ([]domain.EventData, error) {
		if s.Terminal() {
			return nil, domain.Errorf(domain.CodeConflict, "batch %s is %s already", batchID, s.Status)
		}
		return []domain.EventData{&domain.BatchCanceled{BatchID: batchID, TaskID: s.TaskID, Reason: reason}}, nil
	})
	if err == nil {
		h.batches.interrupt(in.Log, batchID)
	}
	return s, err
}

// DeleteBatch removes a batch that does not run; its documents stay.
func (h *Handler) DeleteBatch(ctx context.Context, in In, batchID string) error {
	_, err := h.onBatch(ctx, in, batchID, func(_ domain.Config, s domain.BatchState) ([]domain.EventData, error) {
		if s.Active() {
			return nil, domain.Errorf(domain.CodeConflict, "batch %s is running; cancel it first", batchID)
		}
		return []domain.EventData{&domain.BatchDeleted{BatchID: batchID}}, nil
	})
	return err
}

func (h *Handler) onBatch(ctx context.Context, in In, batchID string, decide func(domain.Config, domain.BatchState) ([]domain.EventData, error)) (domain.BatchState, error) {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		c, _, err := h.Configs.Head(ctx, in.Log)
		if err != nil {
			return nil, err
		}
		s, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(batchID))
		if err != nil {
			return nil, err
		}
		if !s.Exists {
			return nil, domain.NotFound("batch", batchID)
		}
		events, err := decide(c, s)
		if err != nil {
			return nil, err
		}
		b, err := batchOf(in.Log, domain.BatchStream(batchID), eventstore.Exactly(s.Version), events...)
		return []eventstore.Batch{b}, err
	})
	if err != nil {
		return domain.BatchState{}, err
	}
	s, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(batchID))
	return s, err
}
