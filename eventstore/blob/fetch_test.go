package blob

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func fetcher(t testing.TB, o FetchOptions) *Fetcher {
	t.Helper()
	f, err := NewFetcher(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// readAll opens a URL and reads it to the end.
func readAll(t testing.TB, f *Fetcher, rawURL string) (body, mime, shown string, err error) {
	t.Helper()
	s, err := f.Open(t.Context(), rawURL)
	if err != nil {
		return "", "", "", err
	}
	defer s.Close()
	b, err := io.ReadAll(s)
	return string(b), s.MimeType, s.URL, err
}

func server(t testing.TB, routes map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range routes {
		mux.HandleFunc(path, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

func TestFetchHTTP(t *testing.T) {
	var referer string
	s := server(t, map[string]http.HandlerFunc{
		"/text": func(w http.ResponseWriter, r *http.Request) {
			referer = r.Referer()
			user, pass, _ := r.BasicAuth()
			fmt.Fprint(w, "hello ", user, pass)
		},
		"/png": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			fmt.Fprint(w, "\x89PNG\x0D\x0A\x1A\x0A")
		},
		"/empty": func(http.ResponseWriter, *http.Request) {},
		"/hop":   redirect("/text"),
	})
	f := fetcher(t, FetchOptions{AllowPrivate: true})
	host := strings.TrimPrefix(s.URL, "http://")
	for _, c := range []struct{ url, body, mime, shown string }{
		{s.URL + "/text", "hello ", "text/plain; charset=utf-8", s.URL + "/text"},
		{s.URL + "/hop?X-Amz-Signature=abc&v=1#f", "hello ", "text/plain; charset=utf-8", s.URL + "/hop?v=1"},
		{"http://me:pw@" + host + "/text", "hello mepw", "text/plain; charset=utf-8", s.URL + "/text"},
		{s.URL + "/png", "\x89PNG\x0D\x0A\x1A\x0A", "image/png", s.URL + "/png"},
		{s.URL + "/empty", "", "text/plain; charset=utf-8", s.URL + "/empty"},
	} {
		body, mime, shown, err := readAll(t, f, c.url)
		if err != nil || body != c.body || mime != c.mime || shown != c.shown {
			t.Errorf("%s: %q, %q, %q, %v", c.url, body, mime, shown, err)
		}
	}
	if referer != "" {
		t.Errorf("the server behind a redirect is told %q", referer)
	}
}

// Every refusal names the URL without its secrets, and why.
func TestFetchRefuses(t *testing.T) {
	stall := make(chan struct{})
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	tls.Config.ErrorLog = nil
	s := server(t, map[string]http.HandlerFunc{
		"/missing": http.NotFound,
		"/busy":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"/big":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 101)) },
		"/stream": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			fmt.Fprint(w, strings.Repeat("x", 101))
		},
		"/loop":     redirect("/loop"),
		"/file":     redirect("file:///etc/passwd"),
		"/metadata": redirect("http://169.254.169.254/latest/meta-data/"),
		"/loopback": redirect("http://127.0.0.2:1/"),
		"/v6":       redirect("http://[::1]:1/"),
		"/mapped":   redirect("http://[::ffff:10.0.0.1]:1/"),
		"/cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			fmt.Fprint(w, "x")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"/slow": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		},
	})
	defer close(stall)
	only := netip.MustParsePrefix("127.0.0.1/32")
	open := fetcher(t, FetchOptions{MaxBytes: 100, Allow: []netip.Prefix{only}})
	strict := fetcher(t, FetchOptions{})
	quick := fetcher(t, FetchOptions{AllowPrivate: true, Timeout: 50 * time.Millisecond})
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	for _, c := range []struct {
		f                *Fetcher
		url, want        string
		temporary, large bool
	}{
		{open, s.URL + "/missing", "404 Not Found", false, false},
		{open, s.URL + "/busy", "503 Service Unavailable", true, false},
		{open, s.URL + "/big", "more than 100 bytes", false, true},
		{open, s.URL + "/stream", "more than 100 bytes", false, true},
		{open, s.URL + "/loop", "redirects more than 5 times", false, false},
		{open, s.URL + "/file", `scheme "file"`, false, false},
		{open, s.URL + "/metadata", "private, local or reserved", false, false},
		{open, s.URL + "/loopback", "private, local or reserved", false, false},
		{open, s.URL + "/v6", "private, local or reserved", false, false},
		{open, s.URL + "/mapped", "private, local or reserved", false, false},
		{open, s.URL + "/cut", "ended in the middle", true, false},
		{open, tls.URL, "certificate", false, false},
		{quick, s.URL + "/slow", "too long", true, false},
		{strict, s.URL + "/missing", "private, local or reserved", false, false},
		{strict, "http://localhost:" + port + "/missing", "private, local or reserved", false, false},
		{strict, "http://0.0.0.0:" + port, "private, local or reserved", false, false},
		{strict, "http://2130706433:" + port, "", true, false}, // not taken for 127.0.0.1, or refused as it
		{open, "http://127.0.0.1:1/x", "refused", true, false},
		{open, "ftp://h/x", `scheme "ftp" is not supported`, false, false},
		{open, "s3://bucket/key", `scheme "s3"`, false, false},
		{open, "javascript:alert", `scheme "javascript"`, false, false},
		{open, "/etc/passwd", "no scheme", false, false},
		{open, "http:///x", "no host", false, false},
		{open, "http://me:s3cret@h:x/", "cannot be read as a URL", false, false},
		{open, "file:///etc/passwd", "not read here", false, false},
		{open, "data:text/plain", "no comma", false, false},
		{open, "data:;base64,a$", "not valid base64", false, false},
		{open, "data:,%zz", "percent", false, false},
		{open, "data:," + strings.Repeat("x", 101), "more than 100 bytes", false, true},
	} {
		secret := strings.Replace(c.url, "http://127", "http://me:s3cret@127", 1)
		if u, err := url.Parse(secret); err == nil && u.Scheme == "http" {
			secret += "?token=s3cret"
		}
		_, _, _, err := readAll(t, c.f, secret)
		var e *FetchError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if !strings.Contains(e.Reason, c.want) || c.want != "" && (e.Temporary != c.temporary || e.TooLarge != c.large) {
			t.Errorf("%s: %+v, want %q", c.url, e, c.want)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a secret in %q", c.url, err)
		}
		if host := strings.Split(c.url, "/"); len(host) > 2 && host[0] == "http:" && host[2] != "" && !strings.Contains(c.url, "@") && !strings.Contains(err.Error(), host[2]) {
			t.Errorf("%s: not named in %q", c.url, err)
		}
	}
}

func TestFetchIntoAStore(t *testing.T) {
	s := server(t, map[string]http.HandlerFunc{
		"/ok": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"/big": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			fmt.Fprint(w, strings.Repeat("x", 10_000))
		},
	})
	store := open(t, t.TempDir(), Options{})
	f := fetcher(t, FetchOptions{AllowPrivate: true, MaxBytes: 5000})
	got, err := f.Fetch(ctx, store, "org_a", s.URL+"/ok")
	if err != nil || got.Ref != (Ref{digestOf("hello"), 5}) || got.URL != s.URL+"/ok" {
		t.Fatalf("%+v, %v", got, err)
	}
	if b, err := store.Read(ctx, "org_a", got.Digest); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	var e *FetchError
	if _, err := f.Fetch(ctx, store, "org_a", s.URL+"/big"); !errors.As(err, &e) || !e.TooLarge {
		t.Errorf("%v", err)
	}
	if n := len(files(t, store.driver.(*directory).root)); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestDataURLs(t *testing.T) {
	f := fetcher(t, FetchOptions{})
	for in, want := range map[string][2]string{
		"data:,A%20brief%20note":                       {"A brief note", "text/plain;charset=US-ASCII"},
		"data:text/html;charset=utf-8,%3Cb%3E,x":       {"<b>,x", "text/html;charset=utf-8"},
		"data:;charset=utf-8,x":                        {"x", "text/plain;charset=utf-8"},
		"DATA:image/gif;base64,R0lGODdhAQABAA==":       {"GIF87a\x01\x00\x01\x00", "image/gif"},
		"data:;base64,R0lGODdhAQABAA":                  {"GIF87a\x01\x00\x01\x00", "image/gif"},
		"data:a/b;base64,_-8%3D":                       {"\xff\xef", "a/b"},
		"data:application/json;base64,eyJh\nIjox fQ==": {`{"a":1}`, "application/json"},
		"data:text/plain;base64,":                      {"", "text/plain"},
	} {
		body, mime, shown, err := readAll(t, f, in)
		if err != nil || body != want[0] || mime != want[1] || shown != "" {
			t.Errorf("%s: %q, %q, %q, %v", in, body, mime, shown, err)
		}
	}
}

func TestFilesOnlyBelowTheRoot(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "secret"), "secret")
	write(filepath.Join(root, "a b.json"), `{"a":1}`)
	write(filepath.Join(root, "big"), strings.Repeat("x", 101))
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	f := fetcher(t, FetchOptions{Root: root, MaxBytes: 100})
	body, _, shown, err := readAll(t, f, "file://"+root+"/a%20b.json")
	if err != nil || body != `{"a":1}` || shown != "file://"+root+"/a%20b.json" {
		t.Errorf("%q, %q, %v", body, shown, err)
	}
	for name, want := range map[string]string{
		root + "/nothing": "does not exist", root + "/link": "leads outside", root: "not a regular file", root + "/../x": "outside",
		outside + "/secret": "outside", root + "/%2e%2e/x": "outside", root + "/big": "more than 100 bytes",
	} {
		_, _, _, err := readAll(t, f, "file://"+name)
		var e *FetchError
		if !errors.As(err, &e) || !strings.Contains(e.Reason, want) || e.Temporary {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, _, _, err := readAll(t, f, "file://elsewhere"+root+"/a"); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("%v", err)
	}
	if _, err := NewFetcher(FetchOptions{Root: root + "/nothing"}); err == nil {
		t.Error("a root that is not there")
	}
}

func FuzzOpenData(f *testing.F) {
	f.Add("data:;base64,R0lGODdh")
	f.Add("data:text/plain;charset=utf-8,%41")
	fetch := fetcher(f, FetchOptions{MaxBytes: 1000})
	f.Fuzz(func(t *testing.T, s string) {
		body, mime, _, err := readAll(t, fetch, "data:"+s)
		if err == nil && (mime == "" || len(body) > 1000) {
			t.Fatalf("%q: %d bytes of %q", s, len(body), mime)
		}
		var e *FetchError
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
	})
}
