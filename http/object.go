package http

import (
	"context"
	"encoding/json"
	"fmt"

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
	if given(b.AutoProcess) {
		in.Fields["auto_process"] = b.AutoProcess // a field of the schema, or refused by it
	}
	if in.Policy != "" {
		if err := domain.CheckEnum("query.policy", in.Policy, "insert", "update", "upsert"); err != nil {
			return in, err
		}
	}
	for i, blob := range b.Blobs {
		at := fmt.Sprintf("%sblobs[%d]", path, i)
		if blob.UploadID != "" {
			return in, domain.Invalid(at+".upload_id", "unsupported", "uploads are not served yet; send the bytes in data, as base64 or as a URL")
		}
		if blob.URL != "" && !given(blob.Data) {
			blob.Data, _ = json.Marshal(blob.URL)
		}
		taken, err := s.Commands.TakeBlob(ctx, c.In(), at, commands.BlobInput{Property: blob.Property, Type: blob.Type, Data: orAbsent(blob.Data), Checksum: blob.Checksum, Metadata: orAbsent(blob.Metadata)})
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
	Objects []json.RawMessage `json:"objects" validate:"required,max=100"`
}

// createObjects writes up to 100 objects: what is right is written, what is
// wrong is reported by index.
func (s *Server) createObjects(ctx context.Context, r *Request[objectsBody]) (any, error) {
	inputs := make([]commands.ObjectInput, len(r.Body.Objects))
	wrong := make([]error, len(r.Body.Objects))
	var good []commands.ObjectInput
	var indexes []int
	for i, raw := range r.Body.Objects {
		body, extra, err := decodeMember[objectBody](raw, fmt.Sprintf("objects[%d]", i))
		if err == nil {
			inputs[i], err = s.input(ctx, r.Call, body, extra, fmt.Sprintf("objects[%d].", i))
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
	return map[string]any{"succeeded": succeeded, "failed": failed, "total_requested": len(inputs), "succeeded_count": len(succeeded), "failed_count": len(failed)}, nil
}

func (s *Server) objectAt(ctx context.Context, c *Call) (projections.At, projections.ObjectRow, error) {
	at, _, b, err := s.bucketAt(ctx, c, "bucket_identifier")
	if err != nil {
		return at, projections.ObjectRow{}, err
	}
	o, err := s.Objects.Object(ctx, at, b.BucketID, c.Path("object_identifier"))
	return at, o, err
}

func (s *Server) object(ctx context.Context, r *Request[None]) (any, error) {
	return s.objectNow(ctx, r.Call)
}

func (s *Server) objectNow(ctx context.Context, c *Call) (any, error) {
	at, o, err := s.objectAt(ctx, c)
	if err != nil {
		return nil, err
	}
	documents, err := s.Documents.ByObject(ctx, at, o.ObjectID, nil)
	if err != nil {
		return nil, err
	}
	w := objectOut(o.Object, o.Created, o.Updated, o.Status, o.Error)
	w["document_count"] = len(documents)
	return w, nil
}

func (s *Server) listObjects(ctx context.Context, r *Request[listBody]) (any, error) {
	at, _, b, err := s.bucketAt(ctx, r.Call, "bucket_identifier")
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

func (s *Server) replaceObject(ctx context.Context, r *Request[objectBody]) (any, error) {
	in, err := s.input(ctx, r.Call, r.Body, r.Extra(), "")
	if err != nil {
		return nil, err
	}
	return s.changeObject(ctx, r.Call, func(o domain.Object) (domain.Object, error) {
		o.Fields, o.KeyPrefix = in.Fields, in.KeyPrefix
		if in.Metadata != nil {
			o.Metadata = in.Metadata
		}
		if in.Blobs != nil {
			o.Blobs = in.Blobs
		}
		return o, nil
	})
}

// patchObject changes the fields that are given; null removes one. Blobs
// replace those of the same property.
func (s *Server) patchObject(ctx context.Context, r *Request[objectBody]) (any, error) {
	in, err := s.input(ctx, r.Call, r.Body, r.Extra(), "")
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
		for _, b := range in.Blobs {
			kept := []domain.Blob{}
			for _, before := range o.Blobs {
				if before.Property != b.Property {
					kept = append(kept, before)
				}
			}
			o.Blobs = append(kept, b)
		}
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
	return s.objectNow(ctx, c)
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
	_, cfg, b, err := s.bucketAt(ctx, r.Call, "bucket_identifier")
	if err != nil {
		return nil, err
	}
	return map[string]any{"soft_deleted": deleted, "requested": len(r.Body.ObjectIDs), "collections": len(cfg.DownstreamOf(b.BucketID))}, nil
}
