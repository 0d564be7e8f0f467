package vector

import (
	"encoding/json"

	"varve/domain"
)

// Fields gives what a filter sees of a document: the user's fields at the root
// and, over them, what Varve knows: document_id, collection_id, metadata,
// batch_id, content_hash and the members of the lineage (root_object_id,
// source_type, …). Values that DecodeValue refuses are left out.
func Fields(d domain.Document) map[string]any {
	raw := RawFields(d)
	doc := make(map[string]any, len(raw))
	for name, value := range raw {
		if v, err := domain.DecodeValue(value); err == nil {
			doc[name] = v
		}
	}
	return doc
}

// RawFields is Fields with the values as they are written.
func RawFields(d domain.Document) map[string]json.RawMessage {
	raw := make(map[string]json.RawMessage, len(d.Payload)+10)
	for name, value := range d.Payload {
		if len(value) > 0 {
			raw[name] = value
		}
	}
	if len(d.Metadata) > 0 {
		raw["metadata"] = d.Metadata
	}
	for _, known := range [...]struct{ name, value string }{
		{"document_id", d.DocumentID}, {"collection_id", d.CollectionID}, {"batch_id", d.BatchID}, {"content_hash", d.ContentHash},
		{"root_object_id", d.Lineage.RootObjectID}, {"root_bucket_id", d.Lineage.RootBucketID}, {"source_type", d.Lineage.SourceType},
		{"source_object_id", d.Lineage.SourceObjectID}, {"source_document_id", d.Lineage.SourceDocumentID},
		{"source_collection_id", d.Lineage.SourceCollectionID}, {"lineage_path", d.Lineage.Path},
	} {
		if known.value != "" {
			raw[known.name] = domain.EncodeValue(known.value)
		}
	}
	return raw
}
