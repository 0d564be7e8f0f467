package projections

import (
	"context"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// KeyEntry is what a public key prefix finds.
type KeyEntry struct {
	OrgID  string
	OrgLog eventstore.LogID
	Key    domain.APIKey
	User   domain.User // zero where the user was deleted
}

// OrganizationEntry is one organization of the store.
type OrganizationEntry struct {
	OrgID     string
	Name      string
	Log       eventstore.LogID
	Shard     int
	CreatedAt time.Time
}

// NamespaceEntry is one namespace of the store.
type NamespaceEntry struct {
	OrgID       string
	OrgLog      eventstore.LogID
	NamespaceID string
	Name        string
	Log         eventstore.LogID
	Shard       int
	CreatedAt   time.Time
	Deleted     bool // its log is closed
}

// Directory finds organizations, keys and logs across the whole store. It is the
// newest state only: what an organization was at a position is told by its log.
type Directory struct{}

// NewDirectory makes the projection.
func NewDirectory() *Directory { return &Directory{} }

// Organization finds an organization by id; domain.NotFound where there is none.
func (d *Directory) Organization(ctx context.Context, orgID string) (OrganizationEntry, error) {
	return OrganizationEntry{}, errNotYet
}

// Organizations lists all, oldest first.
func (d *Directory) Organizations(ctx context.Context) ([]OrganizationEntry, error) {
	return nil, errNotYet
}

// NamespaceLogs lists all namespaces that were not deleted, oldest first.
func (d *Directory) NamespaceLogs(ctx context.Context) ([]NamespaceEntry, error) {
	return nil, errNotYet
}

// KeyByPrefix finds a key by its public prefix, the one before the last rotation
// included; domain.NotFound where there is none. Revoked and expired keys are found too.
func (d *Directory) KeyByPrefix(ctx context.Context, prefix string) (KeyEntry, error) {
	return KeyEntry{}, errNotYet
}
