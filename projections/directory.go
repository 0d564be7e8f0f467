package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
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
type Directory struct{ reader }

// NewDirectory makes the projection.
func NewDirectory() *Directory { return &Directory{} }

// Name is directory.
func (*Directory) Name() string { return "directory" }

// Version of tables and fold.
func (*Directory) Version() int { return 1 }

// Schema makes the tables.
func (*Directory) Schema() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS organizations (organization_id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, log TEXT NOT NULL, shard BIGINT NOT NULL, created BIGINT NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS users (log TEXT NOT NULL, user_id TEXT NOT NULL, data TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL, PRIMARY KEY (log, user_id))`,
		`CREATE TABLE IF NOT EXISTS api_keys (log TEXT NOT NULL, key_id TEXT NOT NULL, user_id TEXT NOT NULL, prefix TEXT NOT NULL, previous_prefix TEXT NOT NULL, data TEXT NOT NULL,
			created BIGINT NOT NULL, revoked BIGINT NOT NULL, revoked_by TEXT NOT NULL, PRIMARY KEY (log, key_id))`,
		`CREATE INDEX IF NOT EXISTS api_keys_prefix ON api_keys (prefix)`,
		`CREATE INDEX IF NOT EXISTS api_keys_previous ON api_keys (previous_prefix)`,
		`CREATE TABLE IF NOT EXISTS namespaces (log TEXT NOT NULL, namespace_id TEXT NOT NULL, name TEXT NOT NULL, namespace_log TEXT NOT NULL, shard BIGINT NOT NULL, created BIGINT NOT NULL,
			deleted BIGINT NOT NULL, PRIMARY KEY (log, namespace_id))`,
		`CREATE INDEX IF NOT EXISTS organizations_log ON organizations (log)`,
	}
}

// Handles are the events of organizations' logs.
func (*Directory) Handles() []string {
	return []string{"organization.created", "organization.updated", "user.saved", "user.deleted", "api_key.saved", "api_key.revoked",
		"namespace.created", "namespace.renamed", "namespace.deleted"}
}

// Apply folds events one by one: they are rare.
func (*Directory) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	for i := range page {
		r := &page[i]
		if r.Erased {
			continue
		}
		e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
		if err != nil {
			return err
		}
		if err := applyDirectory(ctx, tx, r, e); err != nil {
			return fmt.Errorf("%s at position %d: %w", r.Type, r.Position, err)
		}
	}
	return nil
}

func applyDirectory(ctx context.Context, tx *Tx, r *eventstore.Record, e domain.EventData) error {
	log, at := string(r.Log), r.Time.UnixMicro()
	exec := func(text string, args ...any) error {
		_, err := tx.ExecContext(ctx, text, args...)
		return err
	}
	switch e := e.(type) {
	case *domain.OrganizationCreated:
		return exec(`INSERT INTO organizations (organization_id, name, log, shard, created) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (organization_id) DO NOTHING`, e.OrganizationID, e.Name, log, r.Shard, at)
	case *domain.OrganizationUpdated:
		return exec(`UPDATE organizations SET name = $1 WHERE log = $2`, e.Name, log)
	case *domain.UserSaved:
		data, err := json.Marshal(e.User)
		if err != nil {
			return err
		}
		return exec(`INSERT INTO users (log, user_id, data, created, updated) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (log, user_id) DO UPDATE SET data = excluded.data, updated = excluded.updated`, log, e.UserID, string(data), at, at)
	case *domain.UserDeleted:
		return exec(`DELETE FROM users WHERE log = $1 AND user_id = $2`, log, e.UserID)
	case *domain.APIKeySaved:
		data, err := json.Marshal(e.APIKey)
		if err != nil {
			return err
		}
		return exec(`INSERT INTO api_keys (log, key_id, user_id, prefix, previous_prefix, data, created, revoked, revoked_by) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '')
			ON CONFLICT (log, key_id) DO UPDATE SET user_id = excluded.user_id, prefix = excluded.prefix, previous_prefix = excluded.previous_prefix, data = excluded.data`,
			log, e.KeyID, e.UserID, e.Prefix, e.PreviousPrefix, string(data), at)
	case *domain.APIKeyRevoked:
		return exec(`UPDATE api_keys SET revoked = $1, revoked_by = $2 WHERE log = $3 AND key_id = $4`, at, r.Meta.Actor, log, e.KeyID)
	case *domain.NamespaceCreated:
		return exec(`INSERT INTO namespaces (log, namespace_id, name, namespace_log, shard, created, deleted) VALUES ($1, $2, $3, $4, $5, $6, 0)
			ON CONFLICT (log, namespace_id) DO UPDATE SET name = excluded.name, namespace_log = excluded.namespace_log, created = excluded.created, deleted = 0`,
			log, e.NamespaceID, e.Name, e.Log, r.Shard, at)
	case *domain.NamespaceRenamed:
		return exec(`UPDATE namespaces SET name = $1 WHERE log = $2 AND namespace_id = $3`, e.Name, log, e.NamespaceID)
	case *domain.NamespaceDeleted:
		return exec(`UPDATE namespaces SET deleted = $1 WHERE log = $2 AND namespace_id = $3`, at, log, e.NamespaceID)
	}
	return nil
}

// Organization finds an organization by id; domain.NotFound where there is none.
func (d *Directory) Organization(ctx context.Context, orgID string) (OrganizationEntry, error) {
	found, err := d.organizations(ctx, `WHERE organization_id = $1`, orgID)
	if err == nil && len(found) == 0 {
		return OrganizationEntry{}, domain.NotFound("organization", orgID)
	}
	if err != nil {
		return OrganizationEntry{}, err
	}
	return found[0], nil
}

// Organizations lists all, oldest first.
func (d *Directory) Organizations(ctx context.Context) ([]OrganizationEntry, error) {
	return d.organizations(ctx, `ORDER BY created, organization_id`)
}

func (d *Directory) organizations(ctx context.Context, where string, args ...any) ([]OrganizationEntry, error) {
	var all []OrganizationEntry
	err := d.query(ctx, `SELECT organization_id, name, log, shard, created FROM organizations `+where, args, func(rows *sql.Rows) error {
		var o OrganizationEntry
		var created int64
		if err := rows.Scan(&o.OrgID, &o.Name, &o.Log, &o.Shard, &created); err != nil {
			return err
		}
		o.CreatedAt = micros(created)
		all = append(all, o)
		return nil
	})
	return all, err
}

// micros is the time of microseconds since 1970; 0 is the zero time.
func micros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// NamespaceLogs lists all namespaces that were not deleted, oldest first.
func (d *Directory) NamespaceLogs(ctx context.Context) ([]NamespaceEntry, error) {
	return d.namespaces(ctx, `WHERE n.deleted = 0`)
}

// DeletedNamespaces lists an organization's namespaces that were deleted, by
// their id's last deletion, oldest first.
func (d *Directory) DeletedNamespaces(ctx context.Context, organization eventstore.LogID) ([]NamespaceEntry, error) {
	return d.namespaces(ctx, `WHERE n.log = $1 AND n.deleted <> 0`, string(organization))
}

func (d *Directory) namespaces(ctx context.Context, where string, args ...any) ([]NamespaceEntry, error) {
	var all []NamespaceEntry
	err := d.query(ctx, `SELECT o.organization_id, n.log, n.namespace_id, n.name, n.namespace_log, n.shard, n.created, n.deleted
		FROM namespaces n JOIN organizations o ON o.log = n.log `+where+` ORDER BY n.created, n.namespace_log`, args, func(rows *sql.Rows) error {
		var n NamespaceEntry
		var created, deleted int64
		if err := rows.Scan(&n.OrgID, &n.OrgLog, &n.NamespaceID, &n.Name, &n.Log, &n.Shard, &created, &deleted); err != nil {
			return err
		}
		n.CreatedAt, n.Deleted = micros(created), deleted != 0
		all = append(all, n)
		return nil
	})
	return all, err
}

// KeyByPrefix finds a key by its public prefix, the one before the last rotation
// included; domain.NotFound where there is none. Revoked and expired keys are found too.
func (d *Directory) KeyByPrefix(ctx context.Context, prefix string) (KeyEntry, error) {
	var k KeyEntry
	found := false
	scan := func(rows *sql.Rows) error {
		var key string
		var user sql.NullString
		var created, revoked int64
		var userCreated, userUpdated sql.NullInt64
		if err := rows.Scan(&k.OrgID, &k.OrgLog, &key, &created, &revoked, &k.Key.RevokedBy, &user, &userCreated, &userUpdated); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(key), &k.Key); err != nil {
			return err
		}
		k.Key.CreatedAt, k.Key.RevokedAt = micros(created), micros(revoked)
		if user.Valid {
			if err := json.Unmarshal([]byte(user.String), &k.User); err != nil {
				return err
			}
			k.User.CreatedAt, k.User.UpdatedAt = micros(userCreated.Int64), micros(userUpdated.Int64)
		}
		found = true
		return errEnough
	}
	for _, column := range []string{"prefix", "previous_prefix"} {
		if prefix == "" {
			break
		}
		err := d.query(ctx, `SELECT o.organization_id, k.log, k.data, k.created, k.revoked, k.revoked_by, u.data, u.created, u.updated
			FROM api_keys k JOIN organizations o ON o.log = k.log LEFT JOIN users u ON u.log = k.log AND u.user_id = k.user_id
			WHERE k.`+column+` = $1 ORDER BY k.revoked, k.created DESC LIMIT 1`, []any{prefix}, scan)
		if err != nil || found {
			return k, err
		}
	}
	return k, domain.NotFound("API key", prefix)
}
