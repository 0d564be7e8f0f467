package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob/s3blob"

	"varve/eventstore"
)

// How patient requests to an S3 server are: with a server that is gone, all of a
// request's attempts together end within about ten seconds.
const (
	s3Attempts = 3
	s3Backoff  = 500 * time.Millisecond
	s3Dial     = 3 * time.Second
	s3Answer   = 20 * time.Second // from the last byte sent to the first one received
	s3Start    = 15 * time.Second // for everything that Open asks
)

// marker is an object that Open writes, to learn whether it may. No blob is called so.
const marker = "varve-blobs"

// openS3 opens s3://bucket with Go CDK's parameters: region, endpoint, use_path_style
// (also s3ForcePathStyle), ssetype, kmskeyid, profile, anonymous, role, dualstack, fips,
// request_checksum_calculation and response_checksum_validation. What is not said comes
// from the standard AWS environment. With an endpoint, addresses have path style and the
// region is us-east-1 unless said otherwise, as S3-compatible servers want them.
func openS3(ctx context.Context, u *url.URL, o Options) (*bucket, error) {
	ctx, stop := context.WithTimeout(ctx, s3Start)
	defer stop()
	client, options, transport, err := newS3(ctx, u)
	if err != nil {
		return nil, err
	}
	opened, err := s3blob.OpenBucket(ctx, client, u.Host, options)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", u.Host, err)
	}
	place := s3Place{bucket: u.Host, client: client}
	b := &bucket{Bucket: opened, away: place.explain, check: place.check, let: transport.CloseIdleConnections}
	err = place.credentials(ctx)
	if err == nil {
		err = place.check(ctx)
	}
	if err == nil && !o.ReadOnly {
		err = place.explain(opened.WriteAll(ctx, marker, []byte("Varve keeps its blobs in this bucket.\n"), nil))
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// newS3 makes a client that gives up in time.
func newS3(ctx context.Context, u *url.URL) (*s3.Client, *s3blob.Options, *http.Transport, error) {
	if u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil {
		return nil, nil, nil, errors.New("an S3 address has a bucket and nothing else before the question mark: write s3://bucket?region=us-east-1, and put credentials into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)")
	}
	q := u.Query()
	take := func(names ...string) (value string) {
		for _, name := range names {
			value = cmp.Or(value, q.Get(name))
			q.Del(name)
		}
		return value
	}
	endpoint, pathStyle := take("endpoint"), take("use_path_style", "s3ForcePathStyle")
	if _, err := strconv.ParseBool(pathStyle); pathStyle != "" && err != nil {
		return nil, nil, nil, errors.New("use_path_style is neither true nor false")
	}
	if e, err := url.Parse(endpoint); endpoint != "" && (err != nil || e.Host == "" || e.User != nil || e.Scheme != "http" && e.Scheme != "https") {
		return nil, nil, nil, errors.New("endpoint is no address of a server: write endpoint=https://host:port, without credentials")
	}
	options := &s3blob.Options{EncryptionType: types.ServerSideEncryption(take("ssetype")), KMSEncryptionID: take("kmskeyid")}
	if known := options.EncryptionType.Values(); options.EncryptionType != "" && !slices.Contains(known, options.EncryptionType) {
		return nil, nil, nil, fmt.Errorf("ssetype is none of %v", known)
	}
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the settings of S3: %w", err)
	}
	options.RequestChecksumCalculation = cfg.RequestChecksumCalculation
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = s3Attempts, s3Backoff })
	}
	buildable, ok := cfg.HTTPClient.(*awshttp.BuildableClient) // it has AWS_CA_BUNDLE
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	transport := buildable.GetTransport()
	transport.DialContext = (&net.Dialer{Timeout: s3Dial, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout, transport.ResponseHeaderTimeout = s3Dial, s3Answer
	transport.MaxIdleConnsPerHost = 64
	cfg.HTTPClient = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.DisableLogOutputChecksumValidationSkipped = true // of blobs in parts; their digest is compared here
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		if o.BaseEndpoint != nil {
			o.UsePathStyle, o.Region = true, cmp.Or(o.Region, "us-east-1")
		}
		if pathStyle != "" {
			o.UsePathStyle, _ = strconv.ParseBool(pathStyle)
		}
	})
	if client.Options().Region == "" {
		return nil, nil, nil, errors.New("no region is named: write s3://bucket?region=us-east-1, or set AWS_REGION")
	}
	return client, options, transport, nil
}

// s3Place is a bucket of a server, and what its errors mean.
type s3Place struct {
	bucket string
	client *s3.Client
}

// server names the server for people, without credentials.
func (p s3Place) server() string {
	if e := p.client.Options().BaseEndpoint; e != nil {
		if u, err := url.Parse(*e); err == nil {
			return u.Host
		}
	}
	return "AWS in " + p.client.Options().Region
}

func (p s3Place) credentials(ctx context.Context) error {
	if provider := p.client.Options().Credentials; provider == nil || aws.IsCredentialsProvider(provider, aws.AnonymousCredentials{}) {
		return nil
	}
	if _, err := p.client.Options().Credentials.Retrieve(ctx); err != nil {
		return &awayError{"there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role", err}
	}
	return nil
}

// check says what keeps the bucket from being read, nil where nothing does.
func (p s3Place) check(ctx context.Context) error {
	_, err := p.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &p.bucket, MaxKeys: aws.Int32(1)})
	return p.explain(err)
}

// awayError is a line for people with the service's error in it.
type awayError struct {
	line  string
	cause error
}

func (e *awayError) Error() string { return e.line }
func (e *awayError) Unwrap() error { return e.cause }

// Is makes every error of the service one of eventstore.ErrBlobsUnavailable: it may be
// over the next moment, and says nothing of what the bucket holds.
func (e *awayError) Is(target error) bool { return target == eventstore.ErrBlobsUnavailable }

// explain says in one line what is wrong and what would be right. The client's own
// texts have addresses and request ids in them, and stay in the chain only.
func (p s3Place) explain(err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	var response *awshttp.ResponseError
	code, status := "", 0
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var line string
	switch {
	case code == "NoSuchBucket":
		line = fmt.Sprintf("the bucket %s does not exist at %s: create it, or correct the name", p.bucket, p.server())
	case slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired", "XAdminUserNotFound"}, code):
		line = fmt.Sprintf("%s does not know the credentials (%s): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", p.server(), code)
	case slices.Contains([]string{"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}, code) || status == http.StatusMovedPermanently:
		line = fmt.Sprintf("the bucket %s lies in another region: correct region, or AWS_REGION (%s)", p.bucket, code)
	case code == "RequestTimeTooSkewed":
		line = "the clock of this machine differs from that of " + p.server() + ": set it"
	case code == "AccessDenied" || status == http.StatusForbidden || status == http.StatusUnauthorized:
		line = fmt.Sprintf("the credentials do not suffice for the bucket %s at %s: they need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject", p.bucket, p.server())
	case status >= 500 || code == "SlowDown":
		line = fmt.Sprintf("the S3 server at %s cannot answer now (%d %s): look into its log", p.server(), status, code)
	case status == http.StatusNotFound:
		line = fmt.Sprintf("there is no bucket %s at %s, or what answers there is no S3 server: create it, or correct the endpoint", p.bucket, p.server())
	case api != nil && code != "" && status >= 400:
		line = fmt.Sprintf("the S3 server at %s refuses (%s: %s)", p.server(), code, strings.Join(strings.Fields(api.ErrorMessage()), " "))
	case status != 0:
		line = fmt.Sprintf("what answers at %s is no S3 server (status %d): correct the endpoint", p.server(), status)
	default:
		line = fmt.Sprintf("no S3 server answers at %s: start it, or correct the endpoint (%s)", p.server(), networkCause(err))
	}
	return &awayError{line, err}
}

// networkCause is the innermost text, in which no address is repeated.
func networkCause(err error) string {
	var network *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &network) && network.Err != nil && !network.Timeout():
		err = network.Err
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "time-out"
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.Join(strings.Fields(line), " ")
}
