package http

import (
	"strings"

	"varve/domain"
)

// resolveNamespace finds the namespace that a request names: header
// X-Namespace (or X-Namespace-Id), query namespace or namespace_id, by id or
// by name. Sources that disagree are refused. What the organization does not
// own does not exist.
func (s *Server) resolveNamespace(c *Call, n needs) error {
	if !n.Namespaced && !n.Narrows {
		return nil // named or not, it changes nothing
	}
	var named string // where the first one came from
	for _, source := range []struct{ where, value string }{
		{"header X-Namespace", c.Request.Header.Get("X-Namespace")},
		{"header X-Namespace-Id", c.Request.Header.Get("X-Namespace-Id")},
		{"query namespace", c.Query.Get("namespace")},
		{"query namespace_id", c.Query.Get("namespace_id")},
	} {
		value := strings.TrimSpace(source.value)
		if value == "" {
			continue
		}
		found, ok := c.Organization.Namespace(value)
		if !ok {
			if n.Narrows {
				c.Unresolved = value
				c.writer.Header().Set("X-Namespace-Unresolved", value)
				return nil
			}
			e := domain.NotFound("namespace", value)
			e.Reason = "namespace_not_found"
			return e
		}
		if named != "" && found.ID != c.Namespace.ID {
			return &domain.Error{Code: domain.CodeBadRequest, Reason: "namespace_ambiguous", Message: named + " and " + source.where + " name different namespaces; send one of them"}
		}
		c.Namespace, named = found, source.where
	}
	if named == "" && n.Namespaced {
		return &domain.Error{Code: domain.CodeBadRequest, Reason: "namespace_required", Message: "this operation works in a namespace: name it by id or name in the header X-Namespace, or in the query as ?namespace="}
	}
	return nil
}
