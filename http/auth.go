package http

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

// unauthorized is one answer for every key that is not good: which of its
// parts is wrong helps only whoever guesses.
func unauthorized(reason, format string, args ...any) error {
	e := domain.Errorf(domain.CodeUnauthorized, format, args...)
	e.Reason = reason
	return e
}

// authenticate finds the key of a request and whose it is. The comparison of
// hashes takes the same time for every wrong key.
func (s *Server) authenticate(c *Call) error {
	header := c.Request.Header.Get("Authorization")
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if header == "" || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return unauthorized("missing_key", "send the API key in the header Authorization: Bearer sk_live_…")
	}
	hash := s.HashKey(key)
	entries, err := s.LookupKey(c.Request.Context(), commands.PublicPrefix(key))
	if err != nil {
		return err
	}
	now := s.Now()
	for _, entry := range entries {
		org, err := s.organization(c.Request.Context(), entry.Organization)
		if err != nil {
			return err
		}
		k, known := org.Keys[entry.KeyID]
		if !known || !hashFits(k, hash, now) {
			continue
		}
		switch k.Status(now) {
		case "revoked":
			return unauthorized("key_revoked", "this API key was revoked; use another one")
		case "expired":
			return unauthorized("key_expired", "this API key expired at %s; use another one", k.ExpiresAt.UTC().Format(time.RFC3339))
		}
		var user domain.User
		for _, u := range org.Users {
			if u.UserID == k.UserID {
				user = u
			}
		}
		if user.UserID == "" || user.Status == "suspended" {
			return unauthorized("user_suspended", "the user of this API key is suspended or was deleted; ask an administrator of the organization")
		}
		if err := originAllowed(k, c.Request.Header.Get("Origin")); err != nil {
			return err
		}
		c.Caller = Caller{Organization: org, Log: entry.Organization, Shard: entry.Shard, Key: k, User: user}
		return nil
	}
	s.Log.Debug("unknown key", slog.String("request_id", c.RequestID))
	return unauthorized("unknown_key", "this API key is not known; check that it was copied whole")
}

// hashFits compares with the key's hash and, while a rotation overlaps, with the one before.
func hashFits(k domain.APIKey, hash string, now time.Time) bool {
	fits := subtle.ConstantTimeCompare([]byte(k.Hash), []byte(hash)) == 1
	before := k.PreviousHash != "" && subtle.ConstantTimeCompare([]byte(k.PreviousHash), []byte(hash)) == 1
	return fits || before && k.PreviousUntil != nil && now.Before(*k.PreviousUntil)
}

// originAllowed holds browsers to the key's allowed_origins ("https://app.example.com"
// exactly, or "https://*.example.com"). Requests without Origin are not from a browser page.
func originAllowed(k domain.APIKey, origin string) error {
	if origin == "" || len(k.AllowedOrigins) == 0 {
		return nil
	}
	for _, allowed := range k.AllowedOrigins {
		if originMatches(allowed, origin) {
			return nil
		}
	}
	return &domain.Error{Code: domain.CodeForbidden, Reason: "origin_not_allowed", Message: "this API key may not be used from pages of " + origin + "; its allowed_origins do not name it"}
}

func originMatches(allowed, origin string) bool {
	if strings.EqualFold(allowed, origin) {
		return true
	}
	scheme, host, wild := strings.Cut(allowed, "://*.")
	if !wild {
		return false
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Scheme, scheme) && strings.HasSuffix(strings.ToLower(u.Host), "."+strings.ToLower(host))
}

// authorize holds a caller to the permissions and scopes of its key.
func (s *Server) authorize(c *Call, n needs) error {
	if n.Permission == "any" {
		return nil
	}
	if !permits(c.Key, c.User, n.Permission) {
		return &domain.Error{Code: domain.CodeForbidden, Reason: "permission_missing", Message: "this API key lacks the permission " + n.Permission + "; it has " + strings.Join(c.Key.Permissions, ", "),
			Details: map[string]any{"required": n.Permission, "resource": n.Resource}}
	}
	if len(c.Key.Scopes) == 0 {
		return nil
	}
	owners, err := s.owners(c, n)
	if err != nil {
		return err
	}
	operation := n.operation()
	c.scopes = slices.DeleteFunc(slices.Clone(c.Key.Scopes), func(scope domain.ResourceScope) bool {
		return len(scope.Operations) > 0 && !slices.Contains(scope.Operations, operation)
	})
	for _, scope := range c.scopes {
		if n.Filters && scope.ResourceType == n.Resource {
			return nil
		}
		for _, o := range owners {
			if scope.ResourceType == o.kind && scopeMatches(scope.ResourceID, o.id, c.Namespace.ID) {
				return nil
			}
		}
	}
	return &domain.Error{Code: domain.CodeForbidden, Reason: "scope_missing", Message: "the scopes of this API key do not cover " + operation + " on this " + n.Resource,
		Details: map[string]any{"required": operation, "resource": n.Resource}}
}

// Covers says whether the scopes of the caller's key cover one resource, for
// routes that filter.
func (c *Call) Covers(kind, id string) bool {
	if len(c.Key.Scopes) == 0 {
		return true
	}
	return slices.ContainsFunc(c.scopes, func(scope domain.ResourceScope) bool {
		return scope.ResourceType == kind && scopeMatches(scope.ResourceID, id, c.Namespace.ID) ||
			scope.ResourceType == "organization" && scopeMatches(scope.ResourceID, c.Organization.ID, "")
	})
}

// permits says whether a key has a permission; admin includes the others. A
// viewer's key never writes, and only a key of an administrator that stands for
// no end user administers, whatever it says.
func permits(k domain.APIKey, u domain.User, permission string) bool {
	if u.Role == "viewer" && permission != "read" {
		return false
	}
	if permission == "admin" && (u.Role != "admin" || k.PrincipalID != "") {
		return false
	}
	return slices.Contains(k.Permissions, permission) || slices.Contains(k.Permissions, "admin")
}

// operation is the reference's name of what a route does.
func (n needs) operation() string {
	if n.Operation != "" {
		return n.Operation
	}
	switch {
	case n.Permission == "read":
		return "read_data"
	case n.Permission == "admin" && (n.Resource == "user" || n.Resource == "api_key"):
		return "manage_permissions"
	case n.Permission == "admin", n.Resource == "namespace", n.Resource == "organization":
		return "modify_infrastructure"
	case n.Resource == "retriever" && n.Permission == "delete":
		return "delete_retriever"
	case n.Resource == "retriever":
		return "create_retriever"
	case n.Permission == "delete":
		return "delete_data"
	}
	return "write_data"
}

// owned is a resource that a request is about, or one that contains it.
type owned struct{ kind, id string }

// owners lists what a request is about, from the organization down: a scope
// that names any of them covers it. Identifiers that are names become ids. A
// route without an identifier (create, list) is about all of its kind: "*".
func (s *Server) owners(c *Call, n needs) ([]owned, error) {
	list := []owned{{"organization", c.Organization.ID}}
	namespace := c.Namespace
	for name, v := range c.params {
		kind := strings.TrimSuffix(strings.TrimSuffix(name, "_identifier"), "_id")
		switch kind {
		case "namespace":
			if found, ok := c.Organization.Namespace(v); ok {
				v = found.ID
			}
		case "bucket", "collection", "retriever":
			id, err := s.resolveID(c, namespace, kind, v)
			if err != nil {
				return nil, err
			}
			v = id
		}
		list = append(list, owned{kind, v})
	}
	if namespace.ID != "" {
		list = append(list, owned{"namespace", namespace.ID})
	}
	if !slices.ContainsFunc(list, func(o owned) bool { return o.kind == n.Resource }) {
		list = append(list, owned{n.Resource, "*"})
	}
	return list, nil
}

func (s *Server) resolveID(c *Call, ns domain.Namespace, kind, identifier string) (string, error) {
	if ns.ID == "" {
		return identifier, nil
	}
	cfg, _, err := s.config(c.Request.Context(), c.namespaceLog())
	if err != nil {
		return "", err
	}
	switch kind {
	case "bucket":
		if b, ok := cfg.Bucket(identifier); ok {
			return b.BucketID, nil
		}
	case "collection":
		if k, ok := cfg.Collection(identifier); ok {
			return k.CollectionID, nil
		}
	case "retriever":
		if r, ok := cfg.Retriever(identifier); ok {
			return r.RetrieverID, nil
		}
	}
	return identifier, nil
}

// scopeMatches compares a scope's resource_id: "*", a literal, a prefix that
// ends in "*", or such a prefix that begins with the namespace ("ns_x_*").
func scopeMatches(pattern, id, namespace string) bool {
	if pattern == "*" || pattern == id {
		return true
	}
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return false
	}
	if namespace != "" && prefix == namespace+"_" {
		return true
	}
	return id != "*" && strings.HasPrefix(id, prefix)
}

// FindKeys makes Deps.LookupKey of the directory of keys.
func FindKeys(d *projections.Directory, store eventstore.Follower) func(context.Context, string) ([]KeyEntry, error) {
	return func(ctx context.Context, prefix string) ([]KeyEntry, error) {
		found, err := d.KeyByPrefix(ctx, prefix)
		if domain.CodeOf(err) == domain.CodeNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("find key: %w", err)
		}
		head, err := store.LogHead(ctx, found.OrgLog)
		if err != nil {
			return nil, fmt.Errorf("find key: %w", err)
		}
		return []KeyEntry{{Organization: found.OrgLog, Shard: head.Shard, KeyID: found.Key.KeyID}}, nil
	}
}
