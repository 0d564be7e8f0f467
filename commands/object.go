package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"varve/domain"
	"varve/eventstore"
)

// ObjectInput is an object as a client writes it. Blobs are already taken in
// (see TakeBlob): their bytes are inline or in the blob store.
type ObjectInput struct {
	KeyPrefix      string
	Fields         map[string]json.RawMessage // user fields at the root
	Metadata       json.RawMessage
	Blobs          []domain.Blob
	Edges          json.RawMessage
	IdempotencyKey string // of the body: the same key gives back the existing object
	Policy         string // insert, update, upsert; empty: the bucket's default
	SkipDuplicates bool
	Number         int // of the object in its request, from 0: a repeated request names the same objects
}

// SavedObject is one object's outcome.
type SavedObject struct {
	domain.ObjectState
	Replayed bool // it existed under the same idempotency key, or was skipped as a duplicate
}

// CreateObject writes one object. An object with the same unique key is
// refused, changed or replaced as the policy says.
func (h *Handler) CreateObject(ctx context.Context, in In, bucket string, o ObjectInput) (SavedObject, error) {
	saved, errs, err := h.CreateObjects(ctx, in, bucket, []ObjectInput{o})
	if err != nil {
		return SavedObject{}, err
	}
	if errs[0] != nil {
		return SavedObject{}, errs[0]
	}
	return saved[0], nil
}

// CreateObjects writes many objects in one append: those that are right are
// written all together, the others are reported by index and change nothing.
func (h *Handler) CreateObjects(ctx context.Context, in In, bucket string, inputs []ObjectInput) ([]SavedObject, []error, error) {
	ids := make([]string, len(inputs))
	var saved []SavedObject
	var errs []error
	records, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		c, _, err := h.Configs.Head(ctx, in.Log)
		if err != nil {
			return nil, err
		}
		b, ok := c.Bucket(bucket)
		if !ok {
			return nil, domain.NotFound("bucket", bucket)
		}
		saved, errs = make([]SavedObject, len(inputs)), make([]error, len(inputs))
		seen := map[string]int{}
		batches := []eventstore.Batch{}
		for i, input := range inputs {
			object, expect, before, err := h.decideObject(ctx, in, c, b, input)
			ids[i] = object.ObjectID
			if err == nil && before != nil {
				saved[i] = *before
				continue
			}
			if first, twice := seen[object.ObjectID]; err == nil && twice {
				err = &domain.Error{Code: domain.CodeConflict, Message: fmt.Sprintf("objects[%d] has the same unique key as objects[%d]", input.Number, inputs[first].Number)}
			}
			if err != nil {
				errs[i] = err
				continue
			}
			seen[object.ObjectID] = i
			batch, err := batchOf(in.Log, domain.ObjectStream(object.ObjectID), expect, &domain.ObjectSaved{Object: object})
			if err != nil {
				return nil, err
			}
			batches = append(batches, batch)
		}
		if len(batches) == 0 {
			return nil, errNothing
		}
		return batches, nil
	})
	if err != nil && !errors.Is(err, errNothing) {
		return nil, nil, err
	}
	if saved == nil {
		return h.replayedObjects(ctx, in, bucket, inputs, records)
	}
	for i, id := range ids {
		if errs[i] != nil || saved[i].Exists {
			continue
		}
		s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return nil, nil, err
		}
		saved[i] = SavedObject{ObjectState: s}
	}
	return saved, errs, nil
}

// replayedObjects tells again what the first request under an idempotency key
// did: the objects as it wrote them, and why it refused others.
func (h *Handler) replayedObjects(ctx context.Context, in In, bucket string, inputs []ObjectInput, records []eventstore.Record) ([]SavedObject, []error, error) {
	saved, errs := make([]SavedObject, len(inputs)), make([]error, len(inputs))
	written := map[string]uint64{} // stream → version
	for _, r := range records {
		written[r.Stream] = r.Version
	}
	c, err := h.Configs.At(ctx, in.Log, records[0].Position)
	if err != nil {
		return nil, nil, err
	}
	b, _ := c.Bucket(bucket)
	for i, input := range inputs {
		id, err := h.objectID(in, b, input)
		stream := domain.ObjectStream(id)
		if version, ok := written[stream]; ok && err == nil {
			if saved[i].ObjectState, _, err = stateAt[domain.ObjectState](ctx, h.Store, in.Log, stream, version); err != nil {
				return nil, nil, err
			}
			delete(written, stream)
			continue
		}
		_, _, before, err := h.decideObject(ctx, in, c, b, input)
		switch {
		case err != nil:
			errs[i] = err
		case before != nil:
			saved[i] = *before
		default:
			errs[i] = domain.Errorf(domain.CodeConflict, "the first request under this idempotency key did not write this object; send it under a new key")
		}
	}
	return saved, errs, nil
}

var errNothing = errors.New("nothing to append")

// objectID derives an object's id from the bucket's unique key, from the
// body's idempotency key, or makes one.
func (h *Handler) objectID(in In, b domain.Bucket, o ObjectInput) (string, error) {
	switch {
	case b.UniqueKey != nil:
		values := []any{b.BucketID}
		for _, f := range b.UniqueKey.Fields {
			v, ok := o.Fields[f]
			if !ok {
				return "", domain.Invalid(f, "missing", "the bucket's unique key needs this field")
			}
			decoded, err := domain.DecodeValue(v)
			if err != nil {
				return "", domain.Invalid(f, "value", "%v", err)
			}
			values = append(values, domain.KeyValue(decoded))
		}
		return domain.DeriveID(domain.ObjectPrefix, values...), nil
	case o.IdempotencyKey != "":
		return domain.DeriveID(domain.ObjectPrefix, b.BucketID, "key", o.IdempotencyKey), nil
	}
	return h.newID(in, domain.ObjectPrefix, o.Number), nil
}

// decideObject gives the object to write and the version its stream must have,
// or the object that stands for it already.
func (h *Handler) decideObject(ctx context.Context, in In, c domain.Config, b domain.Bucket, o ObjectInput) (domain.Object, eventstore.Expect, *SavedObject, error) {
	object := domain.Object{BucketID: b.BucketID, ConfigVersion: c.Version, KeyPrefix: o.KeyPrefix, Fields: o.Fields,
		Metadata: o.Metadata, Blobs: o.Blobs, Edges: o.Edges, IdempotencyKey: o.IdempotencyKey}
	expect := eventstore.New()
	object = b.WithDefaults(object)
	if err := b.CheckObject(object); err != nil {
		return object, expect, nil, err
	}
	id, err := h.objectID(in, b, o)
	if err != nil {
		return object, expect, nil, err
	}
	object.ObjectID = id
	if b.UniqueKey == nil && o.IdempotencyKey == "" {
		return object, expect, nil, nil
	}
	before, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
	if err != nil {
		return object, expect, nil, err
	}
	before.Exists = before.Exists && c.Holds(before.BucketID, before.ConfigVersion)
	expect = eventstore.Exactly(before.Version)
	policy := o.Policy
	if policy == "" && b.UniqueKey != nil {
		policy = b.UniqueKey.DefaultPolicy
	}
	switch {
	case !before.Exists && policy == "update":
		return object, expect, nil, domain.Errorf(domain.CodeNotFound, "no object has this unique key, and the policy is update")
	case !before.Exists:
		return object, expect, nil, nil
	case o.IdempotencyKey != "" && before.IdempotencyKey == o.IdempotencyKey, o.SkipDuplicates:
		return object, expect, &SavedObject{ObjectState: before, Replayed: true}, nil
	case policy == "update" || policy == "upsert":
		return object, expect, nil, nil
	}
	return object, expect, nil, &domain.Error{Code: domain.CodeConflict, Reason: "unique_key_taken",
		Message: "object " + id + " has the same unique key; pass policy=update or policy=upsert to change it"}
}

// ChangeObject changes an object through change, which gets it as it is.
func (h *Handler) ChangeObject(ctx context.Context, in In, bucket, objectID string, change func(domain.Object) (domain.Object, error)) (domain.ObjectState, error) {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		c, b, before, err := h.object(ctx, in, bucket, objectID)
		if err != nil {
			return nil, err
		}
		o, err := change(before.Object)
		if err != nil {
			return nil, err
		}
		o.ObjectID, o.BucketID, o.ConfigVersion = objectID, b.BucketID, c.Version
		if err := keyStays(b, before.Object, o); err != nil {
			return nil, err
		}
		o = b.WithDefaults(o)
		if err := b.CheckObject(o); err != nil {
			return nil, err
		}
		batch, err := batchOf(in.Log, domain.ObjectStream(objectID), eventstore.Exactly(before.Version), &domain.ObjectSaved{Object: o})
		return []eventstore.Batch{batch}, err
	})
	if err != nil {
		return domain.ObjectState{}, err
	}
	s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(objectID))
	return s, err
}

// keyStays refuses another value of a field of the unique key: the object's id
// is derived from it.
func keyStays(b domain.Bucket, before, after domain.Object) error {
	if b.UniqueKey == nil {
		return nil
	}
	for _, f := range b.UniqueKey.Fields {
		x, errX := domain.DecodeValue(before.Fields[f])
		y, errY := domain.DecodeValue(after.Fields[f])
		if (errX == nil) != (errY == nil) || errX == nil && !domain.EqualValues(x, y) {
			return domain.Invalid(f, "immutable", "is part of the bucket's unique key, by which the object is known; delete the object and write it again")
		}
	}
	return nil
}

// DeleteObject ends an object and every document that was derived from it, in one append.
func (h *Handler) DeleteObject(ctx context.Context, in In, bucket, objectID, reason string) error {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		_, b, before, err := h.object(ctx, in, bucket, objectID)
		if err != nil {
			return nil, err
		}
		first, err := batchOf(in.Log, domain.ObjectStream(objectID), eventstore.Exactly(before.Version), &domain.ObjectDeleted{ObjectID: objectID, BucketID: b.BucketID, Reason: reason})
		batches := []eventstore.Batch{first}
		derived := before.Derived()
		for _, collection := range slices.Sorted(maps.Keys(derived)) {
			for _, id := range derived[collection] {
				batch, err := batchOf(in.Log, domain.DocumentStream(id), eventstore.Any(), &domain.DocumentDeleted{DocumentID: id, CollectionID: collection, Reason: "object deleted"})
				if err != nil {
					return nil, err
				}
				batches = append(batches, batch)
			}
		}
		return batches, err
	})
	return err
}

// object reads an object that exists in a bucket that exists.
func (h *Handler) object(ctx context.Context, in In, bucket, objectID string) (domain.Config, domain.Bucket, domain.ObjectState, error) {
	c, _, err := h.Configs.Head(ctx, in.Log)
	if err != nil {
		return c, domain.Bucket{}, domain.ObjectState{}, err
	}
	b, ok := c.Bucket(bucket)
	if !ok {
		return c, b, domain.ObjectState{}, domain.NotFound("bucket", bucket)
	}
	s, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(objectID))
	if err != nil {
		return c, b, s, err
	}
	if !s.Exists || s.BucketID != b.BucketID || !c.Holds(s.BucketID, s.ConfigVersion) {
		return c, b, s, domain.NotFound("object", objectID)
	}
	return c, b, s, nil
}
