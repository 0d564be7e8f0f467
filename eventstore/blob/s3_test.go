package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"varve/eventstore"
)

// s3Variable names a bucket of a real S3 server, whose credentials are in the AWS environment.
const s3Variable = "VARVE_TEST_S3"

var buckets atomic.Int64

// newBucket makes a bucket for one test beside the one that the environment names.
func newBucket(t *testing.T) string {
	t.Helper()
	u := serverURL(t)
	u.Host = fmt.Sprintf("varve-%d-%d", time.Now().UnixNano(), buckets.Add(1))
	client, _, transport, err := newS3(ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &u.Host}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer transport.CloseIdleConnections()
		list, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &u.Host})
		if err != nil {
			t.Error(err)
			return
		}
		for _, o := range list.Contents {
			if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &u.Host, Key: o.Key}); err != nil {
				t.Error(err)
			}
		}
		if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &u.Host}); err != nil {
			t.Error(err)
		}
	})
	return u.String()
}

func serverURL(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(os.Getenv(s3Variable))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// with changes a parameter of an address; an empty value removes it.
func with(location, name, value string) string {
	u, _ := url.Parse(location)
	q := u.Query()
	q.Set(name, value)
	if value == "" {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func credentials(t *testing.T, id, secret string) {
	t.Helper()
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""} {
		t.Setenv(name, v)
	}
}

// refused opens what cannot be opened, and says how.
func refused(t *testing.T, location, want string, within time.Duration) {
	t.Helper()
	bounded, stop := context.WithTimeout(ctx, within)
	defer stop()
	s, err := Open(bounded, location, Options{})
	if err == nil {
		s.Close()
		t.Errorf("%s was opened", location)
		return
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "hidden") || strings.Contains(text, "\n") {
		t.Errorf("%s: %q does not say %q in one line without the secret", location, text, want)
	}
}

// What is wrong with an address or a server is said in one line, without secrets.
func TestOpenS3SaysWhatIsWrong(t *testing.T) {
	credentials(t, "someone", "hidden")
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><body>Welcome") }))
	defer html.Close()
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer broken.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct{ location, want string }{
		{"s3://", "write s3://bucket"},
		{"s3://someone:hidden@bucket", "AWS_SECRET_ACCESS_KEY"},
		{"s3://bucket/prefix?region=us-east-1", "write s3://bucket"},
		{"s3://bucket", "AWS_REGION"},
		{"s3://bucket?region=us-east-1&colour=red", "colour"},
		{"s3://bucket?region=us-east-1&ssetype=rot13", "AES256"},
		{"s3://bucket?endpoint=127.0.0.1:9000", "endpoint=https://host:port"},
		{"s3://bucket?endpoint=http://someone:hidden@127.0.0.1:9000", "without credentials"},
		{"s3://bucket?use_path_style=perhaps&region=us-east-1", "use_path_style"},
		{"s3://bucket?endpoint=http://127.0.0.1:1", "no S3 server answers at 127.0.0.1:1: start it, or correct the endpoint (connection refused)"},
		{"s3://bucket?endpoint=" + html.URL, "is no S3 server"},
		{"s3://bucket?endpoint=" + missing.URL, "there is no bucket bucket at"},
		{"s3://bucket?endpoint=" + broken.URL, "cannot answer now (503"},
		{"s3://bucket?endpoint=http://" + silent.Addr().String(), "(time-out)"},
	} {
		refused(t, c.location, c.want, 2*time.Second)
	}
	credentials(t, "", "")
	refused(t, "s3://bucket?endpoint=http://127.0.0.1:1", "set AWS_ACCESS_KEY_ID", 2*time.Second)
}

// An endpoint alone is enough for a server that is not Amazon's, from the address or the environment.
func TestS3Settings(t *testing.T) {
	credentials(t, "someone", "hidden")
	for _, c := range []struct {
		location, environment string
		region                string
		pathStyle             bool
	}{
		{"s3://bucket?region=eu-central-1", "", "eu-central-1", false},
		{"s3://bucket?endpoint=http://127.0.0.1:9000", "", "us-east-1", true},
		{"s3://bucket?endpoint=http://127.0.0.1:9000&use_path_style=false&region=here", "", "here", false},
		{"s3://bucket", "http://127.0.0.1:9000", "us-east-1", true},
		{"s3://bucket?region=eu-central-1&s3ForcePathStyle=true", "", "eu-central-1", true},
	} {
		t.Setenv("AWS_ENDPOINT_URL_S3", c.environment)
		u, _ := url.Parse(c.location)
		client, _, _, err := newS3(ctx, u)
		if err != nil {
			t.Errorf("%s: %v", c.location, err)
			continue
		}
		o := client.Options()
		if o.Region != c.region || o.UsePathStyle != c.pathStyle || o.RetryMaxAttempts > s3Attempts || o.Retryer.MaxAttempts() != s3Attempts {
			t.Errorf("%s: region %q, path style %v, %d attempts", c.location, o.Region, o.UsePathStyle, o.Retryer.MaxAttempts())
		}
	}
}

// TestS3 is what only a real server can show.
func TestS3(t *testing.T) {
	if os.Getenv(s3Variable) == "" {
		t.Skip(s3Variable + " names no bucket: make test starts a server")
	}
	t.Run("says what is wrong", func(t *testing.T) {
		location := newBucket(t)
		refused(t, strings.Replace(location, "s3://varve-", "s3://elsewhere-", 1), "does not exist", 10*time.Second)
		id := os.Getenv("AWS_ACCESS_KEY_ID")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
		refused(t, location, "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", 10*time.Second)
		t.Setenv("AWS_ACCESS_KEY_ID", id+"x")
		refused(t, location, "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", 10*time.Second)
	})
	t.Run("big blobs in parts", func(t *testing.T) {
		s := open(t, newBucket(t), Options{})
		text := strings.Repeat("0123456789abcdef", 20<<16) // 20 MiB
		ref := put(t, s, "org_a", text)
		if ref != (Ref{digestOf(text), int64(len(text))}) {
			t.Errorf("%+v", ref)
		}
		r, err := s.Get(ctx, "org_a", ref.Digest)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("damage is found", func(t *testing.T) {
		s := open(t, newBucket(t), Options{})
		ref := put(t, s, "org_a", "hello")
		name, _ := locate("org_a", ref.Digest)
		if err := s.driver.(*bucket).WriteAll(ctx, name, []byte("hellx"), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(ctx, "org_a", ref.Digest); !errors.Is(err, ErrDamaged) {
			t.Errorf("damage is read: %v", err)
		}
	})
	t.Run("outage", outage)
	t.Run("bucket removed", func(t *testing.T) {
		location := newBucket(t)
		s := open(t, location, Options{})
		ref := put(t, s, "org_a", "hello")
		away := s.driver.(*bucket)
		client := clientOf(t, location)
		u, _ := url.Parse(location)
		for _, name := range []string{marker, nameOf("org_a", strings.TrimPrefix(ref.Digest, digestPrefix))} {
			if err := away.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &u.Host}); err != nil {
			t.Fatal(err)
		}
		unavailable(t, s, ref.Digest) // not: the blob does not exist
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &u.Host}); err != nil {
			t.Fatal(err)
		}
	})
}

func clientOf(t *testing.T, location string) *s3.Client {
	u, _ := url.Parse(location)
	client, _, transport, err := newS3(ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return client
}

// unavailable says that whatever is asked of a store, it does not answer, in time.
func unavailable(t *testing.T, s *Store, digest string) {
	t.Helper()
	began := time.Now()
	_, putErr := s.Put(ctx, "org_a", strings.NewReader("lost"))
	_, readErr := s.Read(ctx, "org_a", digest)
	_, existsErr := s.Exists(ctx, "org_a", digest)
	_, sweepErr := s.Sweep(ctx, func(context.Context, string, string) (bool, error) { return false, nil })
	for name, err := range map[string]error{"put": putErr, "read": readErr, "exists": existsErr, "delete": s.Delete(ctx, "org_a", digest), "sweep": sweepErr} {
		if !errors.Is(err, eventstore.ErrBlobsUnavailable) || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("five answers took %s", took)
	}
}

// While the server is away every call says so, soon; nothing half done is left, and
// afterwards the same store goes on.
func outage(t *testing.T) {
	location := newBucket(t)
	u, _ := url.Parse(location)
	target, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !down.Load() {
			proxy.ServeHTTP(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer server.Close()
	s := open(t, with(location, "endpoint", server.URL), Options{})
	ref := put(t, s, "org_a", "kept")
	down.Store(true)
	unavailable(t, s, ref.Digest)
	down.Store(false)
	if got, err := s.Read(ctx, "org_a", ref.Digest); err != nil || string(got) != "kept" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
	if ok, err := s.Exists(ctx, "org_a", digestOf("lost")); ok || err != nil {
		t.Errorf("what could not be put is there (%v)", err)
	}
	if ref := put(t, s, "org_a", "lost"); ref.Digest != digestOf("lost") {
		t.Error(ref)
	}
	// A server that goes in the middle of a blob: an error, never a short blob.
	big := bytes.Repeat([]byte("x"), 4<<20)
	ref, err = s.Put(ctx, "org_a", bytes.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(ctx, "org_a", ref.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server.CloseClientConnections()
	if got, err := io.ReadAll(r); err == nil && !bytes.Equal(got, big) || err != nil && !errors.Is(err, eventstore.ErrBlobsUnavailable) {
		t.Errorf("%d of %d bytes, %v", len(got), len(big), err)
	}
}
