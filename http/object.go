package http

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"varve/commands"
	"varve/domain"
	"varve/projections"
)

var _ = noun("object", (*Server).objectRoutes)

func (s *Server) objectRoutes() {
	read := needs{Permission: "read", Resource: "bucket", Operation: "read_data", Namespaced: true, Class: "data"}
	write := needs{Permission: "write", Resource: "bucket", Operation: "write_data", Namespaced: true, Class: "data"}
	remove := needs{Permission: "delete", Resource: "bucket", Operation: "delete_data", Namespaced: true, Class: "data"}
	const path = "/v1/buckets/{bucket_identifier}/objects"
	s.route("POST", path, write, handle(s.createObject))
	s.list(path, read, handle(s.listObjects))
	s.route("POST", path+"/batch", write, handle(s.createObjects))
	s.route("POST", path+"/bulk-soft-delete", remove, handle(s.deleteObjects))
	s.route("GET", path+"/{object_identifier}", read, handle(s.object))
	s.route("PUT", path+"/{object_identifier}", write, handle(s.replaceObject))
	s.route("PATCH", path+"/{object_identifier}", write, handle(s.patchObject))
	s.route("DELETE", path+"/{object_identifier}", remove, handle(s.deleteObject))
}

type blobBody struct {
	Property      string          `json:"property" validate:"required,min=1,max=100"`
	KeyPrefix     string          `json:"key_prefix"`
	Type          string          `json:"type" validate:"required"`
	Data          json.RawMessage `json:"data"`
	URL           string          `json:"url"`
	UploadID      string          `json:"upload_id"`
	Checksum      string          `json:"checksum"`
	Metadata      json.RawMessage `json:"metadata"`
	Canonicalize  *bool           `json:"canonicalize_source"`
	ForceRemirror *bool           `json:"force_remirror"`
}

type objectBody struct {
	KeyPrefix      string          `json:"key_prefix"`
	Blobs          []blobBody      `json:"blobs"`
	SkipDuplicates bool            `json:"skip_duplicates"`
	Canonicalize   *bool           `json:"canonicalize_source"`
	ForceRemirror  *bool           `json:"force_remirror"`
	Edges          json.RawMessage `json:"edges"`
	IdempotencyKey string          `json:"idempotency_key" validate:"max=255"`
	Metadata       json.RawMessage `json:"metadata"`
	AutoProcess    json.RawMessage `json:"auto_process"`
}

// input takes the blobs in and makes what the command wants. extra are the
// user's fields, which stand at the top level.
func (s *Server) input(ctx context.Context, c *Call, b objectBody, extra map[string]json.RawMessage, path string) (commands.ObjectInput, error) {
	in := commands.ObjectInput{KeyPrefix: b.KeyPrefix, Fields: extra, Metadata: orAbsent(b.Metadata), Edges: orAbsent(b.Edges),
		IdempotencyKey: b.IdempotencyKey, Policy: c.Query.Get("policy"), SkipDuplicates: b.SkipDuplicates}
	if b.AutoProcess != nil { // a field of the schema, or a query parameter in the wrong place
		cfg, _, err := s.config(ctx, c.namespaceLog())
		if err != nil {
			return in, err
		}
		if k, _ := cfg.Bucket(c.Path("bucket_identifier")); !k.Declares("auto_process") {
			return in, domain.Invalid(path+"auto_process", "extra_forbidden", "belongs in the query: ?auto_process=true")
		}
		in.Fields["auto_process"] = b.AutoProcess
	}
	if in.Policy != "" {
		if err := domain.CheckEnum("query.policy", in.Policy, "insert", "update", "upsert"); err != nil {
			return in, err
		}
	}
	if len(b.Blobs) > 0 {
		if repeated, err := s.Commands.Repeated(ctx, c.In()); repeated || err != nil {
			return in, err // the first request took them in
		}
	}
	for i, blob := range b.Blobs {
		at := fmt.Sprintf("%sblobs[%d]", path, i)
		if blob.UploadID != "" {
			return in, domain.Invalid(at+".upload_id", "unsupported", "uploads are not served yet; send the bytes in data, as base64 or as a URL")
		}
		if given(blob.Data) {
			blob.URL = "" // clients that have both mean the same
		}
		taken, err := s.Commands.TakeBlob(ctx, c.In(), at, commands.BlobInput{Property: blob.Property, Type: blob.Type, Data: orAbsent(blob.Data), URL: blob.URL, Checksum: blob.Checksum, Metadata: orAbsent(blob.Metadata)})
		if err != nil {
			return in, err
		}
		in.Blobs = append(in.Blobs, taken)
	}
	return in, nil
}

func (s *Server) createObject(ctx context.Context, r *Request[objectBody]) (any, error) {
	in, err := s.input(ctx, r.Call, r.Body, r.Extra(), "")
	if err != nil {
		return nil, err
	}
	saved, err := s.Commands.CreateObject(ctx, r.In(), r.Path("bucket_identifier"), in)
	if err != nil {
		return nil, err
	}
	w := objectOut(saved.Object, saved.Created.Time, saved.Updated.Time, domain.StatusPending, "")
	w["consistency"] = written()
	return w, s.autoProcess(ctx, r.Call, []string{saved.ObjectID})
}

// written says when a write can be seen: at once, since every read waits for
// the read models to reach the log's head.
func written() map[string]any {
	return map[string]any{"retriever_visible": "after_processing", "recommended_header": "Varve-Min-Position", "write_token_available": false}
}

// autoProcess makes and submits a batch of new objects where ?auto_process=true asks for it.
func (s *Server) autoProcess(ctx context.Context, c *Call, ids []string) error {
	wanted, err := c.QueryBool("auto_process", false)
	if err != nil || !wanted || len(ids) == 0 {
		return err
	}
	in := c.In()
	in.Operation += " auto_process"
	b, err := s.Commands.CreateBatch(ctx, in, c.Path("bucket_identifier"), commands.CreateBatch{ObjectIDs: ids})
	if err != nil {
		return err
	}
	in.Operation += " submit"
	_, err = s.Commands.SubmitBatch(ctx, in, b.BatchID)
	return err
}

type objectsBody struct {
	Objects     []json.RawMessage `json:"objects" validate:"required,max=100"`
	AutoProcess json.RawMessage   `json:"auto_process"`
}

// createObjects writes up to 100 objects: what is right is written, what is
// wrong is reported by index.
func (s *Server) createObjects(ctx context.Context, r *Request[objectsBody]) (any, error) {
	if r.Body.AutoProcess != nil {
		return nil, domain.Invalid("auto_process", "extra_forbidden", "belongs in the query: ?auto_process=true")
	}
	inputs := make([]commands.ObjectInput, len(r.Body.Objects))
	wrong := make([]error, len(r.Body.Objects))
	var good []commands.ObjectInput
	var indexes []int
	for i, raw := range r.Body.Objects {
		body, extra, err := decodeMember[objectBody](raw, fmt.Sprintf("objects[%d]", i))
		if err == nil {
			inputs[i], err = s.input(ctx, r.Call, body, extra, fmt.Sprintf("objects[%d].", i))
			inputs[i].Number = i
		}
		if wrong[i] = err; err == nil {
			good, indexes = append(good, inputs[i]), append(indexes, i)
		}
	}
	saved := make([]commands.SavedObject, len(inputs))
	if len(good) > 0 {
		s, errs, err := s.Commands.CreateObjects(ctx, r.In(), r.Path("bucket_identifier"), good)
		if err != nil {
			return nil, err
		}
		for j, i := range indexes {
			saved[i], wrong[i] = s[j], errs[j]
		}
	}
	succeeded, failed, ids := []map[string]any{}, []map[string]any{}, []string{}
	for i := range inputs {
		if wrong[i] != nil {
			if domain.CodeOf(wrong[i]) == domain.CodeInternal {
				return nil, wrong[i]
			}
			failed = append(failed, map[string]any{"object_index": i, "error": wrong[i].Error(), "error_type": errorType(wrong[i])})
			continue
		}
		w := objectOut(saved[i].Object, saved[i].Created.Time, saved[i].Updated.Time, domain.StatusPending, "")
		w["object_index"], w["replayed"] = i, saved[i].Replayed
		if saved[i].Replayed {
			w["replayed_by"] = "idempotency_key"
			if inputs[i].SkipDuplicates {
				w["replayed_by"] = "skip_duplicates"
			}
		}
		succeeded, ids = append(succeeded, w), append(ids, saved[i].ObjectID)
	}
	if err := s.autoProcess(ctx, r.Call, ids); err != nil {
		return nil, err
	}
	answer := map[string]any{"succeeded": succeeded, "failed": failed, "total_requested": len(inputs), "succeeded_count": len(succeeded), "failed_count": len(failed)}
	if len(failed) < len(inputs) || len(inputs) == 0 {
		return answer, nil
	}
	// The reference's 422 has the same shape; the members of an error are added to it.
	answer["success"], answer["status"], answer["request_id"] = false, 422, r.RequestID
	answer["error"] = envelopeError{Message: fmt.Sprintf("none of the %d objects was written; failed has the reasons", len(inputs)), Type: codes[domain.CodeInvalid].name, Code: "all_failed"}
	return &Response{Status: 422, Body: answer}, nil
}

func (s *Server) objectAt(ctx context.Context, c *Call) (projections.At, projections.ObjectRow, error) {
	at, _, b, err := s.bucketAt(ctx, c)
	if err != nil {
		return at, projections.ObjectRow{}, err
	}
	o, err := s.Objects.Object(ctx, at, b.BucketID, c.Path("object_identifier"))
	return at, o, err
}

func (s *Server) object(ctx context.Context, r *Request[None]) (any, error) {
	counted, err := r.QueryBool("include_document_count", true)
	if err != nil {
		return nil, err
	}
	return s.objectNow(ctx, r.Call, counted)
}

func (s *Server) objectNow(ctx context.Context, c *Call, counted bool) (any, error) {
	at, o, err := s.objectAt(ctx, c)
	if err != nil {
		return nil, err
	}
	w := objectOut(o.Object, o.Created, o.Updated, o.Status, o.Error)
	if !counted {
		return w, nil
	}
	documents, err := s.Documents.CountByObject(ctx, at, o.ObjectID)
	if err != nil {
		return nil, err
	}
	w["document_count"] = documents
	return w, nil
}

func (s *Server) listObjects(ctx context.Context, r *Request[listBody]) (any, error) {
	at, _, b, err := s.bucketAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	p, err := r.Page()
	if err != nil {
		return nil, err
	}
	filter, err := r.filter()
	if err != nil {
		return nil, err
	}
	page, err := s.Objects.List(ctx, at, projections.ObjectQuery{BucketID: b.BucketID, Filter: filter, Search: r.Body.Search, Sort: r.Body.sorts(),
		After: p.Cursor, Offset: p.Offset, Limit: p.Limit, Total: p.IncludeTotal})
	if err != nil {
		return nil, err
	}
	results := make([]map[string]any, len(page.Items))
	for i, o := range page.Items {
		results[i] = objectOut(o.Object, o.Created, o.Updated, o.Status, o.Error)
	}
	total := -1
	if page.Total != nil {
		total = *page.Total
	}
	return listed(p, results, page.Next, total), nil
}

// replaceObject is PUT, which in the reference keeps what is left out as PATCH
// does. Of metadata it takes each member: one that the object's metadata hold is
// changed there, any other is a field at the object's root.
func (s *Server) replaceObject(ctx context.Context, r *Request[objectBody]) (any, error) {
	var metadata map[string]json.RawMessage
	if given(r.Body.Metadata) {
		if err := json.Unmarshal(r.Body.Metadata, &metadata); err != nil {
			return nil, domain.Invalid("metadata", "object_type", "must be an object")
		}
	}
	if len(r.Body.Blobs) > 0 {
		return nil, domain.Invalid("blobs", "immutable", "PUT does not change blobs; use PATCH, or delete the object and create it again")
	}
	fields := r.Extra()
	if err := reserved(fields); err != nil {
		return nil, err
	}
	in, err := s.input(ctx, r.Call, r.Body, fields, "")
	if err != nil {
		return nil, err
	}
	return s.changeObject(ctx, r.Call, func(o domain.Object) (domain.Object, error) {
		var before map[string]json.RawMessage
		if o.Metadata != nil {
			if err := json.Unmarshal(o.Metadata, &before); err != nil {
				return o, fmt.Errorf("read metadata of %s: %w", o.ObjectID, err)
			}
		}
		inside, root := map[string]json.RawMessage{}, map[string]json.RawMessage{}
		for name, v := range metadata {
			if _, there := before[name]; there {
				inside[name] = v
			} else {
				root[name] = v
			}
		}
		if err := reserved(root); err != nil {
			return o, err
		}
		o.Fields = merged(merged(o.Fields, root), in.Fields)
		if in.KeyPrefix != "" {
			o.KeyPrefix = in.KeyPrefix
		}
		if len(inside) > 0 {
			var err error
			if o.Metadata, err = json.Marshal(merged(before, inside)); err != nil {
				return o, err
			}
		}
		return o, nil
	})
}

// reserved refuses changes of members that the platform fills in.
func reserved(fields map[string]json.RawMessage) error {
	for _, name := range []string{"object_id", "bucket_id", "status", "error", "created_at", "updated_at", "document_count", "consistency", "source_details"} {
		if _, named := fields[name]; named {
			return domain.Invalid(name, "reserved", "is a member of the platform and cannot be changed")
		}
	}
	return nil
}

// patchObject changes the fields that are given; null removes one. Blobs
// replace those of the same property.
func (s *Server) patchObject(ctx context.Context, r *Request[objectBody]) (any, error) {
	fields := r.Extra()
	if err := reserved(fields); err != nil {
		return nil, err
	}
	in, err := s.input(ctx, r.Call, r.Body, fields, "")
	if err != nil {
		return nil, err
	}
	return s.changeObject(ctx, r.Call, func(o domain.Object) (domain.Object, error) {
		o.Fields = merged(o.Fields, in.Fields)
		if in.KeyPrefix != "" {
			o.KeyPrefix = in.KeyPrefix
		}
		if in.Metadata != nil {
			o.Metadata = in.Metadata
		}
		kept := slices.DeleteFunc(slices.Clone(o.Blobs), func(before domain.Blob) bool {
			return slices.ContainsFunc(in.Blobs, func(b domain.Blob) bool { return b.Property == before.Property })
		})
		o.Blobs = append(kept, in.Blobs...)
		return o, nil
	})
}

// merged lays members over others; null removes one.
func merged(before, over map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(before)+len(over))
	for name, v := range before {
		out[name] = v
	}
	for name, v := range over {
		if string(v) == "null" {
			delete(out, name)
			continue
		}
		out[name] = v
	}
	return out
}

func (s *Server) changeObject(ctx context.Context, c *Call, change func(domain.Object) (domain.Object, error)) (any, error) {
	if _, err := s.Commands.ChangeObject(ctx, c.In(), c.Path("bucket_identifier"), c.Path("object_identifier"), change); err != nil {
		return nil, err
	}
	return s.objectNow(ctx, c, true)
}

func (s *Server) deleteObject(ctx context.Context, r *Request[None]) (any, error) {
	if err := s.Commands.DeleteObject(ctx, r.In(), r.Path("bucket_identifier"), r.Path("object_identifier"), r.Reason); err != nil {
		return nil, err
	}
	return NoContent(), nil
}

type deleteObjectsBody struct {
	ObjectIDs []string `json:"object_ids" validate:"required,min=1,max=5000"`
	Reason    string   `json:"reason" validate:"required,max=500"`
	State     string   `json:"lifecycle_state"`
	Source    string   `json:"source"`
}

func (s *Server) deleteObjects(ctx context.Context, r *Request[deleteObjectsBody]) (any, error) {
	deleted := 0
	for i, id := range r.Body.ObjectIDs {
		in := r.In()
		in.Operation += fmt.Sprintf(" %d", i)
		err := s.Commands.DeleteObject(ctx, in, r.Path("bucket_identifier"), id, r.Body.Reason)
		switch domain.CodeOf(err) {
		case "":
			deleted++
		case domain.CodeNotFound:
		default:
			return nil, err
		}
	}
	_, cfg, b, err := s.bucketAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return map[string]any{"soft_deleted": deleted, "requested": len(r.Body.ObjectIDs), "collections": len(cfg.DownstreamOf(b.BucketID))}, nil
}
