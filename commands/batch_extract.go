package commands

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"varve/commands/extract"
	"varve/domain"
	"varve/eventstore"
)

// chunk is the most documents of one append; more are appended in numbered
// chunks, each with object.part_extracted, and object.extracted last.
const chunk = 5000

// source is what a collection reads: an object, or a document of another collection.
type source struct {
	id      string // of the object or document
	fields  map[string]json.RawMessage
	blobs   []domain.Blob
	lineage domain.Lineage
}

// extractObject makes a collection's documents of one object, or records why
// not. What this attempt did already is not done again, but for the chunks of an
// object that was not finished; errors are those of the store, after which the
// whole attempt can be run again.
func (h *Handler) extractObject(ctx context.Context, in In, s *attempt, objectID, collectionID string) error {
	for try := 0; ; try++ {
		c, _, err := h.Configs.Head(ctx, in.Log)
		if err != nil {
			return err
		}
		k, ok := c.Collections[collectionID]
		if !ok {
			return nil // deleted meanwhile
		}
		o, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(objectID))
		if err != nil {
			return err
		}
		if !o.Exists || !c.Holds(o.BucketID, o.ConfigVersion) {
			return nil
		}
		before := o.Outcomes[collectionID]
		switch {
		case settled(s, o, collectionID) && before.Failed && before.Attempt != s.Attempt:
			// Not tried again, and still failed: this attempt says so too.
			err = h.fail(ctx, in, s, k, o, &extract.Error{Kind: extract.Kind(before.ErrorType), Reason: before.Error})
		case settled(s, o, collectionID):
			return nil
		default:
			err = h.extractOnce(ctx, in, s, c, k, o)
		}
		var conflict *eventstore.ConflictError
		var busy *eventstore.OverloadedError
		if errors.As(err, &conflict) && conflict.Stream == domain.BatchStream(s.BatchID) {
			if _, err := h.stillRuns(ctx, in, s); err != nil {
				return err
			}
		}
		if (errors.As(err, &conflict) || errors.As(err, &busy)) && try < 50 && ctx.Err() == nil {
			continue // the object changed while it was read: read it again
		}
		return err
	}
}

// settled says whether an attempt has nothing to do for an object.
func settled(s *attempt, o domain.ObjectState, collection string) bool {
	done, ok := o.Outcomes[collection]
	if !ok || done.BatchID != s.BatchID {
		return false
	}
	if done.Attempt == s.Attempt {
		return true
	}
	if done.ObjectVersion != o.SavedVersion {
		return false
	}
	return !done.Failed || s.RetryMode == "transient_only" && done.ErrorType == string(extract.Permanent)
}

func (h *Handler) extractOnce(ctx context.Context, in In, s *attempt, c domain.Config, k domain.Collection, o domain.ObjectState) error {
	documents, features, err := h.documentsOf(ctx, in, s, c, k, o)
	if err != nil {
		var failure *extract.Error
		if !errors.As(err, &failure) {
			return err
		}
		return h.fail(ctx, in, s, k, o, failure)
	}
	var batches []eventstore.Batch
	ids := make([]string, len(documents))
	number, version, begun := 0, o.Version, 0
	for i, d := range documents {
		b, err := documentBatch(in.Log, eventstore.Any(), d, features[i])
		if err != nil {
			return err
		}
		ids[i] = d.DocumentID
		if batches = append(batches, b); len(batches) == chunk && i+1 < len(documents) {
			number++
			part, err := batchOf(in.Log, domain.ObjectStream(o.ObjectID), eventstore.Exactly(version), &domain.ObjectPartExtracted{ObjectID: o.ObjectID, BucketID: o.BucketID,
				ObjectVersion: o.SavedVersion, BatchID: s.BatchID, Attempt: s.Attempt, CollectionID: k.CollectionID, Documents: ids[begun : i+1]})
			if err != nil {
				return err
			}
			if err := h.appendExtraction(ctx, in, s, o, k, number, append(batches, part)); err != nil {
				return err
			}
			batches, version, begun = nil, version+1, i+1
		}
	}
	var removed []string
	kept := make(map[string]bool, len(ids))
	for _, id := range ids {
		kept[id] = true
	}
	for _, id := range o.Derived()[k.CollectionID] {
		if kept[id] {
			continue
		}
		removed = append(removed, id)
		b, err := batchOf(in.Log, domain.DocumentStream(id), eventstore.Any(), &domain.DocumentDeleted{DocumentID: id, CollectionID: k.CollectionID, BatchID: s.BatchID, Reason: "not derived from the object's newest version"})
		if err != nil {
			return err
		}
		batches = append(batches, b)
	}
	done, err := batchOf(in.Log, domain.ObjectStream(o.ObjectID), eventstore.Exactly(version), &domain.ObjectExtracted{ObjectID: o.ObjectID, BucketID: o.BucketID,
		ObjectVersion: o.SavedVersion, BatchID: s.BatchID, Attempt: s.Attempt, CollectionID: k.CollectionID, ConfigVersion: c.Version,
		Extractor: k.Extractor.Name + "@" + k.Extractor.Version, Documents: ids, Removed: removed})
	if err != nil {
		return err
	}
	return h.appendExtraction(ctx, in, s, o, k, 0, append(batches, done))
}

func (h *Handler) fail(ctx context.Context, in In, s *attempt, k domain.Collection, o domain.ObjectState, failure *extract.Error) error {
	b, err := batchOf(in.Log, domain.ObjectStream(o.ObjectID), eventstore.Exactly(o.Version), &domain.ObjectFailed{ObjectID: o.ObjectID, BucketID: o.BucketID,
		ObjectVersion: o.SavedVersion, BatchID: s.BatchID, Attempt: s.Attempt, CollectionID: k.CollectionID, ErrorType: string(failure.Kind), Error: failure.Reason})
	if err != nil {
		return err
	}
	return h.appendExtraction(ctx, in, s, o, k, 0, []eventstore.Batch{b})
}

// appendExtraction appends under the key (batch, attempt, collection, object,
// version, chunk), so that a retry after a crash writes nothing twice, and only
// while the batch's stream is as the attempt knows it: after batch.canceled
// nothing more is appended.
func (h *Handler) appendExtraction(ctx context.Context, in In, s *attempt, o domain.ObjectState, k domain.Collection, number int, batches []eventstore.Batch) error {
	for i := range batches {
		batches[i].Meta = in.meta()
	}
	batches = append(batches, eventstore.Batch{Log: in.Log, Stream: domain.BatchStream(s.BatchID), Expect: eventstore.Exactly(s.version.Load())})
	scope := fmt.Sprintf("extract %q %q %d %q %q %d %d", in.Log, s.BatchID, s.Attempt, k.CollectionID, o.ObjectID, o.Version, number)
	_, err := h.Store.Append(ctx, eventstore.Append{Shard: in.Shard, Batches: batches, Idempotency: &eventstore.Idempotency{Scope: scope, Digest: RequestDigest("extract", scope, nil)}})
	return err
}

// documentsOf runs the extractor over what the collection reads of an object.
// An *extract.Error is the object's own fault; other errors are the store's.
func (h *Handler) documentsOf(ctx context.Context, in In, s *attempt, c domain.Config, k domain.Collection, o domain.ObjectState) ([]domain.Document, [][]domain.Feature, error) {
	sources, err := h.sourcesOf(ctx, in, c, k, o)
	if err != nil {
		return nil, nil, err
	}
	x, err := extract.Lookup(k.Extractor.Name, k.Extractor.Version)
	if err != nil {
		return nil, nil, &extract.Error{Kind: extract.Permanent, Reason: err.Error()}
	}
	var documents []domain.Document
	var features [][]domain.Feature
	for _, src := range sources {
		input, err := h.inputOf(ctx, in, k, src)
		if err != nil {
			return nil, nil, err
		}
		outputs, err := x.Extract(ctx, input)
		if err != nil {
			return nil, nil, err
		}
		passed, err := passthrough(k.Extractor, src)
		if err != nil {
			return nil, nil, err
		}
		for _, out := range outputs {
			payload := map[string]json.RawMessage{}
			for name, v := range passed {
				payload[name] = v
			}
			for name, v := range out.Payload {
				payload[name] = v
			}
			lineage := src.lineage
			lineage.Ordinal = out.Ordinal
			documents = append(documents, domain.Document{
				DocumentID:   domain.DeriveID(domain.DocumentPrefix, k.CollectionID, src.id, out.Ordinal),
				CollectionID: k.CollectionID, ConfigVersion: c.Version, Payload: payload, Metadata: o.Metadata, Lineage: lineage,
				Extractor: k.Extractor.Name + "@" + k.Extractor.Version, BatchID: s.BatchID,
			})
			features = append(features, out.Features)
		}
	}
	return documents, features, nil
}

// sourcesOf lists what a collection reads of an object: the object itself, or
// the documents that its source collections made of it.
func (h *Handler) sourcesOf(ctx context.Context, in In, c domain.Config, k domain.Collection, o domain.ObjectState) ([]source, error) {
	var filter *domain.Filter
	if k.Source.Filters != nil {
		var err error
		if filter, err = domain.ParseFilter("source.source_filters", k.Source.Filters); err != nil {
			return nil, &extract.Error{Kind: extract.Permanent, Reason: err.Error()}
		}
	}
	var sources []source
	if slices.Contains(k.Source.BucketIDs, o.BucketID) {
		sources = append(sources, source{id: o.ObjectID, fields: o.Fields, blobs: o.Blobs, lineage: domain.Lineage{
			SourceType: "bucket", RootObjectID: o.ObjectID, RootBucketID: o.BucketID, RootVersion: o.SavedVersion, SourceObjectID: o.ObjectID,
			Path: o.BucketID + "/" + k.CollectionID}})
	}
	for _, from := range k.Source.CollectionIDs {
		for _, id := range o.Extracted[from] {
			d, _, err := state[domain.DocumentState](ctx, h.Store, in.Log, domain.DocumentStream(id))
			if err != nil {
				return nil, err
			}
			if !d.Exists || !c.Holds(d.CollectionID, d.ConfigVersion) {
				continue
			}
			sources = append(sources, source{id: id, fields: d.Payload, lineage: domain.Lineage{
				SourceType: "collection", RootObjectID: o.ObjectID, RootBucketID: o.BucketID, RootVersion: o.SavedVersion,
				SourceDocumentID: id, SourceCollectionID: from, Path: d.Lineage.Path + "/" + k.CollectionID, Chain: append(slices.Clone(d.Lineage.Chain), id)}})
		}
	}
	if filter == nil {
		return sources, nil
	}
	matching := sources[:0]
	for _, src := range sources {
		fields, err := decodeFields(src.fields)
		if err != nil {
			return nil, &extract.Error{Kind: extract.Permanent, Reason: err.Error()}
		}
		if filter.Match(fields) {
			matching = append(matching, src)
		}
	}
	return matching, nil
}

func decodeFields(fields map[string]json.RawMessage) (map[string]any, error) {
	decoded := make(map[string]any, len(fields))
	for name, raw := range fields {
		v, err := domain.DecodeValue(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		decoded[name] = v
	}
	return decoded, nil
}

// passthrough copies the source's fields that the collection asks for.
func passthrough(x domain.ExtractorConfig, src source) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	if x.IncludeAllFields {
		for name, v := range src.fields {
			out[name] = v
		}
	}
	for _, p := range x.FieldPassthrough {
		v, ok := fieldAt(src.fields, p.SourcePath)
		switch {
		case ok:
		case p.Default != nil:
			v = p.Default
		case p.Required:
			return nil, &extract.Error{Kind: extract.Permanent, Reason: fmt.Sprintf("the field %q, which field_passthrough requires, is missing", p.SourcePath)}
		default:
			continue
		}
		out[cmp.Or(p.TargetPath, p.SourcePath)] = v
	}
	return out, nil
}

// fieldAt finds a dot path in fields, keeping numbers as written.
func fieldAt(fields map[string]json.RawMessage, path string) (json.RawMessage, bool) {
	if v, ok := fields[path]; ok {
		return v, true
	}
	head, rest, nested := strings.Cut(path, ".")
	v, ok := fields[head]
	if !ok || !nested {
		return nil, false
	}
	var inner map[string]json.RawMessage
	if json.Unmarshal(v, &inner) != nil {
		return nil, false
	}
	return fieldAt(inner, rest)
}
