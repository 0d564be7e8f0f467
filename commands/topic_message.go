package commands

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
	"varve/eventstore/bus"
)

// errTopicEnded says that a topic is deleted, paused or changed: its messages
// wait for whoever reads it next.
var errTopicEnded = errors.New("the topic was deleted, paused or changed")

// TakeMessage makes an object of a message of a topic, once: its id, and the
// idempotency key under which it is written, come from topic, partition, offset and the
// message's own time (which differs in a topic that was deleted and made anew). What can
// never become an object is a *bus.RefusedError; any other error passes.
func (h *Handler) TakeMessage(ctx context.Context, ref TopicRef, m bus.Incoming) error {
	c, _, err := h.Configs.Head(ctx, ref.Log)
	if err != nil {
		return err
	}
	t, ok := c.Topics[ref.TopicID]
	b, exists := c.Buckets[t.BucketID]
	if !ok || !exists || c.Closed || t.Paused {
		return errTopicEnded
	}
	object, err := t.Mapping.Object(m.Value, func(name string) json.RawMessage { return ofMessage(m, name) })
	if err != nil {
		return refusal(err)
	}
	key := fmt.Sprintf("%s/%d/%d@%d", t.TopicID, m.Partition, m.Offset, m.Time.UnixMilli())
	in := ref.system()
	in.Request = fmt.Sprintf("%s/%d/%d", m.Topic, m.Partition, m.Offset)
	in.IdempotencyKey, in.Operation, in.Digest = key, "take message", digestOf(m)
	id, err := h.objectOf(ctx, in, c, b, object, key)
	if err != nil {
		return refusal(err)
	}
	if !t.Process {
		return nil
	}
	return refusal(h.processObject(ctx, in, c, b, id))
}

// objectOf writes the object unless that was done, and gives its id. Where the id is
// the message's alone, its stream tells: one that begins is this message's first time, and one
// that is there is a repeat, even where the object was deleted since. Where the bucket has a
// unique key, the idempotency key does.
func (h *Handler) objectOf(ctx context.Context, in In, c domain.Config, b domain.Bucket, mapped domain.MappedObject, key string) (string, error) {
	input := ObjectInput{KeyPrefix: mapped.KeyPrefix, Fields: mapped.Fields, Metadata: mapped.Metadata, IdempotencyKey: key}
	id, err := h.objectID(in, b, input)
	if err != nil {
		return "", err
	}
	if len(mapped.Blobs) > 0 { // what was written has its bytes: they are not fetched again
		done, err := h.taken(ctx, in, b, id)
		if err != nil || done {
			return id, err
		}
	}
	for i, blob := range mapped.Blobs {
		taken, err := h.TakeBlob(ctx, in, fmt.Sprintf("mapping.blobs[%d]", i), BlobInput{Property: blob.Property, Type: blob.Type, Data: blob.Data})
		if err != nil {
			return "", err
		}
		input.Blobs = append(input.Blobs, taken)
	}
	if b.UniqueKey != nil {
		saved, err := h.CreateObject(ctx, in, b.BucketID, input)
		return saved.ObjectID, err
	}
	object := b.WithDefaults(domain.Object{ObjectID: id, BucketID: b.BucketID, ConfigVersion: c.Version, KeyPrefix: input.KeyPrefix, Fields: input.Fields,
		Metadata: input.Metadata, Blobs: input.Blobs, IdempotencyKey: key})
	if err := b.CheckObject(object); err != nil {
		return "", err
	}
	batch, err := batchOf(in.Log, domain.ObjectStream(id), eventstore.New(), &domain.ObjectSaved{Object: object})
	if err != nil {
		return "", err
	}
	batch.Meta = in.meta()
	_, err = h.Store.Append(ctx, eventstore.Append{Shard: in.Shard, Batches: []eventstore.Batch{batch}})
	if conflict := (*eventstore.ConflictError)(nil); errors.As(err, &conflict) {
		return id, nil
	}
	return id, Translate(err)
}

// taken says whether a message's object was written before.
func (h *Handler) taken(ctx context.Context, in In, b domain.Bucket, id string) (bool, error) {
	if b.UniqueKey != nil {
		return h.Repeated(ctx, in)
	}
	written, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
	return written.Version > 0, err
}

// processObject runs the bucket's collections over an object: one batch, of its own.
func (h *Handler) processObject(ctx context.Context, in In, c domain.Config, b domain.Bucket, id string) error {
	if len(c.DownstreamOf(b.BucketID)) == 0 {
		return nil
	}
	if o, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id)); err != nil || !o.Exists {
		return err // deleted since: there is nothing to run
	}
	in.Operation += " process"
	batch, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(h.newID(in, domain.BatchPrefix)))
	if err != nil {
		return err
	}
	if !batch.Exists {
		if batch, err = h.CreateBatch(ctx, in, b.BucketID, CreateBatch{ObjectIDs: []string{id}, Name: "topic " + in.Request}); err != nil {
			return err
		}
	}
	if batch.Status != domain.StatusDraft {
		return nil
	}
	in.Operation += " submit"
	_, err = h.SubmitBatch(ctx, in, batch.BatchID)
	return err
}

// refusal tells what can never be taken from what passes.
func refusal(err error) error {
	var e *domain.Error
	var fetch *blob.FetchError
	switch {
	case err == nil || !errors.As(err, &e) || errors.Is(err, eventstore.ErrClosed):
		return err
	case errors.As(err, &fetch) && fetch.Temporary:
		return &bus.RefusedError{Reason: "blob_not_fetched", Tries: 6, Err: err}
	}
	reason := e.Reason
	if reason == "" {
		reason = string(e.Code)
	}
	switch e.Code {
	case domain.CodeInvalid, domain.CodeBadRequest, domain.CodeTooLarge:
	case domain.CodeConflict, domain.CodeNotFound:
		var conflict *eventstore.ConflictError
		if errors.As(err, &conflict) || e.Details["resource"] == "bucket" {
			return err // others wrote at the same time, or the topic ends with its bucket
		}
	default:
		return err
	}
	return &bus.RefusedError{Reason: reason, Err: err}
}

// ofMessage gives what a message has beside its value; nil where it has not.
func ofMessage(m bus.Incoming, name string) json.RawMessage {
	switch name {
	case "key":
		if m.Key == nil {
			return nil
		}
		return text(string(m.Key))
	case "timestamp":
		return text(m.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	case "partition":
		return json.RawMessage(strconv.Itoa(int(m.Partition)))
	case "offset":
		return json.RawMessage(strconv.FormatInt(m.Offset, 10))
	}
	header, ok := m.Headers[strings.TrimPrefix(name, "headers.")]
	if !ok {
		return nil
	}
	return text(header)
}

// text is a text as JSON; bytes that are no UTF-8 become U+FFFD.
func text(s string) json.RawMessage { return domain.EncodeValue(strings.ToValidUTF8(s, "\uFFFD")) }

func digestOf(m bus.Incoming) eventstore.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%d\x00%d\x00%d\x00", m.Topic, m.Partition, m.Offset, len(m.Key))
	h.Write(m.Key)
	h.Write(m.Value)
	return eventstore.Hash(h.Sum(nil))
}
