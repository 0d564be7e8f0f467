package projections

import (
	"encoding/json"
	"strings"
	"time"

	"varve/domain"
)

// View is the document as filters, sorts and searches see it: the user's fields
// at the root, metadata, document_id, collection_id, and _internal with lineage
// and times as in the reference. Lineage and times are at the root too, where the
// user has no fields of those names. Values are as domain.DecodeValue gives them.
func (r *DocumentRow) View() map[string]any {
	v := make(map[string]any, len(r.Payload)+12)
	created, updated := stamp(r.Created), stamp(r.Updated)
	l := r.Lineage
	lineage := map[string]any{"source_type": l.SourceType}
	for name, value := range map[string]string{"root_object_id": l.RootObjectID, "root_bucket_id": l.RootBucketID, "source_object_id": l.SourceObjectID,
		"source_document_id": l.SourceDocumentID, "source_collection_id": l.SourceCollectionID, "path": l.Path} {
		if value != "" {
			lineage[name] = value
		}
	}
	for name, value := range lineage {
		if name != "path" {
			v[name] = value
		}
	}
	if len(l.Chain) > 0 {
		chain := make([]any, len(l.Chain))
		for i, id := range l.Chain {
			chain[i] = id
		}
		lineage["chain"] = chain
	}
	v["created_at"], v["updated_at"] = created, updated
	addFields(v, r.Payload)
	internal := map[string]any{"document_id": r.DocumentID, "collection_id": r.CollectionID, "created_at": created, "updated_at": updated, "lineage": lineage}
	if r.ContentHash != "" {
		internal["content_hash"] = r.ContentHash
	}
	if r.BatchID != "" {
		internal["batch_id"] = r.BatchID
	}
	addField(v, "metadata", r.Metadata)
	v["document_id"], v["collection_id"], v["_internal"] = r.DocumentID, r.CollectionID, internal
	return v
}

// addFields decodes a user's fields into a view; what cannot be decoded is left out.
func addFields(v map[string]any, fields map[string]json.RawMessage) {
	for name, raw := range fields {
		addField(v, name, raw)
	}
}

func addField(v map[string]any, name string, raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	if value, err := domain.DecodeValue(raw); err == nil {
		v[name] = value
	}
}

// stamp writes a time as the views show it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// searched says whether each word of a search is in some text of a view. Case is folded.
func searched(view map[string]any, words []string) bool {
	if len(words) == 0 {
		return true
	}
	var all strings.Builder
	collectText(&all, view)
	text := all.String()
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func searchWords(search string) []string { return strings.Fields(strings.ToLower(search)) }

func collectText(b *strings.Builder, v any) {
	switch x := v.(type) {
	case string:
		b.WriteString(strings.ToLower(x))
		b.WriteByte('\n')
	case []any:
		for _, e := range x {
			collectText(b, e)
		}
	case map[string]any:
		for _, e := range x {
			collectText(b, e)
		}
	}
}
