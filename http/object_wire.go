package http

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"

	"varve/domain"
	"varve/projections"
)

// objectOut is ObjectResponse of the reference: the user's fields stand at the
// top level, those of the platform win where names collide.
func objectOut(o domain.Object, created, updated time.Time, status, failure string) map[string]any {
	w := map[string]any{}
	for name, v := range o.Fields {
		w[name] = v
	}
	blobs := []map[string]any{}
	for _, b := range o.Blobs {
		blob := map[string]any{"blob_id": b.BlobID, "property": b.Property, "type": b.Type,
			"details": map[string]any{"size_bytes": b.Size, "mime_type": textOrNull(b.MimeType), "hash": textOrNull(b.Digest), "filename": textOrNull(b.SourceURL)}}
		properties := map[string]json.RawMessage{}
		if b.Metadata != nil {
			_ = json.Unmarshal(b.Metadata, &properties)
		}
		if b.Inline != nil {
			properties["data"] = b.Inline
		}
		blob["properties"] = properties
		blobs = append(blobs, blob)
	}
	w["object_id"], w["bucket_id"], w["blobs"], w["status"] = o.ObjectID, o.BucketID, blobs, status
	w["key_prefix"], w["error"], w["document_count"] = textOrNull(o.KeyPrefix), textOrNull(failure), nil
	w["created_at"], w["updated_at"] = wireTime(created), wireTime(updated)
	if o.Metadata != nil {
		w["metadata"] = o.Metadata
	}
	if o.Edges != nil {
		w["edges"] = o.Edges
	}
	return w
}

// errorType is the reference's name of an error, as the envelope has it.
func errorType(err error) string {
	var e *domain.Error
	if errors.As(err, &e) {
		return codes[e.Code].name
	}
	return codes[domain.CodeInternal].name
}

// filter reads the list's filters, nil where there are none.
func (r *Request[B]) filter() (*domain.Filter, error) {
	raw, ok := r.Members["filters"]
	if v, inQuery := r.queryOne("filters"); inQuery && !ok {
		if !json.Valid([]byte(v)) {
			return nil, queryError("filters", "json", "is not JSON; write the filter as URL-encoded JSON")
		}
		return domain.ParseLiteralFilter("query.filters", json.RawMessage(v))
	}
	return domain.ParseLiteralFilter("filters", orAbsent(raw))
}

func (b listBody) sorts() []projections.Sort {
	sorts := []projections.Sort{}
	if b.Sort != nil {
		sorts = append(sorts, projections.Sort{Field: b.Sort.Field, Desc: b.Sort.Direction == "desc"})
	}
	for _, by := range b.Sorts {
		sorts = append(sorts, projections.Sort{Field: by.Field, Desc: by.Direction == "desc"})
	}
	return sorts
}

// decodeMember reads one object out of a body's list as a body of its own.
func decodeMember[B any](raw json.RawMessage, path string) (body B, extra map[string]json.RawMessage, err error) {
	n, err := parseBody(raw)
	if err != nil {
		return body, nil, err
	}
	if n == nil || n.kind != '{' {
		return body, nil, domain.Invalid(path, "object_type", "must be an object")
	}
	d := decoder{}
	v := reflect.ValueOf(&body).Elem()
	d.into(v, n, path)
	if len(d.wrong) == 0 {
		for _, wrong := range validate(v) {
			wrong.Path = path + "." + wrong.Path
			d.wrong = append(d.wrong, wrong)
		}
	}
	extra = map[string]json.RawMessage{}
	for _, m := range n.open().members {
		if slices.Contains(d.unknown, path+"."+m.name) {
			extra[m.name] = m.value.raw
		}
	}
	return body, extra, invalid(d.wrong)
}
