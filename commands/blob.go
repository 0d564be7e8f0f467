package commands

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"varve/domain"
	"varve/eventstore/blob"
)

// BlobInput is one blob as a client writes it: Data is JSON; a string in it is
// text, a URL, a data URI or base64, as the type says.
type BlobInput struct {
	Property string
	Type     string
	Data     json.RawMessage
	Checksum string // hex SHA-256 of the bytes, checked where given
	Metadata json.RawMessage
}

// maxInline is the most bytes of JSON or text that stay in the event itself.
const maxInline = 64 << 10

// TakeBlob brings a blob's bytes in, before the append that refers to them:
// small JSON and text stay inline, everything else lies synced in the blob
// store when it returns. path names the blob in errors.
func (h *Handler) TakeBlob(ctx context.Context, in In, path string, b BlobInput) (domain.Blob, error) {
	out := domain.Blob{BlobID: domain.NewID(domain.BlobPrefix, h.Entropy()), Property: b.Property, Type: b.Type, Metadata: b.Metadata}
	if in.IdempotencyKey != "" {
		out.BlobID = h.newID(in, domain.BlobPrefix, path)
	}
	kind := domain.FieldType(b.Type)
	if !slices.Contains(domain.BucketFieldTypes, kind) {
		return out, domain.Invalid(path+".type", "enum", "%q is not a type; allowed are %v", b.Type, domain.BucketFieldTypes)
	}
	if len(b.Data) == 0 {
		return out, domain.Invalid(path+".data", "missing", "a blob needs data: text, JSON, base64, a data URI or a URL")
	}
	var text string
	if json.Unmarshal(b.Data, &text) != nil { // not a string: any JSON
		return h.keep(ctx, in, path, out, b, bytes.NewReader(b.Data), "application/json")
	}
	lower := strings.ToLower(text)
	switch {
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"), strings.HasPrefix(lower, "data:"), strings.HasPrefix(lower, "file://"):
		source, err := h.Fetch.Open(ctx, text)
		if err == nil {
			defer source.Close()
			out.SourceURL = source.URL
			out, err = h.keep(ctx, in, path, out, b, source, source.MimeType)
		}
		return out, notFetched(path, err)
	case kind.IsBlob() && b.Type != "text":
		raw, err := blob.DecodeBase64(text)
		if err != nil {
			return out, domain.Invalid(path+".data", "base64", "data of type %s is base64, a data URI or a URL; this is none of them", b.Type)
		}
		return h.keep(ctx, in, path, out, b, bytes.NewReader(raw), "")
	}
	return h.keep(ctx, in, path, out, b, strings.NewReader(text), "text/plain")
}

// notFetched tells the client why a blob's bytes could not be had.
func notFetched(path string, err error) error {
	var failed *blob.FetchError
	if !errors.As(err, &failed) {
		return err
	}
	v := domain.Violation{Path: path + ".data", Type: "blob_not_fetched", Message: failed.Error()}
	return &domain.Error{Code: domain.CodeInvalid, Reason: v.Type, Message: v.Path + ": " + v.Message, Violations: []domain.Violation{v}, Err: err}
}

// keep puts bytes inline where they are small text or JSON, else into the blob store.
func (h *Handler) keep(ctx context.Context, in In, path string, out domain.Blob, b BlobInput, r io.Reader, mime string) (domain.Blob, error) {
	out.MimeType = mime
	head, err := io.ReadAll(io.LimitReader(r, maxInline+1))
	if err != nil {
		return out, err
	}
	if len(head) <= maxInline {
		inline := json.RawMessage(nil)
		switch {
		case strings.HasPrefix(mime, "application/json") && json.Valid(head):
			inline = head
		case (b.Type == "text" || strings.HasPrefix(mime, "text/")) && utf8.Valid(head):
			if inline, err = json.Marshal(string(head)); err != nil {
				return out, fmt.Errorf("keep blob %s: %w", b.Property, err)
			}
		}
		if inline != nil {
			sum := sha256.Sum256(head)
			out.Inline, out.Size = inline, int64(len(head))
			return out, checksum(path, b, "sha256:"+hex.EncodeToString(sum[:]))
		}
	}
	ref, err := h.Blobs.Put(ctx, in.OrganizationID, io.MultiReader(bytes.NewReader(head), r))
	if err != nil {
		return out, fmt.Errorf("keep blob %s: %w", b.Property, err)
	}
	out.Digest, out.Size = ref.Digest, ref.Size
	return out, checksum(path, b, ref.Digest)
}

func checksum(path string, b BlobInput, digest string) error {
	if b.Checksum != "" && !strings.EqualFold(strings.TrimPrefix(digest, "sha256:"), strings.TrimPrefix(b.Checksum, "sha256:")) {
		return domain.Invalid(path+".checksum", "checksum", "the bytes have %s", digest)
	}
	return nil
}
