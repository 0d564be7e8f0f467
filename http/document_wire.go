package http

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"varve/domain"
	"varve/projections"
)

// documentOut is DocumentResponse of the reference: the user's fields stand at
// the root, those of the platform win where names collide.
func documentOut(row projections.DocumentRow, namespace string) map[string]any {
	w := documentShape(row, func(raw json.RawMessage) (any, bool) { return raw, len(raw) > 0 })
	w["_internal"].(map[string]any)["namespace_id"] = namespace
	return w
}

// DocumentFields is a document as retrievers' filters, templates and answers
// see it: the API's shape with values as domain.DecodeValue gives them. It has
// nothing of the namespace, so that it is the same on every branch.
func DocumentFields(row projections.DocumentRow) map[string]any {
	return documentShape(row, func(raw json.RawMessage) (any, bool) {
		if len(raw) == 0 {
			return nil, false
		}
		v, err := domain.DecodeValue(raw)
		return v, err == nil
	})
}

// documentShape lays a document out; value gives what stands for free JSON.
func documentShape(row projections.DocumentRow, value func(json.RawMessage) (any, bool)) map[string]any {
	w := make(map[string]any, len(row.Payload)+6)
	for name, raw := range row.Payload {
		if v, ok := value(raw); ok {
			w[name] = v
		}
	}
	created, updated := wireText(row.Created), wireText(row.Updated)
	internal := map[string]any{"document_id": row.DocumentID, "collection_id": row.CollectionID, "created_at": created, "updated_at": updated,
		"lineage": lineageFields(row.Lineage), "processing": map[string]any{"history": processingHistory(row)}}
	if v, ok := value(row.Metadata); ok {
		w["metadata"], internal["metadata"] = v, v
	}
	if row.ContentHash != "" {
		internal["content_hash"] = row.ContentHash
	}
	if row.BatchID != "" {
		internal["batch_id"] = row.BatchID
	}
	w["document_id"], w["collection_id"], w["_internal"] = row.DocumentID, row.CollectionID, internal
	// A read waits until the index has what it reads of, so what is shown is searchable.
	w["document_blobs"], w["searchable_at"] = []any{}, updated
	return w
}

// lineageFields is InternalLineageModel: ids that are not known are left out.
func lineageFields(l domain.Lineage) map[string]any {
	w := map[string]any{"source_type": l.SourceType, "ordinal": json.Number(strconv.Itoa(l.Ordinal))}
	for name, v := range map[string]string{"root_object_id": l.RootObjectID, "root_bucket_id": l.RootBucketID, "source_object_id": l.SourceObjectID,
		"source_document_id": l.SourceDocumentID, "source_collection_id": l.SourceCollectionID, "path": l.Path} {
		if v != "" {
			w[name] = v
		}
	}
	chain := make([]any, len(l.Chain))
	for i, id := range l.Chain {
		step := map[string]any{"document_id": id}
		if c := chainCollection(l, i); c != "" {
			step["collection_id"] = c
		}
		chain[i] = step
	}
	w["chain"] = chain
	return w
}

// chainCollection is the collection of a chain's document, which the path names.
func chainCollection(l domain.Lineage, i int) string {
	parts := strings.Split(l.Path, "/")
	if len(parts) != len(l.Chain)+2 {
		return ""
	}
	return parts[i+1]
}

func processingHistory(row projections.DocumentRow) []any {
	if row.Extractor == "" {
		return []any{}
	}
	step := map[string]any{"feature_extractor_id": extractorID(row.Extractor), "extractor": row.Extractor, "timestamp": wireText(row.Updated),
		"config_version": json.Number(utoa(row.ConfigVersion))}
	if row.BatchID != "" {
		step["batch_id"] = row.BatchID
	}
	return []any{step}
}

// extractorID writes name@version as the reference does: name_version.
func extractorID(extractor string) string { return strings.Replace(extractor, "@", "_", 1) }

// vectorsAsked says what of a document's features an answer shows.
type vectorsAsked struct {
	values bool     // all of them, under _vectors by URI
	names  bool     // their names, under _vectors
	named  []string // each as a field of the root
}

// vectorsAsked reads return_vectors and return_vector_names (true, or names
// joined by commas) of the query, and their body forms over absent ones.
func (c *Call) vectorsAsked(inBody *bool, namesInBody json.RawMessage) (vectorsAsked, error) {
	var a vectorsAsked
	var err error
	if a.values, err = c.QueryBool("return_vectors", inBody != nil && *inBody); err != nil {
		return a, err
	}
	if _, err := c.QueryBool("return_presigned_urls", false); err != nil {
		return a, err
	}
	if given(namesInBody) && json.Unmarshal(namesInBody, &a.names) != nil && json.Unmarshal(namesInBody, &a.named) != nil {
		return a, domain.Invalid("return_vector_names", "type", "must be true or a list of names of vectors")
	}
	switch v, _ := c.queryOne("return_vector_names"); strings.ToLower(v) {
	case "", "false":
	case "true":
		a.names = true
	default:
		a.named = strings.Split(v, ",")
	}
	return a, nil
}

// addVectors adds what was asked of a document's features to its answer.
func (s *Server) addVectors(ctx context.Context, at projections.At, row projections.DocumentRow, w map[string]any, asked vectorsAsked) error {
	if !asked.values && !asked.names && len(asked.named) == 0 {
		return nil
	}
	if !asked.values && len(asked.named) == 0 {
		names := make([]string, len(row.Features))
		for i, f := range row.Features {
			names[i] = f.URI
		}
		w["_vectors"] = names
		return nil
	}
	features, err := s.features(ctx, at, row)
	if err != nil {
		return err
	}
	if asked.values {
		all := make(map[string]any, len(features))
		for _, f := range features {
			all[f.URI] = featureOut(f)
		}
		w["_vectors"] = all
	}
	for _, name := range asked.named {
		name = strings.TrimSpace(name)
		for _, f := range features {
			if f.URI == name || strings.HasSuffix(f.URI, "/"+name) || name == "embedding" && f.Dense != nil {
				w[name] = featureOut(f)
				break
			}
		}
	}
	return nil
}

// features reads the features of a document's version from its record.
func (s *Server) features(ctx context.Context, at projections.At, row projections.DocumentRow) ([]domain.Feature, error) {
	if len(row.Features) == 0 {
		return nil, nil
	}
	for r, err := range s.Commands.Store.ReadStream(ctx, at.Log, domain.DocumentStream(row.DocumentID), row.Version-1) {
		if err != nil {
			return nil, fmt.Errorf("read features of %s: %w", row.DocumentID, err)
		}
		features := make([]domain.Feature, len(r.Attachments))
		for i, a := range r.Attachments {
			if features[i], err = domain.DecodeFeature(a.Name, a.Bytes); err != nil {
				return nil, err
			}
		}
		return features, nil
	}
	return nil, nil
}

// featureOut shows a dense feature as its numbers, a sparse one as its terms' counts.
func featureOut(f domain.Feature) any {
	if f.Dense != nil {
		return f.Dense
	}
	terms := make(map[string]uint32, len(f.Terms))
	for _, t := range f.Terms {
		terms[t.Term] = t.Count
	}
	return map[string]any{"terms": terms, "length": f.Length}
}
