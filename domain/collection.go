package domain

import (
	"encoding/json"
	"sort"
	"strings"
)

// Collection says how source objects, or another collection's documents, become documents.
type Collection struct {
	CollectionID string           `json:"collection_id"`
	Name         string           `json:"collection_name"`
	Description  string           `json:"description,omitempty"`
	Source       CollectionSource `json:"source"`
	Extractor    ExtractorConfig  `json:"feature_extractor"`
	InputSchema  json.RawMessage  `json:"input_schema,omitempty"`
	Enabled      bool             `json:"enabled"`
	Metadata     json.RawMessage  `json:"metadata,omitempty"`
	// Rest holds members of the reference that are kept and shown but that
	// nothing acts on yet (schedule, taxonomy_applications, tiering, …).
	Rest    map[string]json.RawMessage `json:"rest,omitempty"`
	Created Stamp                      `json:"-"`
	Updated Stamp                      `json:"-"`
}

// CollectionSource names what a collection reads, by id.
type CollectionSource struct {
	Type          string          `json:"type"` // bucket, collection, direct_upsert
	BucketIDs     []string        `json:"bucket_ids,omitempty"`
	CollectionIDs []string        `json:"collection_ids,omitempty"`
	Filters       json.RawMessage `json:"source_filters,omitempty"`
}

// ExtractorConfig is an extractor with its parameters and mappings, normalised.
type ExtractorConfig struct {
	Name             string          `json:"feature_extractor_name"`
	Version          string          `json:"version"`
	Parameters       json.RawMessage `json:"parameters,omitempty"`
	InputMappings    []InputMapping  `json:"input_mappings,omitempty"`
	FieldPassthrough []Passthrough   `json:"field_passthrough,omitempty"`
	IncludeAllFields bool            `json:"include_all_source_fields,omitempty"`
}

// InputMapping gives an extractor's input a path of the source.
type InputMapping struct {
	InputKey string          `json:"input_key"`
	Path     string          `json:"path,omitempty"`    // dot path in the source's fields; a blob's property
	Literal  json.RawMessage `json:"literal,omitempty"` // instead of a path
}

// Passthrough copies a field of the source into the document.
type Passthrough struct {
	SourcePath string          `json:"source_path"`
	TargetPath string          `json:"target_path,omitempty"` // empty: the source's path
	Default    json.RawMessage `json:"default,omitempty"`
	Required   bool            `json:"required,omitempty"`
}

// Events about collections, in the configuration stream.
type (
	// CollectionSaved holds a collection as it is from now on.
	CollectionSaved struct{ Collection }
	// CollectionDeleted ends a collection and, by position, its documents.
	CollectionDeleted struct {
		CollectionID string `json:"collection_id"`
	}
)

// EventType is collection.saved.
func (*CollectionSaved) EventType() string { return "collection.saved" }

// EventType is collection.deleted.
func (*CollectionDeleted) EventType() string { return "collection.deleted" }

var (
	_ = register[CollectionSaved]()
	_ = register[CollectionDeleted]()
)

// Tiers orders collections by their depth in the graph of sources: tier 0
// reads buckets, tier n reads collections of tiers below n. It keeps only
// collections in the given set, and refuses cycles, naming one.
func (c Config) Tiers(collections []string) ([][]string, error) {
	in := map[string]bool{}
	for _, id := range collections {
		in[id] = true
	}
	depth, visiting := map[string]int{}, map[string]bool{}
	var visit func(id string, path []string) (int, error)
	visit = func(id string, path []string) (int, error) {
		if d, ok := depth[id]; ok {
			return d, nil
		}
		if visiting[id] {
			return 0, Invalid("source.collection_id", "cycle", "collections form a cycle: %s", strings.Join(append(path, id), " → "))
		}
		visiting[id] = true
		d := 0
		for _, source := range c.Collections[id].Source.CollectionIDs {
			sd, err := visit(source, append(path, id))
			if err != nil {
				return 0, err
			}
			if in[source] {
				d = max(d, sd+1)
			}
		}
		depth[id] = d
		return d, nil
	}
	var tiers [][]string
	sort.Strings(collections)
	for _, id := range collections {
		d, err := visit(id, nil)
		if err != nil {
			return nil, err
		}
		for len(tiers) <= d {
			tiers = append(tiers, nil)
		}
		tiers[d] = append(tiers[d], id)
	}
	return tiers, nil
}

// DownstreamOf lists the enabled collections that read a bucket, directly or
// through other collections.
func (c Config) DownstreamOf(bucket string) []string {
	found := map[string]bool{}
	for changed := true; changed; {
		changed = false
		for id, k := range c.Collections {
			if found[id] || !k.Enabled {
				continue
			}
			reads := false
			for _, b := range k.Source.BucketIDs {
				reads = reads || b == bucket
			}
			for _, s := range k.Source.CollectionIDs {
				reads = reads || found[s]
			}
			if reads {
				found[id], changed = true, true
			}
		}
	}
	return sortedIDs(found)
}

// SaveCollection decides a collection's creation or change: sources are named
// by id or name and become ids; what does not exist, a name in use and a cycle
// are refused. Source and extractor of an existing collection do not change.
func (c Config) SaveCollection(k Collection) (*CollectionSaved, error) {
	if err := CheckName("collection_name", k.Name, 3, 100); err != nil {
		return nil, err
	}
	if other, ok := c.Collection(k.Name); ok && other.CollectionID != k.CollectionID {
		return nil, &Error{Code: CodeConflict, Reason: "collection_name_taken", Message: "a collection named " + k.Name + " exists in this namespace"}
	}
	if err := CheckEnum("source.type", k.Source.Type, "bucket", "collection", "direct_upsert"); err != nil {
		return nil, err
	}
	switch k.Source.Type {
	case "bucket":
		if len(k.Source.BucketIDs) == 0 {
			return nil, Invalid("source.bucket_ids", "missing", "a source of type bucket names at least one bucket")
		}
		ids := make([]string, len(k.Source.BucketIDs))
		for i, identifier := range k.Source.BucketIDs {
			b, ok := c.Bucket(identifier)
			if !ok {
				return nil, Invalid(indexed("source.bucket_ids", i), "reference", "bucket %q does not exist in this namespace", identifier)
			}
			ids[i] = b.BucketID
		}
		k.Source.BucketIDs = ids
	case "collection":
		if len(k.Source.CollectionIDs) == 0 {
			return nil, Invalid("source.collection_ids", "missing", "a source of type collection names at least one collection")
		}
		ids, err := c.ResolveCollections("source.collection_ids", k.Source.CollectionIDs)
		if err != nil {
			return nil, err
		}
		k.Source.CollectionIDs = ids
	}
	if k.Source.Filters != nil {
		if _, err := ParseFilter("source.source_filters", k.Source.Filters); err != nil {
			return nil, err
		}
	}
	after := c.Apply(&CollectionSaved{Collection: k}, Stamp{Version: c.Version + 1})
	if _, err := after.Tiers([]string{k.CollectionID}); err != nil {
		return nil, err
	}
	return &CollectionSaved{Collection: k}, nil
}

// ResolveCollections turns ids and names into ids; what does not exist is named.
func (c Config) ResolveCollections(path string, identifiers []string) ([]string, error) {
	ids := make([]string, len(identifiers))
	for i, identifier := range identifiers {
		k, ok := c.Collection(identifier)
		if !ok {
			return nil, Invalid(indexed(path, i), "reference", "collection %q does not exist in this namespace", identifier)
		}
		ids[i] = k.CollectionID
	}
	return ids, nil
}

// DeleteCollection decides a collection's deletion. One that another
// collection reads is refused, naming the reader.
func (c Config) DeleteCollection(identifier string) (*CollectionDeleted, error) {
	k, ok := c.Collection(identifier)
	if !ok {
		return nil, NotFound("collection", identifier)
	}
	for _, reader := range c.Collections {
		for _, source := range reader.Source.CollectionIDs {
			if source == k.CollectionID {
				return nil, &Error{Code: CodeConflict, Reason: "collection_in_use", Message: "collection " + reader.Name + " reads " + k.Name + "; delete it first"}
			}
		}
	}
	return &CollectionDeleted{CollectionID: k.CollectionID}, nil
}

// RootBuckets lists the buckets that a collection reads, directly or through
// other collections.
func (c Config) RootBuckets(collection string) []string {
	found, seen := map[string]bool{}, map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, b := range c.Collections[id].Source.BucketIDs {
			if _, ok := c.Buckets[b]; ok {
				found[b] = true
			}
		}
		for _, source := range c.Collections[id].Source.CollectionIDs {
			visit(source)
		}
	}
	visit(collection)
	return sortedIDs(found)
}

// ReadersOf lists a collection and the enabled collections that read it,
// directly or through others.
func (c Config) ReadersOf(collection string) []string {
	found := map[string]bool{collection: true}
	for changed := true; changed; {
		changed = false
		for id, k := range c.Collections {
			for _, source := range k.Source.CollectionIDs {
				if !found[id] && k.Enabled && found[source] {
					found[id], changed = true, true
				}
			}
		}
	}
	return sortedIDs(found)
}

func sortedIDs(set map[string]bool) []string {
	ids := make([]string, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}
