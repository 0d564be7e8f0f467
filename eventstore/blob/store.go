// Package blob keeps bytes by their digest, apart for each organization: source
// files, uploads, big payloads, packed attachments. And it fetches source files
// from URLs.
//
// A blob is written and synced before the append that refers to it, so a record
// never names bytes that are not there; what no record names is swept a day later.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Ref names a blob inside its scope.
type Ref struct {
	Digest string // "sha256:" and 64 hex digits
	Size   int64  // bytes
}

// Errors of a store; test with errors.Is.
var (
	// ErrNotFound says that a scope has no blob of a digest.
	ErrNotFound = errors.New("blob does not exist")
	// ErrDamaged says that a blob's bytes do not have its digest.
	ErrDamaged = errors.New("blob is damaged: its bytes have another digest")
)

const digestPrefix = "sha256:"

// Store is a content-addressed store. A scope is an organization's id, or a word
// for what belongs to none; equal bytes in two scopes are two blobs. Safe for
// concurrent use; a directory belongs to one process at a time.
type Store struct {
	driver driver
	now    func() time.Time
	// finish is held for reading while a blob gets its name, for writing while the sweeper
	// looks at one and removes it, so that no blob is removed that was just put again.
	finish sync.RWMutex
	recent recent // packed attachments
}

// driver is where the bytes lie: a directory, or a bucket of some service.
type driver interface {
	// put keeps what r gives under the name that its digest decides, whole or
	// not at all; afterwards it is durable, and as old as this call. finish brackets
	// the step that gives the name.
	put(ctx context.Context, r io.Reader, name func(sum []byte) string, finish func(func() error) error) (sum []byte, size int64, err error)
	open(ctx context.Context, name string) (io.ReadCloser, error)       // ErrNotFound
	stat(ctx context.Context, name string) (entry, error)               // ErrNotFound
	remove(ctx context.Context, name string) error                      // nil where there is none
	list(ctx context.Context, each func(entry) error) error             // all blobs, in no order
	leftovers(ctx context.Context, before time.Time) (n int, err error) // removes abandoned temporary files
	close() error
}

// entry is a blob as its driver lists it.
type entry struct {
	name     string
	size     int64
	modified time.Time
}

// Options of a store; the zero value is right.
type Options struct {
	Now func() time.Time
	// Hook, in tests, is called before and after each step of writing to a
	// directory, with the step's name; its error takes the place of the step's.
	Hook func(point string) error
	// ReadOnly says that nothing will be written: a bucket is opened with credentials that may only read.
	ReadOnly bool
}

// Open gives the store in a directory, which it makes, or behind a URL: file:///path,
// mem://, s3://bucket?region=… (Go CDK's parameters; credentials from the standard AWS
// environment). A bucket that is missing, refuses, or does not answer is an error of one
// line, without secrets, after 15 s at the latest. Later, errors of the service are
// eventstore.ErrBlobsUnavailable.
func Open(ctx context.Context, location string, o Options) (*Store, error) {
	s := &Store{now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	switch scheme, rest, isURL := strings.Cut(location, "://"); {
	case !isURL:
		s.driver, err = openDirectory(location, o.Hook)
	case scheme == "file":
		s.driver, err = openDirectory(rest, o.Hook)
	default:
		s.driver, err = openBucket(ctx, location, o)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return s, nil
}

// Close ends the use of the store.
func (s *Store) Close() error { return s.driver.close() }

// Put keeps what r gives and says how it is found again. When it returns, the bytes
// are durable; when it fails, nothing is there under that digest that was not before.
// Putting equal bytes again is the same as putting them once.
func (s *Store) Put(ctx context.Context, scope string, r io.Reader) (Ref, error) {
	if err := checkScope(scope); err != nil {
		return Ref{}, err
	}
	name := func(sum []byte) string { return nameOf(scope, hex.EncodeToString(sum)) }
	finish := func(do func() error) error {
		s.finish.RLock()
		defer s.finish.RUnlock()
		return do()
	}
	sum, size, err := s.driver.put(ctx, contextReader{ctx, r}, name, finish)
	if err != nil {
		return Ref{}, fmt.Errorf("put blob: %w", err)
	}
	return Ref{digestPrefix + hex.EncodeToString(sum), size}, nil
}

// Get opens a blob. Reading to its end gives ErrDamaged instead of io.EOF if the
// bytes do not have the digest. The caller closes it.
func (s *Store) Get(ctx context.Context, scope, digest string) (io.ReadCloser, error) {
	name, err := locate(scope, digest)
	if err != nil {
		return nil, err
	}
	r, err := s.driver.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", digest, err)
	}
	return &verifier{ReadCloser: r, sum: sha256.New(), digest: digest}, nil
}

// Read gives all bytes of a blob, checked.
func (s *Store) Read(ctx context.Context, scope, digest string) ([]byte, error) {
	r, err := s.Get(ctx, scope, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Exists says whether a blob is there.
func (s *Store) Exists(ctx context.Context, scope, digest string) (bool, error) {
	name, err := locate(scope, digest)
	if err != nil {
		return false, err
	}
	switch _, err := s.driver.stat(ctx, name); {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for blob %s: %w", digest, err)
	}
	return true, nil
}

// Delete removes a blob at once: erasure. A blob that is not there is no error.
func (s *Store) Delete(ctx context.Context, scope, digest string) error {
	name, err := locate(scope, digest)
	if err != nil {
		return err
	}
	if err := s.driver.remove(ctx, name); err != nil {
		return fmt.Errorf("delete blob %s: %w", digest, err)
	}
	return nil
}

var (
	scopes  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	digests = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func checkScope(scope string) error {
	if !scopes.MatchString(scope) {
		return fmt.Errorf("blob scope %q: use letters, digits, _ and -", scope)
	}
	return nil
}

func locate(scope, digest string) (name string, err error) {
	if err := checkScope(scope); err != nil {
		return "", err
	}
	if !digests.MatchString(digest) {
		return "", fmt.Errorf("blob digest %q: want sha256: and 64 hex digits", digest)
	}
	return nameOf(scope, strings.TrimPrefix(digest, digestPrefix)), nil
}

// nameOf gives scope/ab/abcdef…, the same under every driver.
func nameOf(scope, sum string) string { return scope + "/" + sum[:2] + "/" + sum }

// parseName is the inverse of nameOf; ok is false for other files.
func parseName(name string) (scope, digest string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || checkScope(parts[0]) != nil || !digests.MatchString(digestPrefix+parts[2]) || parts[2][:2] != parts[1] {
		return "", "", false
	}
	return parts[0], digestPrefix + parts[2], true
}

// verifier compares the digest when everything was read.
type verifier struct {
	io.ReadCloser
	sum    hash.Hash
	digest string
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.sum.Write(p[:n])
	if err == io.EOF && digestPrefix+hex.EncodeToString(v.sum.Sum(nil)) != v.digest {
		return n, fmt.Errorf("read blob %s: %w", v.digest, ErrDamaged)
	}
	return n, err
}

// contextReader stops when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
