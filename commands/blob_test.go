package commands

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"varve/domain"
	"varve/eventstore/blob"
)

// TestTakeBlob gives one text, and one picture, in every form that the reference has for it.
func TestTakeBlob(t *testing.T) {
	const text = "The lift of a thin wing follows from linear theory."
	picture := []byte("\x89PNG\r\n\x1a\nnot really a picture")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".png") {
			w.Header().Set("Content-Type", "image/png")
			w.Write(picture)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Write([]byte(text))
	}))
	t.Cleanup(web.Close)
	store, err := blob.Open(t.Context(), t.TempDir(), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fetch, err := blob.NewFetcher(blob.FetchOptions{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fetch.Close(); _ = store.Close() })
	h := &Handler{Blobs: store, Fetch: fetch, Entropy: func() (b [16]byte) { _, _ = rand.Read(b[:]); return b }}

	text64, picture64 := base64.StdEncoding.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString(picture)
	for _, c := range []struct {
		name, kind, data string
		want             string // the bytes; for inline JSON as it is
		mime             string
		refused          string // instead: the path, and a part of the message
	}{
		{name: "plain text", kind: "text", data: quoted(text), want: text, mime: "text/plain"},
		{name: "a text object", kind: "text", data: `{"text":` + quoted(text) + `}`, want: text, mime: "text/plain"},
		{name: "a base64 object", kind: "text", data: fmt.Sprintf(`{"base64":%q,"mime_type":"text/plain"}`, text64), want: text, mime: "text/plain"},
		{name: "a base64 object without a type", kind: "text", data: fmt.Sprintf(`{"base64":%q}`, text64), want: text, mime: "text/plain"},
		{name: "a URL", kind: "text", data: quoted(web.URL + "/a.txt"), want: text, mime: "text/plain"},
		{name: "a URL object", kind: "text", data: `{"url":` + quoted(web.URL+"/a.txt") + `}`, want: text, mime: "text/plain"},
		{name: "a data URI", kind: "text", data: quoted("data:text/plain;base64," + text64), want: text, mime: "text/plain"},
		{name: "a picture in base64", kind: "image", data: quoted(picture64), want: string(picture)},
		{name: "a picture as an object", kind: "image", data: fmt.Sprintf(`{"base64":%q,"mime_type":"image/png","filename":"p.png"}`, picture64), want: string(picture), mime: "image/png"},
		{name: "a picture behind a URL", kind: "image", data: `{"url":` + quoted(web.URL+"/p.png") + `}`, want: string(picture), mime: "image/png"},
		{name: "a word that could be base64", kind: "text", data: `"supersonicflight"`, want: "supersonicflight", mime: "text/plain"},
		{name: "an object of the user's", kind: "object", data: `{"url":"http://nowhere.invalid/","n":1}`, want: `{"url":"http://nowhere.invalid/","n":1}`, mime: "application/json"},
		{name: "a list", kind: "array", data: `[1,2]`, want: `[1,2]`, mime: "application/json"},

		{name: "text hidden in base64", kind: "text", data: quoted(text64), refused: "data: is base64 of a text"},
		{name: "no base64", kind: "image", data: `"%%%"`, refused: "data: data of type image"},
		{name: "no base64 in an object", kind: "image", data: `{"base64":"%%%"}`, refused: "data.base64: is not valid"},
		{name: "two ways", kind: "text", data: `{"base64":"aGk=","url":"http://a/"}`, refused: "data: an object as data"},
		{name: "no way", kind: "image", data: `{"path":"x"}`, refused: "data: an object as data"},
		{name: "a text for a picture", kind: "image", data: `{"text":"x"}`, refused: "data: an object as data"},
		{name: "a number as base64", kind: "image", data: `{"base64":1}`, refused: "data: its members"},
		{name: "an address of S3", kind: "text", data: `"s3://bucket/key"`, refused: `scheme "s3"`},
		{name: "an unknown type", kind: "hologram", data: `"x"`, refused: "type: \"hologram\""},
		{name: "nothing", kind: "text", data: ``, refused: "data: a blob needs data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := h.TakeBlob(context.Background(), In{OrganizationID: "org_a"}, "blobs[0]", BlobInput{Property: "p", Type: c.kind, Data: json.RawMessage(c.data)})
			if c.refused != "" {
				if domain.CodeOf(err) != domain.CodeInvalid || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want a refusal with %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := string(b.Inline)
			if b.Digest != "" {
				raw, err := store.Read(t.Context(), "org_a", b.Digest)
				if err != nil {
					t.Fatal(err)
				}
				got = string(raw)
			} else if b.MimeType != "application/json" {
				var s string
				if err := json.Unmarshal(b.Inline, &s); err != nil {
					t.Fatal(err)
				}
				got = s
			}
			if got != c.want || b.MimeType != c.mime || b.Size != int64(len(c.want)) {
				t.Errorf("got %q of type %q, %d bytes; want %q of type %q", got, b.MimeType, b.Size, c.want, c.mime)
			}
		})
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
