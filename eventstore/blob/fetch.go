package blob

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// FetchOptions limit what a Fetcher does for its callers; zero values are the stated ones.
type FetchOptions struct {
	MaxBytes     int64          // of one source; 512 MiB
	Timeout      time.Duration  // from the first connection to the last byte; 60 s
	MaxRedirects int            // 5; -1 for none
	AllowPrivate bool           // any address, loopback and private networks too
	Allow        []netip.Prefix // these addresses besides public ones
	Root         string         // directory below which file:// URLs may read; empty: none
}

// Fetcher reads the sources that URLs name: http, https, data, and file where it is
// allowed. Addresses are checked at each connection, after names were resolved, so
// neither redirects nor names can lead to private networks. Safe for concurrent use.
type Fetcher struct {
	o      FetchOptions
	client *http.Client
	root   *os.Root
}

// FetchError says why a source cannot be read, for the client: its URL has no
// credentials, query or fragment.
type FetchError struct {
	URL       string
	Reason    string
	Temporary bool // trying again later may help
	TooLarge  bool // more than MaxBytes
	Err       error
}

// Error names URL and reason.
func (e *FetchError) Error() string { return fmt.Sprintf("fetch %s: %s", e.URL, e.Reason) }

// Unwrap gives the cause, for the log.
func (e *FetchError) Unwrap() error { return e.Err }

// NewFetcher makes a Fetcher; it is an error if Root is not a directory.
func NewFetcher(o FetchOptions) (*Fetcher, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 512 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.MaxRedirects == 0 {
		o.MaxRedirects = 5
	}
	f := &Fetcher{o: o}
	if o.Root != "" {
		root, err := filepath.EvalSymlinks(o.Root)
		if err == nil {
			root, err = filepath.Abs(root)
		}
		if err != nil {
			return nil, fmt.Errorf("open the root of file sources: %w", err)
		}
		f.o.Root = root
		if f.root, err = os.OpenRoot(root); err != nil {
			return nil, fmt.Errorf("open the root of file sources: %w", err)
		}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: f.checkAddress()}
	f.client = &http.Client{
		CheckRedirect: f.checkRedirect,
		Transport: &http.Transport{ // no proxy: it would dial where the check does not see it
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
			ForceAttemptHTTP2: true, MaxIdleConns: 20, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return f, nil
}

// Close ends idle connections.
func (f *Fetcher) Close() error {
	f.client.CloseIdleConnections()
	if f.root != nil {
		return f.root.Close()
	}
	return nil
}

func (f *Fetcher) checkAddress() func(string, string, syscall.RawConn) error {
	if f.o.AllowPrivate {
		return nil
	}
	var v4, v6 []netip.Prefix
	for _, p := range f.o.Allow {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)).Safe
}

func (f *Fetcher) checkRedirect(next *http.Request, via []*http.Request) error {
	next.Header.Del("Referer") // the query of a signed URL is a credential
	switch {
	case len(via) > max(f.o.MaxRedirects, 0):
		return fmt.Errorf("it redirects more than %d times", max(f.o.MaxRedirects, 0))
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return fmt.Errorf("it redirects to a URL of scheme %q; only http and https are followed", next.URL.Scheme)
	case next.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errors.New("it redirects from https to http")
	}
	return nil
}

// Source is an open source. Reading more than MaxBytes of it gives a *FetchError.
type Source struct {
	io.ReadCloser
	MimeType string // as the server or the URL says, else as the bytes look
	URL      string // to be shown: without credentials; empty for data URLs
}

// Open begins to read what a URL names. The caller closes it. Errors are *FetchError.
func (f *Fetcher) Open(ctx context.Context, rawURL string) (*Source, error) {
	if strings.HasPrefix(strings.ToLower(rawURL), "data:") {
		return f.openData(rawURL)
	}
	u, err := url.Parse(strings.TrimSpace(rawURL))
	if err != nil {
		return nil, &FetchError{URL: "the URL", Reason: "it cannot be read as a URL"} // err repeats the URL, credentials included
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return f.openHTTP(ctx, u)
	case "file":
		return f.openFile(u)
	case "":
		return nil, &FetchError{URL: Redact(u), Reason: "it has no scheme; write http://, https:// or data:"}
	}
	return nil, &FetchError{URL: Redact(u), Reason: fmt.Sprintf("scheme %q is not supported; use http, https or data", u.Scheme)}
}

// Fetched is a source in the blob store.
type Fetched struct {
	Ref
	MimeType string
	URL      string // as Source.URL
}

// Fetch reads a source into a store. Errors are *FetchError, or the store's.
func (f *Fetcher) Fetch(ctx context.Context, s *Store, scope, rawURL string) (Fetched, error) {
	source, err := f.Open(ctx, rawURL)
	if err != nil {
		return Fetched{}, err
	}
	defer source.Close()
	ref, err := s.Put(ctx, scope, source)
	if err != nil {
		var fetch *FetchError
		if errors.As(err, &fetch) {
			return Fetched{}, fetch // not the store's fault
		}
		return Fetched{}, err
	}
	return Fetched{ref, source.MimeType, source.URL}, nil
}

func (f *Fetcher) openHTTP(ctx context.Context, u *url.URL) (*Source, error) {
	if u.Host == "" {
		return nil, &FetchError{URL: Redact(u), Reason: "it names no host"}
	}
	ctx, cancel := context.WithTimeout(ctx, f.o.Timeout)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel()
		return nil, &FetchError{URL: Redact(u), Reason: "it cannot be requested"}
	}
	r.Header.Set("User-Agent", "varve")
	answer, err := f.client.Do(r)
	if err != nil {
		cancel()
		return nil, f.explain(u, err)
	}
	fail := func(e *FetchError) (*Source, error) {
		answer.Body.Close()
		cancel()
		e.URL = Redact(u)
		return nil, e
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		temporary := answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
		return fail(&FetchError{Reason: fmt.Sprintf("the server answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)), Temporary: temporary})
	}
	if answer.ContentLength > f.o.MaxBytes {
		return fail(f.tooLarge(u))
	}
	body := &limited{f: f, u: u, r: answer.Body, left: f.o.MaxBytes, close: func() error { defer cancel(); return answer.Body.Close() }}
	return sniff(body, answer.Header.Get("Content-Type"), redactQuery(u))
}

func (f *Fetcher) openFile(u *url.URL) (*Source, error) {
	deny := func(reason string, err error) (*Source, error) {
		return nil, &FetchError{URL: Redact(u), Reason: reason, Err: err}
	}
	if f.root == nil {
		return deny("files of this machine are not read here; use http, https or data", nil)
	}
	if u.Host != "" && u.Host != "localhost" {
		return deny("it names another host; write file:///path", nil)
	}
	name, err := filepath.Rel(f.o.Root, filepath.FromSlash(u.Path))
	if err != nil || !filepath.IsLocal(name) {
		return deny("it is outside the directory that files may be read from", err)
	}
	file, err := f.root.Open(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return deny("the file does not exist", err)
		}
		return deny("the file cannot be opened, or it leads outside the directory that files may be read from", err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return deny("it is not a regular file", err)
	}
	if info.Size() > f.o.MaxBytes {
		file.Close()
		return nil, f.tooLarge(u)
	}
	return sniff(&limited{f: f, u: u, r: file, left: f.o.MaxBytes, close: file.Close}, "", Redact(u))
}

// limited reads a body up to the limit, and explains errors.
type limited struct {
	f     *Fetcher
	u     *url.URL
	r     io.Reader
	left  int64
	close func() error
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return 0, l.f.tooLarge(l.u)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = l.f.explain(l.u, err)
	}
	return n, err
}

func (l *limited) Close() error { return l.close() }

func (f *Fetcher) tooLarge(u *url.URL) *FetchError {
	return &FetchError{URL: Redact(u), Reason: fmt.Sprintf("it has more than %d bytes, which is the limit", f.o.MaxBytes), TooLarge: true}
}

// sniff takes the stated type, or looks at the first bytes where there is none that says anything.
func sniff(body *limited, stated, shown string) (*Source, error) {
	r := bufio.NewReaderSize(body, 512)
	mime := stated
	if mime == "" || strings.HasPrefix(mime, "application/octet-stream") {
		first, err := r.Peek(512)
		if err != nil && !errors.Is(err, io.EOF) {
			body.Close()
			return nil, err
		}
		mime = http.DetectContentType(first)
	}
	return &Source{ReadCloser: readCloser{r, body}, MimeType: mime, URL: shown}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// explain turns an error of the HTTP client into one that a client may read.
func (f *Fetcher) explain(u *url.URL, err error) *FetchError {
	e := &FetchError{URL: Redact(u), Err: err, Temporary: true}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort):
		e.Reason, e.Temporary = "its address is private, local or reserved, which is not allowed here", false
	case errors.Is(err, context.Canceled):
		e.Reason = "it was cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		e.Reason = fmt.Sprintf("it took too long (more than %s in all, or the server did not answer)", f.o.Timeout)
	case errors.As(err, &dns):
		e.Reason, e.Temporary = fmt.Sprintf("the host %q is not known", dns.Name), !dns.IsNotFound
	case errors.As(err, &certificate):
		e.Reason, e.Temporary = "its certificate cannot be verified", false
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Reason = "the connection ended in the middle"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Reason = "the connection was refused"
	case strings.HasPrefix(err.Error(), "it redirects"):
		e.Reason, e.Temporary = err.Error(), false
	default:
		e.Reason = "the connection failed"
		var op *net.OpError
		if !errors.As(err, &op) {
			e.Reason, e.Temporary = "the server's answer cannot be read", false
		}
	}
	return e
}
