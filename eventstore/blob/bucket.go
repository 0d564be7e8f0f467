package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// bucket keeps blobs in a service of Go CDK, where writing an object is atomic and durable.
type bucket struct{ *blob.Bucket }

func openBucket(ctx context.Context, url string) (*bucket, error) {
	mux := new(blob.URLMux)
	mux.RegisterBucket("mem", new(memblob.URLOpener))
	mux.RegisterBucket("s3", new(s3blob.URLOpener))
	b, err := mux.OpenBucket(ctx, url)
	if err != nil {
		return nil, err
	}
	return &bucket{b}, nil
}

// put spools to a local file first: an object's name is its digest, which is known at the end.
func (b *bucket) put(ctx context.Context, r io.Reader, name func([]byte) string, finish func(func() error) error) (sum []byte, size int64, err error) {
	f, err := os.CreateTemp("", "varve-put-*")
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(io.MultiWriter(f, h), r); err != nil {
		return nil, 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	sum = h.Sum(nil)
	return sum, size, finish(func() error {
		return b.Upload(ctx, name(sum), f, &blob.WriterOptions{ContentType: "application/octet-stream"})
	})
}

func (b *bucket) open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := b.NewReader(ctx, name, nil)
	return r, translate(err)
}

func (b *bucket) stat(ctx context.Context, name string) (entry, error) {
	a, err := b.Attributes(ctx, name)
	if err != nil {
		return entry{}, translate(err)
	}
	return entry{name, a.Size, a.ModTime}, nil
}

func (b *bucket) remove(ctx context.Context, name string) error {
	if err := translate(b.Delete(ctx, name)); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

func (b *bucket) list(ctx context.Context, each func(entry) error) error {
	for objects := b.List(nil); ; {
		o, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(entry{o.Key, o.Size, o.ModTime}); err != nil {
			return err
		}
	}
}

func (b *bucket) leftovers(context.Context, time.Time) (int, error) { return 0, nil }

func (b *bucket) close() error { return b.Close() }

// translate gives ErrNotFound its name.
func translate(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	return err
}
