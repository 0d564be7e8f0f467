package commands

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"varve/domain"
	"varve/eventstore/blob"
)

// BlobInput is one blob as a client writes it. Data is JSON: a string is text,
// a URL, a data URI or base64, as the type says; an object of a blob type says
// which by its members (see described); any other JSON is kept as it is.
type BlobInput struct {
	Property string
	Type     string
	Data     json.RawMessage
	URL      string // instead of data: fetched whatever it looks like
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
	if b.URL != "" {
		return h.fetch(ctx, in, path, "url", b.URL, out, b)
	}
	if len(b.Data) == 0 {
		return out, domain.Invalid(path+".data", "missing", "a blob needs data: text, JSON, base64, a data URI or a URL")
	}
	var d described
	var text string
	isString := json.Unmarshal(b.Data, &text) == nil
	if !isString {
		if !kind.IsBlob() || b.Data[0] != '{' {
			return h.keep(ctx, in, path, out, b, bytes.NewReader(b.Data), "application/json")
		}
		if err := d.read(path+".data", b); err != nil {
			return out, err
		}
	}
	if d.Text != nil {
		text = *d.Text
	}
	switch {
	case d.URL != "":
		return h.fetch(ctx, in, path, "data.url", d.URL, out, b)
	case isString && isURL(text):
		return h.fetch(ctx, in, path, "data", text, out, b)
	case d.Base64 != nil:
		raw, err := blob.DecodeBase64(*d.Base64)
		if err != nil {
			return out, domain.Invalid(path+".data.base64", "base64", "is not valid base64")
		}
		return h.keep(ctx, in, path, out, b, bytes.NewReader(raw), d.MimeType)
	case kind.IsBlob() && b.Type != "text":
		raw, err := blob.DecodeBase64(text)
		if err != nil {
			return out, domain.Invalid(path+".data", "base64", "data of type %s is base64, a data URI or a URL; this is none of them", b.Type)
		}
		return h.keep(ctx, in, path, out, b, bytes.NewReader(raw), "")
	case b.Type == "text" && isString && hidesText(text):
		return out, domain.Invalid(path+".data", "base64", `is base64 of a text; send the text itself, or {"base64": …, "mime_type": "text/plain"}`)
	}
	return h.keep(ctx, in, path, out, b, strings.NewReader(text), "text/plain")
}

// described is a blob whose data are an object: exactly one of base64, url and
// text (the last for type text only).
type described struct {
	Base64   *string `json:"base64"`
	URL      string  `json:"url"`
	Text     *string `json:"text"`
	MimeType string  `json:"mime_type"`
}

func (d *described) read(path string, b BlobInput) error {
	if err := json.Unmarshal(b.Data, d); err != nil {
		return domain.Invalid(path, "type", "its members base64, url, text and mime_type are strings")
	}
	ways := 0
	for _, given := range []bool{d.Base64 != nil, d.URL != "", d.Text != nil && b.Type == "text"} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return domain.Invalid(path, "shape", `an object as data of type %s is one of {"base64": …, "mime_type": …}, {"url": …} and, for text, {"text": …}`, b.Type)
	}
	if d.MimeType == "" && b.Type == "text" {
		d.MimeType = "text/plain"
	}
	return nil
}

// isURL says whether a string names bytes that lie elsewhere.
func isURL(s string) bool {
	for _, scheme := range []string{"http://", "https://", "data:", "file://", "s3://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// hidesText says whether a string is the base64 of readable text: one word of
// at least 16 characters that decodes to printable UTF-8. A word that is meant
// as it stands decodes to such bytes about once in 100,000.
func hidesText(s string) bool {
	if len(s) < 16 || len(s)%4 != 0 || strings.ContainsAny(s, " \t\r\n-_") {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return false
	}
	return !strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}

func (h *Handler) fetch(ctx context.Context, in In, path, member, url string, out domain.Blob, b BlobInput) (domain.Blob, error) {
	source, err := h.Fetch.Open(ctx, url)
	if err == nil {
		defer source.Close()
		out.SourceURL = source.URL
		out, err = h.keep(ctx, in, path, out, b, source, source.MimeType)
	}
	return out, notFetched(path+"."+member, err)
}

// notFetched tells the client why a blob's bytes could not be had.
func notFetched(path string, err error) error {
	var failed *blob.FetchError
	if !errors.As(err, &failed) {
		return err
	}
	v := domain.Violation{Path: path, Type: "blob_not_fetched", Message: failed.Error()}
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
