package retrieve

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func valuesOf(pairs ...any) ([]*item, func(*item) (any, bool)) {
	var items []*item
	values := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		id := pairs[i].(string)
		items = append(items, &item{id: id})
		if pairs[i+1] != "missing" {
			values[id] = pairs[i+1]
		}
	}
	return items, func(it *item) (any, bool) { v, ok := values[it.id]; return v, ok }
}

func names(items []*item) []string {
	var list []string
	for _, it := range items {
		list = append(list, it.id)
	}
	return list
}

func TestOrder(t *testing.T) {
	n := func(s string) json.Number { return json.Number(s) }
	mixed := []any{"object", map[string]any{"a": n("1")}, "true", true, "text", "abc", "time", "2020-01-01", "big", n("9007199254740993"), "one", n("1.0"), "none", "missing", "null", nil,
		"later", "2021-01-01T00:00:00Z", "false", false, "less", n("9007199254740992")}
	tests := []struct {
		name       string
		values     []any
		descending bool
		missing    string
		want       []string
	}{
		{"kinds of values", mixed, false, "bottom", []string{"one", "less", "big", "time", "later", "text", "false", "true", "object", "none", "null"}},
		{"kinds of values down", mixed, true, "bottom", []string{"object", "true", "false", "text", "later", "time", "big", "less", "one", "none", "null"}},
		{"missing first", []any{"a", "missing", "b", n("2"), "c", n("1")}, false, "top", []string{"a", "c", "b"}},
		{"missing where they are", []any{"a", n("1"), "b", "missing", "c", n("3"), "d", n("2")}, true, "preserve", []string{"c", "b", "d", "a"}},
		{"equal values by id, in both directions", []any{"b", n("1"), "a", n("1.0"), "c", n("10e-1")}, true, "bottom", []string{"a", "b", "c"}},
		{"nothing", nil, true, "bottom", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			items, value := valuesOf(tt.values...)
			if diff := cmp.Diff(tt.want, names(order(items, value, tt.descending, tt.missing))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOrderDoesNotDependOnTheOrderBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pairs []any
		for i := range rapid.IntRange(0, 12).Draw(t, "n") {
			pairs = append(pairs, fmt.Sprintf("d%02d", i), rapid.SampledFrom([]any{json.Number("1"), json.Number("1.0"), json.Number("-3"), "x", "X", "2020-01-01", true, "missing", []any{json.Number("1")}}).Draw(t, "value"))
		}
		items, value := valuesOf(pairs...)
		descending, missing := rapid.Bool().Draw(t, "descending"), rapid.SampledFrom([]string{"top", "bottom"}).Draw(t, "missing")
		want := names(order(slices.Clone(items), value, descending, missing))
		got := names(order(rapid.Permutation(items).Draw(t, "permutation"), value, descending, missing))
		if !slices.Equal(want, got) {
			t.Fatalf("%v and %v", want, got)
		}
	})
}
