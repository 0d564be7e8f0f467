package projections

import (
	"context"
	"time"

	"varve/domain"
)

// ObjectRow is one version of an object. Status, Error and Documents are the
// newest known, whatever the position of the read.
type ObjectRow struct {
	domain.Object
	Created  time.Time
	Updated  time.Time
	Status   string // PENDING, PROCESSING, COMPLETED, FAILED
	Error    string
	Position uint64
	Version  uint64
}

// ObjectQuery selects, orders and pages objects of one bucket.
type ObjectQuery struct {
	BucketID string
	Filter   *domain.Filter
	Search   string
	Sort     []Sort // then by object id
	After    string
	Offset   int
	Limit    int // 0 means 100
	Total    bool
}

// BucketTotals is what a bucket holds.
type BucketTotals struct {
	Objects    int
	Failed     int
	SizeBytes  int64
	MaxBytes   int64
	MinBytes   int64
	LastUpload time.Time
}

// Objects is the read model of source objects.
type Objects struct{}

// NewObjects makes the projection.
func NewObjects() *Objects { return &Objects{} }

// Object finds one object of a bucket (bucketID empty: of any); domain.NotFound where it does not exist.
func (o *Objects) Object(ctx context.Context, at At, bucketID, objectID string) (ObjectRow, error) {
	return ObjectRow{}, errNotYet
}

// Objects finds objects in the order given; ids that do not exist are left out.
func (o *Objects) Objects(ctx context.Context, at At, ids []string) ([]ObjectRow, error) {
	return nil, errNotYet
}

// List pages through a bucket's objects.
func (o *Objects) List(ctx context.Context, at At, q ObjectQuery) (Page[ObjectRow], error) {
	return Page[ObjectRow]{}, errNotYet
}

// Count counts a bucket's objects.
func (o *Objects) Count(ctx context.Context, at At, bucketID string) (int, error) {
	return 0, errNotYet
}

// Totals gives what every bucket of the log holds, by bucket id; buckets without objects are absent.
func (o *Objects) Totals(ctx context.Context, at At) (map[string]BucketTotals, error) {
	return nil, errNotYet
}

// ByUniqueKey finds the object whose unique-key fields have the given values.
func (o *Objects) ByUniqueKey(ctx context.Context, at At, bucketID string, values map[string]any) (ObjectRow, error) {
	return ObjectRow{}, errNotYet
}
