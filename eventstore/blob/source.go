package blob

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Redact shows a URL without credentials, query and fragment, for errors and logs.
func Redact(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.Opaque != "" {
		shown.Opaque = "…"
	}
	s := shown.String()
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

// secretQuery finds parameters that grant access: signatures, tokens, keys.
var secretQuery = regexp.MustCompile(`(?i)sig|token|key|secret|credential|passw|auth|^x-amz-|^x-goog-`)

// redactQuery shows a URL without credentials and fragment, and without query parameters that grant access.
func redactQuery(u *url.URL) string {
	shown := *u
	shown.User, shown.Fragment, shown.RawFragment = nil, "", ""
	query := shown.Query()
	for name := range query {
		if secretQuery.MatchString(name) {
			query.Del(name)
		}
	}
	if len(query) != len(shown.Query()) || strings.Contains(shown.RawQuery, ";") {
		shown.RawQuery = query.Encode()
	}
	return shown.String()
}

// openData reads data:[<type>][;base64],<data> (RFC 2397).
func (f *Fetcher) openData(rawURL string) (*Source, error) {
	deny := func(reason string) (*Source, error) {
		return nil, &FetchError{URL: "the data: URL", Reason: reason}
	}
	head, data, ok := strings.Cut(rawURL[len("data:"):], ",")
	if !ok {
		return deny("it has no comma before its data")
	}
	mime, isBase64 := cutBase64(head)
	var bytes []byte
	var err error
	if isBase64 {
		if strings.Contains(data, "%") {
			if data, err = url.PathUnescape(data); err != nil {
				return deny("its percent signs are not followed by two hex digits")
			}
		}
		if bytes, err = DecodeBase64(data); err != nil {
			return deny(err.Error())
		}
	} else {
		unescaped, err := url.PathUnescape(data)
		if err != nil {
			return deny("its percent signs are not followed by two hex digits")
		}
		bytes = []byte(unescaped)
	}
	if int64(len(bytes)) > f.o.MaxBytes {
		e := f.tooLarge(&url.URL{})
		e.URL = "the data: URL"
		return nil, e
	}
	switch {
	case mime == "" && isBase64:
		mime = http.DetectContentType(bytes)
	case mime == "":
		mime = "text/plain;charset=US-ASCII"
	case strings.HasPrefix(mime, ";"):
		mime = "text/plain" + mime
	}
	return &Source{ReadCloser: io.NopCloser(strings.NewReader(string(bytes))), MimeType: mime}, nil
}

func cutBase64(head string) (mime string, isBase64 bool) {
	i := strings.LastIndexByte(head, ';')
	if i >= 0 && strings.EqualFold(strings.TrimSpace(head[i+1:]), "base64") {
		return head[:i], true
	}
	return head, false
}

// DecodeBase64 reads standard and URL-safe base64, padded or not, with white space
// between. Its error is one sentence for the client.
func DecodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, " \t\r\n") {
		s = strings.Join(strings.Fields(s), "")
	}
	s = strings.TrimRight(s, "=")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	b, err := encoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("it is not valid base64")
	}
	return b, nil
}
