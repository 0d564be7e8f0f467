package domain

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTiersOrderAnyGraph: every collection is in one tier, above all that it
// reads; a graph with a cycle has no tiers.
func TestTiersOrderAnyGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "collections")
		c, ids := Config{Collections: map[string]Collection{}}, []string{}
		for i := range n {
			id := fmt.Sprintf("col_%d", i)
			sources := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, 3, rapid.ID).Draw(t, "sources of "+id)
			k := Collection{CollectionID: id}
			for _, s := range sources {
				k.Source.CollectionIDs = append(k.Source.CollectionIDs, fmt.Sprintf("col_%d", s))
			}
			c.Collections[id], ids = k, append(ids, id)
		}
		tiers, err := c.Tiers(slices.Clone(ids))
		if cyclic := hasCycle(c); (err != nil) != cyclic {
			t.Fatalf("a cycle: %v; tiers %v, error %v", cyclic, tiers, err)
		}
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		at := map[string]int{}
		for tier, list := range tiers {
			for _, id := range list {
				if _, twice := at[id]; twice {
					t.Fatalf("%s is in two tiers: %v", id, tiers)
				}
				at[id] = tier
			}
		}
		if len(at) != n {
			t.Fatalf("%d collections in tiers %v, want %d", len(at), tiers, n)
		}
		for id, k := range c.Collections {
			for _, s := range k.Source.CollectionIDs {
				if at[s] >= at[id] {
					t.Fatalf("%s reads %s, which is not below it: %v", id, s, tiers)
				}
			}
		}
	})
}

// hasCycle takes away what reads nothing that is left, until nothing changes.
func hasCycle(c Config) bool {
	left := map[string]bool{}
	for id := range c.Collections {
		left[id] = true
	}
	for changed := true; changed; {
		changed = false
		for id := range left {
			if !slices.ContainsFunc(c.Collections[id].Source.CollectionIDs, func(s string) bool { return left[s] }) {
				delete(left, id)
				changed = true
			}
		}
	}
	return len(left) > 0
}
