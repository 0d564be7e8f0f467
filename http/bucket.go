package http

import (
	"context"
	"encoding/json"

	"varve/commands"
	"varve/domain"
	"varve/projections"
)

var _ = noun("bucket", (*Server).bucketRoutes)

func (s *Server) bucketRoutes() {
	read := needs{Permission: "read", Resource: "bucket", Namespaced: true}
	write := needs{Permission: "write", Resource: "bucket", Namespaced: true}
	s.route("POST", "/v1/buckets", write, handle(s.createBucket))
	s.list("/v1/buckets", read, handle(s.listBuckets))
	s.route("GET", "/v1/buckets/{bucket_identifier}", read, handle(s.bucket))
	s.route("PUT", "/v1/buckets/{bucket_identifier}", write, handle(s.changeBucket))
	s.route("PATCH", "/v1/buckets/{bucket_identifier}", write, handle(s.changeBucket))
	s.route("DELETE", "/v1/buckets/{bucket_identifier}", needs{Permission: "delete", Resource: "bucket", Namespaced: true}, handle(s.deleteBucket))
}

type uniqueKeyWire struct {
	Fields        []string `json:"fields" validate:"required,min=1"`
	DefaultPolicy string   `json:"default_policy,omitempty" validate:"omitempty,oneof=insert update upsert"`
}

type bucketBody struct {
	Name        *string         `json:"bucket_name"`
	Description *string         `json:"description"`
	Schema      json.RawMessage `json:"bucket_schema"`
	UniqueKey   *uniqueKeyWire  `json:"unique_key"`
	Metadata    json.RawMessage `json:"metadata"`
}

func (b bucketBody) onto(k domain.Bucket) domain.Bucket {
	if b.Name != nil {
		k.Name = *b.Name
	}
	if b.Description != nil {
		k.Description = *b.Description
	}
	if given(b.Schema) {
		k.Schema = b.Schema
	}
	if given(b.Metadata) {
		k.Metadata = b.Metadata
	}
	if b.UniqueKey != nil {
		k.UniqueKey = &domain.UniqueKey{Fields: b.UniqueKey.Fields, DefaultPolicy: b.UniqueKey.DefaultPolicy}
	}
	return k
}

type bucketWire struct {
	BucketID       string          `json:"bucket_id"`
	Name           string          `json:"bucket_name"`
	Description    *string         `json:"description"`
	Schema         json.RawMessage `json:"bucket_schema,omitempty"`
	UniqueKey      *uniqueKeyWire  `json:"unique_key"`
	Metadata       json.RawMessage `json:"metadata"`
	ObjectCount    int             `json:"object_count"`
	FailedCount    int             `json:"failed_object_count"`
	TotalSizeBytes int64           `json:"total_size_bytes"`
	CreatedAt      wireTime        `json:"created_at"`
	UpdatedAt      wireTime        `json:"updated_at"`
	LastUploadAt   wireTime        `json:"last_upload_at"`
	Status         string          `json:"status"`
	IsLocked       bool            `json:"is_locked"`
	Warned
}

func bucketOut(b domain.Bucket, t projections.BucketTotals) *bucketWire {
	w := &bucketWire{
		BucketID: b.BucketID, Name: b.Name, Description: textOrNull(b.Description), Schema: b.Schema, Metadata: object(b.Metadata),
		ObjectCount: t.Objects, FailedCount: t.Failed, TotalSizeBytes: t.SizeBytes, CreatedAt: wireTime(b.Created.Time), UpdatedAt: wireTime(b.Updated.Time),
		LastUploadAt: wireTime(t.LastUpload), Status: "ACTIVE",
	}
	if b.UniqueKey != nil {
		w.UniqueKey = &uniqueKeyWire{b.UniqueKey.Fields, b.UniqueKey.DefaultPolicy}
	}
	return w
}

func (s *Server) createBucket(ctx context.Context, r *Request[bucketBody]) (any, error) {
	if r.Body.Name == nil {
		return nil, domain.Invalid("bucket_name", "missing", "a bucket needs a name")
	}
	if !given(r.Body.Schema) {
		return nil, domain.Invalid("bucket_schema", "missing", `a bucket needs a schema, for example {"properties": {"text": {"type": "text"}}}`)
	}
	b, err := s.Commands.SaveBucket(ctx, r.In(), commands.SaveBucket{Change: func(b domain.Bucket) (domain.Bucket, error) { return r.Body.onto(b), nil }})
	if err != nil {
		return nil, err
	}
	return tagged(bucketOut(b, projections.BucketTotals{}), b.Updated.Version), nil
}

// tagged adds the ETag that If-Match takes: the version of the configuration
// stream at which the resource last changed.
func tagged(body any, version uint64) *Response {
	return &Response{Body: body, Header: map[string][]string{"ETag": {`"` + utoa(version) + `"`}}}
}

// bucketAt pins the request's position and finds the bucket that its path names.
func (s *Server) bucketAt(ctx context.Context, c *Call) (projections.At, domain.Config, domain.Bucket, error) {
	identifier := c.Path("bucket_identifier")
	at, cfg, err := s.pin(ctx, c)
	if err != nil {
		return at, cfg, domain.Bucket{}, err
	}
	b, ok := cfg.Bucket(identifier)
	if !ok {
		return at, cfg, b, domain.NotFound("bucket", identifier)
	}
	return at, cfg, b, nil
}

func (s *Server) bucket(ctx context.Context, r *Request[None]) (any, error) {
	at, _, b, err := s.bucketAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.bucketNow(ctx, at, b)
}

func (s *Server) bucketNow(ctx context.Context, at projections.At, b domain.Bucket) (any, error) {
	totals, err := s.Objects.BucketTotals(ctx, at, b.BucketID)
	if err != nil {
		return nil, err
	}
	return tagged(bucketOut(b, totals), b.Updated.Version), nil
}

func (s *Server) changeBucket(ctx context.Context, r *Request[bucketBody]) (any, error) {
	force, err := r.QueryBool("force_schema_break", false)
	if err != nil {
		return nil, err
	}
	b, err := s.Commands.SaveBucket(ctx, r.In(), commands.SaveBucket{Identifier: r.Path("bucket_identifier"), Force: force,
		Change: func(b domain.Bucket) (domain.Bucket, error) { return r.Body.onto(b), nil }})
	if err != nil {
		return nil, err
	}
	at, _, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	return s.bucketNow(ctx, at, b)
}

func (s *Server) listBuckets(ctx context.Context, r *Request[listBody]) (any, error) {
	at, cfg, err := s.pinList(ctx, r)
	if err != nil {
		return nil, err
	}
	totals, err := s.Objects.Totals(ctx, at)
	if err != nil {
		return nil, err
	}
	answer, _, err := configList(r, cfg.Buckets, func(b domain.Bucket) *bucketWire { return bucketOut(b, totals[b.BucketID]) })
	return answer, err
}

func (s *Server) deleteBucket(ctx context.Context, r *Request[None]) (any, error) {
	at, cfg, err := s.pin(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	var totals projections.BucketTotals
	b, there := cfg.Bucket(r.Path("bucket_identifier")) // gone where the request is repeated under its idempotency key
	if there {
		if totals, err = s.Objects.BucketTotals(ctx, at, b.BucketID); err != nil {
			return nil, err
		}
	}
	id, err := s.Commands.DeleteBucket(ctx, r.In(), r.Path("bucket_identifier"))
	if err != nil {
		return nil, err
	}
	// The deletion is one append and is done; the task that the reference
	// promises has nothing left to do.
	return map[string]any{"bucket_id": id, "bucket_name": textOrNull(b.Name), "object_count": totals.Objects, "status": domain.StatusCompleted, "task_id": domain.DeriveID(domain.TaskPrefix, "delete", id), "message": "bucket and objects deleted",
		"success": true, "deleted_at": wireTime(s.Now())}, nil
}
