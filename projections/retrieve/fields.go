package retrieve

import (
	"maps"
	"slices"
	"strings"

	"varve/domain"
)

// Two views of one document meet in filters: documents as the API shows them have
// what Varve knows under _internal, an index has it at the root (vector.Fields).
// atRoot maps the one to the other, so that a filter means the same before a
// search, where the index selects, and after it.
var atRoot = map[string]string{
	"_internal.document_id":                  "document_id",
	"_internal.collection_id":                "collection_id",
	"_internal.batch_id":                     "batch_id",
	"_internal.content_hash":                 "content_hash",
	"_internal.metadata":                     "metadata",
	"_internal.lineage.root_object_id":       "root_object_id",
	"_internal.lineage.root_bucket_id":       "root_bucket_id",
	"_internal.lineage.source_type":          "source_type",
	"_internal.lineage.source_object_id":     "source_object_id",
	"_internal.lineage.source_document_id":   "source_document_id",
	"_internal.lineage.source_collection_id": "source_collection_id",
	"_internal.lineage.path":                 "lineage_path",
}

// rootField gives an index's name of a field; ok is false for what an index does
// not have.
func rootField(field string) (name string, ok bool) {
	if !strings.HasPrefix(field, "_internal.") && field != "_internal" {
		return field, true
	}
	if name, ok := atRoot[field]; ok {
		return name, true
	}
	if rest, ok := strings.CutPrefix(field, "_internal.metadata."); ok {
		return "metadata." + rest, true
	}
	return "", false
}

// forIndex rewrites a filter for an index.
func forIndex(f *domain.Filter) (*domain.Filter, error) {
	changed := false
	for _, field := range f.Fields() {
		name, ok := rootField(field)
		if !ok {
			return nil, domain.Invalid("filters", "field", "documents cannot be selected by %s before a search; use an attribute_filter after it, or one of %s", field, strings.Join(slices.Sorted(maps.Keys(atRoot)), ", "))
		}
		changed = changed || name != field
	}
	if !changed {
		return f, nil
	}
	return f.Renamed(func(field string) string {
		name, _ := rootField(field)
		return name
	})
}

// forFilter gives a document as the filter asks for it: with its score, and with
// what an index has at the root where the filter names that.
func forFilter(f *domain.Filter, it *item) map[string]any {
	doc, cloned := it.doc, false
	set := func(name string, v any) {
		if !cloned {
			doc, cloned = maps.Clone(doc), true
		}
		doc[name] = v
	}
	for _, field := range f.Fields() {
		name, _, _ := strings.Cut(field, ".")
		if name == "score" {
			set("score", it.score)
			continue
		}
		if _, has := doc[name]; has || !slices.Contains(rootNames, name) {
			continue
		}
		for path, root := range atRoot {
			if root == name {
				if v, ok := domain.Lookup(doc, path); ok {
					set(name, v)
				}
			}
		}
	}
	return doc
}

var rootNames = slices.Sorted(maps.Values(atRoot))
