package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

// bucket keeps blobs in a service of Go CDK, where writing an object is atomic and durable.
type bucket struct {
	*blob.Bucket
	away  func(error) error           // gives the service's errors their meaning; those of a context stay
	check func(context.Context) error // whether the bucket is there at all; nil: it always is
	let   func()                      // lets connections go; may be nil
}

func openBucket(ctx context.Context, location string, o Options) (*bucket, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, errors.New("the address is no valid URL: write s3://bucket?region=us-east-1") // err repeats it, secrets included
	}
	switch u.Scheme {
	case "mem":
		return &bucket{Bucket: memblob.OpenBucket(nil), away: func(err error) error { return err }}, nil
	case "s3":
		return openS3(ctx, u, o)
	}
	return nil, fmt.Errorf("%s:// is no kind of blob store: name a directory, or s3://bucket?region=us-east-1", u.Scheme)
}

// inMemory is how much of a blob is held in memory while its digest is computed;
// what is larger goes to a temporary file.
const inMemory = 1 << 20

// put spools first: an object's name is its digest, which is known at the end.
func (b *bucket) put(ctx context.Context, r io.Reader, name func([]byte) string, finish func(func() error) error) (sum []byte, size int64, err error) {
	h := sha256.New()
	var head bytes.Buffer
	if size, err = io.Copy(io.MultiWriter(&head, h), io.LimitReader(r, inMemory)); err != nil {
		return nil, 0, err
	}
	body := io.ReadSeeker(bytes.NewReader(head.Bytes()))
	if size == inMemory {
		f, err := os.CreateTemp("", "varve-put-*")
		if err != nil {
			return nil, 0, err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		if _, err := f.Write(head.Bytes()); err != nil {
			return nil, 0, err
		}
		rest, err := io.Copy(io.MultiWriter(f, h), r)
		if err != nil {
			return nil, 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, 0, err
		}
		size, body = size+rest, f
	}
	sum = h.Sum(nil)
	return sum, size, finish(func() error {
		bounded, stop := context.WithTimeout(ctx, patience(size))
		defer stop()
		err := b.Upload(bounded, name(sum), body, &blob.WriterOptions{ContentType: "application/octet-stream"})
		return b.translate(ctx, err)
	})
}

// patience is how long writing some bytes may take: a service that takes less
// than 128 KiB a second does not answer.
func patience(size int64) time.Duration {
	return 30*time.Second + time.Duration(size>>17)*time.Second
}

func (b *bucket) open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := b.NewReader(ctx, name, nil)
	if err != nil {
		return nil, b.translate(ctx, err)
	}
	return &translated{r, ctx, b}, nil
}

// translated gives errors in the middle of a blob the same meaning as those of opening it.
type translated struct {
	io.ReadCloser
	ctx context.Context
	b   *bucket
}

func (t *translated) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // likewise
		err = t.b.translate(t.ctx, err)
	}
	return n, err
}

func (b *bucket) stat(ctx context.Context, name string) (entry, error) {
	a, err := b.Attributes(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound && b.check != nil {
		// The answer to HEAD has no body: it does not tell a missing blob from a missing bucket.
		if err := b.check(ctx); err != nil {
			return entry{}, err
		}
	}
	if err != nil {
		return entry{}, b.translate(ctx, err)
	}
	return entry{name, a.Size, a.ModTime}, nil
}

func (b *bucket) remove(ctx context.Context, name string) error {
	err := b.translate(ctx, b.Delete(ctx, name))
	if errors.Is(err, ErrNotFound) && b.check != nil {
		return b.check(ctx) // likewise
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (b *bucket) list(ctx context.Context, each func(entry) error) error {
	for objects := b.List(nil); ; {
		o, err := objects.Next(ctx)
		if err == io.EOF { //nolint:errorlint // a broken connection is an io.EOF too, wrapped, and not the end of the list
			return nil
		}
		if err != nil {
			return b.translate(ctx, err)
		}
		if err := each(entry{o.Key, o.Size, o.ModTime}); err != nil {
			return err
		}
	}
}

func (b *bucket) leftovers(context.Context, time.Time) (int, error) { return 0, nil }

func (b *bucket) close() error {
	err := b.Close()
	if b.let != nil {
		b.let()
	}
	return err
}

// translate gives ErrNotFound its name, and other errors of the service theirs.
func (b *bucket) translate(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case gcerrors.Code(err) == gcerrors.NotFound && !strings.Contains(err.Error(), "NoSuchBucket"):
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	return b.away(err)
}
