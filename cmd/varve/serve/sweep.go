package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/blob"
)

// Unreferenced is a blob that no record refers to.
type Unreferenced struct {
	Scope  string `json:"scope"`
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

// Sweep finds the blobs of an installation that were put more than 24 h ago and that
// no record of the log or of the execution records refers to, and removes them where
// remove is set; then no server may run. A digest that stands anywhere in a record's
// data is a reference. Only what organizations and records keep is looked at: blobs of
// other scopes stay.
func Sweep(ctx context.Context, p Place, remove bool) (found []Unreferenced, swept blob.Swept, err error) {
	if err := p.check("--store", "--blobs"); err != nil {
		return nil, swept, err
	}
	k, err := p.open(ctx, opening{source: true, alone: remove})
	if err != nil {
		return nil, swept, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	old := map[string][]Unreferenced{} // by digest
	if err := k.blobs.Old(ctx, func(scope string, ref blob.Ref) error {
		if packedScopes[scope] || strings.HasPrefix(scope, domain.OrganizationPrefix) {
			old[ref.Digest] = append(old[ref.Digest], Unreferenced{scope, ref.Digest, ref.Size})
		}
		return nil
	}); err != nil {
		return nil, swept, err
	}
	for _, store := range []eventstore.Owner{k.log, k.executions} {
		for shard := range store.Shards() {
			if len(old) == 0 {
				break
			}
			if err := store.(eventstore.Importer).References(ctx, shard, func(data json.RawMessage, ref string) error {
				delete(old, ref)
				digestsIn(data, func(digest []byte) { delete(old, string(digest)) })
				return nil
			}); err != nil {
				return nil, swept, fmt.Errorf("look for references: %w", err)
			}
		}
	}
	for _, list := range old {
		found = append(found, list...)
	}
	slices.SortFunc(found, func(a, b Unreferenced) int {
		return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Digest, b.Digest))
	})
	if !remove {
		return found, swept, nil
	}
	swept, err = k.blobs.Sweep(ctx, func(_ context.Context, scope, digest string) (bool, error) {
		return !slices.ContainsFunc(old[digest], func(u Unreferenced) bool { return u.Scope == scope }), nil
	})
	return found, swept, err
}

const digestSize = len("sha256:") + 64

// digestsIn calls fn for everything in a text that may be a digest.
func digestsIn(text []byte, fn func([]byte)) {
	for {
		i := bytes.Index(text, []byte("sha256:"))
		if i < 0 || len(text) < i+digestSize {
			return
		}
		fn(text[i : i+digestSize])
		text = text[i+1:]
	}
}
