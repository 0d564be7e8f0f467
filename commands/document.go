package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"varve/domain"
	"varve/eventstore"
)

// WriteDocument is a document as a client writes it.
type WriteDocument struct {
	DocumentID  string // empty: Varve chooses
	Payload     map[string]json.RawMessage
	Metadata    json.RawMessage
	Features    []domain.Feature
	Lineage     domain.Lineage
	ContentHash string
}

// CreateDocument writes a new document into a collection; an id in use is a conflict.
func (h *Handler) CreateDocument(ctx context.Context, in In, collection string, cmd WriteDocument) (domain.DocumentState, error) {
	if cmd.DocumentID == "" {
		cmd.DocumentID = h.newID(in, domain.DocumentPrefix)
	}
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		c, k, err := h.collection(ctx, in, collection)
		if err != nil {
			return nil, err
		}
		before, _, err := state[domain.DocumentState](ctx, h.Store, in.Log, domain.DocumentStream(cmd.DocumentID))
		if err != nil {
			return nil, err
		}
		if before.Exists && c.Holds(before.CollectionID, before.ConfigVersion) {
			return nil, &domain.Error{Code: domain.CodeConflict, Reason: "document_exists", Message: "document " + cmd.DocumentID + " exists"}
		}
		if cmd.Lineage.SourceType == "" {
			cmd.Lineage.SourceType = "direct_upsert"
		}
		d := domain.Document{DocumentID: cmd.DocumentID, CollectionID: k.CollectionID, ConfigVersion: c.Version, Payload: cmd.Payload,
			Metadata: cmd.Metadata, Lineage: cmd.Lineage, ContentHash: cmd.ContentHash}
		b, err := documentBatch(in.Log, eventstore.Exactly(before.Version), d, cmd.Features)
		return []eventstore.Batch{b}, err
	})
	if err != nil {
		return domain.DocumentState{}, err
	}
	s, _, err := state[domain.DocumentState](ctx, h.Store, in.Log, domain.DocumentStream(cmd.DocumentID))
	return s, err
}

// ChangeDocument changes a document through change, which gets it as it is;
// its features stay unless change returns others. Collection empty: any.
func (h *Handler) ChangeDocument(ctx context.Context, in In, collection, documentID string, change func(domain.Document, []domain.Feature) (domain.Document, []domain.Feature, error)) (domain.DocumentState, error) {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		b, err := h.changedDocument(ctx, in, collection, documentID, change)
		return []eventstore.Batch{b}, err
	})
	if err != nil {
		return domain.DocumentState{}, err
	}
	s, _, err := state[domain.DocumentState](ctx, h.Store, in.Log, domain.DocumentStream(documentID))
	return s, err
}

// DocumentChange is one document's part of a bulk change.
type DocumentChange struct {
	DocumentID string
	Change     func(domain.Document, []domain.Feature) (domain.Document, []domain.Feature, error)
}

// ChangeDocuments changes many documents in one append; those that cannot be
// changed are reported by index and change nothing.
func (h *Handler) ChangeDocuments(ctx context.Context, in In, collection string, changes []DocumentChange) ([]error, error) {
	errs := make([]error, len(changes))
	records, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		var batches []eventstore.Batch
		for i, c := range changes {
			var b eventstore.Batch
			b, errs[i] = h.changedDocument(ctx, in, collection, c.DocumentID, c.Change)
			if errs[i] == nil {
				batches = append(batches, b)
			} else if code := domain.CodeOf(errs[i]); code == domain.CodeInternal {
				return nil, errs[i]
			}
		}
		if len(batches) == 0 {
			return nil, errNothing
		}
		return batches, nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	for i, c := range changes {
		errs[i] = untouched(records, c.DocumentID, errs[i])
	}
	return errs, err
}

// untouched reports a document that a repeated command did not change when it
// was carried out, which is why it names no error of its own.
func untouched(records []eventstore.Record, id string, err error) error {
	stream := domain.DocumentStream(id)
	if err != nil || slices.ContainsFunc(records, func(r eventstore.Record) bool { return r.Stream == stream }) {
		return err
	}
	return domain.NotFound("document", id)
}

// DocumentsDone says how many documents an earlier command under the same
// idempotency key changed or deleted; false where there was none.
func (h *Handler) DocumentsDone(ctx context.Context, in In) (int, bool, error) {
	idem := in.idempotency()
	if idem == nil {
		return 0, false, nil
	}
	done, ok, err := h.Store.Replay(ctx, in.Shard, *idem)
	return len(done.Records), ok, Translate(err)
}

// DeleteDocuments ends documents in one append; those that do not exist are reported by index.
func (h *Handler) DeleteDocuments(ctx context.Context, in In, collection string, ids []string, reason string) ([]error, error) {
	errs := make([]error, len(ids))
	records, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		var batches []eventstore.Batch
		for i, id := range ids {
			_, before, _, err := h.document(ctx, in, collection, id)
			if err == nil {
				err = matchVersion(in, before.Version)
			}
			if errs[i] = err; err != nil {
				if domain.CodeOf(err) == domain.CodeInternal {
					return nil, err
				}
				continue
			}
			b, err := batchOf(in.Log, domain.DocumentStream(id), eventstore.Exactly(before.Version), &domain.DocumentDeleted{DocumentID: id, CollectionID: before.CollectionID, Reason: reason})
			if err != nil {
				return nil, err
			}
			batches = append(batches, b)
		}
		if len(batches) == 0 {
			return nil, errNothing
		}
		return batches, nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	for i, id := range ids {
		errs[i] = untouched(records, id, errs[i])
	}
	return errs, err
}

func (h *Handler) changedDocument(ctx context.Context, in In, collection, documentID string, change func(domain.Document, []domain.Feature) (domain.Document, []domain.Feature, error)) (eventstore.Batch, error) {
	c, before, features, err := h.document(ctx, in, collection, documentID)
	if err != nil {
		return eventstore.Batch{}, err
	}
	if err := matchVersion(in, before.Version); err != nil {
		return eventstore.Batch{}, err
	}
	d, features, err := change(before.Document, features)
	if err != nil {
		return eventstore.Batch{}, err
	}
	d.DocumentID, d.CollectionID, d.ConfigVersion, d.Lineage = before.DocumentID, before.CollectionID, c.Version, before.Lineage
	return documentBatch(in.Log, eventstore.Exactly(before.Version), d, features)
}

// document reads a document that exists, with its features.
func (h *Handler) document(ctx context.Context, in In, collection, documentID string) (domain.Config, domain.DocumentState, []domain.Feature, error) {
	c, _, err := h.Configs.Head(ctx, in.Log)
	if err != nil {
		return c, domain.DocumentState{}, nil, err
	}
	if collection != "" {
		k, ok := c.Collection(collection)
		if !ok {
			return c, domain.DocumentState{}, nil, domain.NotFound("collection", collection)
		}
		collection = k.CollectionID
	}
	s, records, err := state[domain.DocumentState](ctx, h.Store, in.Log, domain.DocumentStream(documentID))
	if err != nil {
		return c, s, nil, err
	}
	if !s.Exists || collection != "" && s.CollectionID != collection || !c.Holds(s.CollectionID, s.ConfigVersion) {
		return c, s, nil, domain.NotFound("document", documentID)
	}
	var features []domain.Feature
	for _, a := range records[len(records)-1].Attachments {
		f, err := domain.DecodeFeature(a.Name, a.Bytes)
		if err != nil {
			return c, s, nil, err
		}
		features = append(features, f)
	}
	return c, s, features, nil
}

// documentBatch makes document.written with its features attached.
func documentBatch(log eventstore.LogID, expect eventstore.Expect, d domain.Document, features []domain.Feature) (eventstore.Batch, error) {
	d.Features = nil
	attachments := make([]eventstore.Attachment, len(features))
	for i, f := range features {
		b := f.Encode()
		sum := sha256.Sum256(b)
		ref := domain.FeatureRef{URI: f.URI, Kind: "sparse", Digest: "sha256:" + hex.EncodeToString(sum[:])}
		if f.Dense != nil {
			ref.Kind, ref.Dims = "dense", len(f.Dense)
		}
		d.Features = append(d.Features, ref)
		attachments[i] = eventstore.Attachment{Name: f.URI, Bytes: b}
	}
	batch, err := batchOf(log, domain.DocumentStream(d.DocumentID), expect, &domain.DocumentWritten{Document: d})
	if err == nil {
		batch.Events[0].Attachments = attachments
	}
	return batch, err
}
