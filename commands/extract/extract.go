// Package extract turns source objects into documents' payloads and features.
// An extractor is one file: an exported struct whose fields are its parameters,
// their JSON schema and their documentation at once, and one function; it
// registers itself in this package.
//
// An extractor is a pure function of its parameters and its input: no clock, no
// chance, no state, so that a retry after a crash writes the same documents.
package extract

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"varve/domain"
)

// Extractor is one version of one extractor. Safe for concurrent use.
type Extractor interface {
	// Describe gives what a client is told about it.
	Describe() Description
	// Validate checks parameters; nil, null and {} stand for the defaults. Its
	// error is a CodeInvalid *domain.Error with a violation for each wrong
	// parameter, named feature_extractor.parameters.NAME.
	Validate(params json.RawMessage) error
	// Outputs lists the features that these parameters make, the primary first;
	// errors as Validate.
	Outputs(params json.RawMessage) ([]VectorIndex, error)
	// Extract makes the documents of one source, ordinals 0, 1, 2, …. What is
	// wrong with the source is an *Error.
	Extract(ctx context.Context, in Input) ([]Output, error)
}

// Input is one source: an object of a bucket, or a document of a collection.
type Input struct {
	Params json.RawMessage
	// Values are the mapped inputs in the order of input_mappings; several may
	// have the same key. Without mappings it is empty and extractors look into Fields.
	Values []Value
	// Fields are the source's fields by name, unmapped, as written.
	Fields map[string]json.RawMessage
}

// Value is one mapped input: either a JSON value or the bytes of a blob.
type Value struct {
	Key      string
	JSON     json.RawMessage // nil for bytes
	Bytes    []byte
	MimeType string // of bytes; may be empty
}

// Output is one document.
type Output struct {
	Ordinal  int
	Payload  map[string]json.RawMessage
	Features []domain.Feature
}

// Kind says whether extracting an object again may help.
type Kind string

// The kinds of errors.
const (
	Transient Kind = "transient" // try again: something outside was not there
	Permanent Kind = "permanent" // the object or the configuration is wrong
	Resource  Kind = "resource"  // too big for this process
)

// Error says why one object cannot be extracted. The reason is shown to clients.
type Error struct {
	Kind   Kind
	Reason string
	Err    error // cause, for the log
}

// Error gives the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func permanent(format string, args ...any) *Error {
	return &Error{Kind: Permanent, Reason: fmt.Sprintf(format, args...)}
}

// VectorIndex describes one feature of an extractor.
type VectorIndex struct {
	Name        string   // output of the feature URI
	Aliases     []string // further outputs that mean this one
	Description string
	Type        string // "dense" or "sparse"
	Dimensions  int    // 0 for sparse
	Distance    string // cosine, dot, euclidean; bm25 for sparse
	FeatureURI  string
}

// Dense and sparse, as VectorIndex.Type and the reference's VectorType.
const (
	Dense  = "dense"
	Sparse = "sparse"
)

// Find gives the index that an output of a feature URI means: by name, else by
// alias; the empty output is the primary one.
func Find(indexes []VectorIndex, output string) (VectorIndex, bool) {
	if output == "" && len(indexes) > 0 {
		return indexes[0], true
	}
	for _, x := range indexes {
		if x.Name == output {
			return x, true
		}
	}
	for _, x := range indexes {
		for _, alias := range x.Aliases {
			if alias == output {
				return x, true
			}
		}
	}
	return VectorIndex{}, false
}

// registry holds every extractor by name_version.
var registry = map[string]Extractor{}

// register makes an extractor findable. Two of one name and version are a mistake of the program.
func register(e Extractor) Extractor {
	id := e.Describe().ID
	if _, taken := registry[id]; taken {
		panic("extractor " + id + " is registered twice")
	}
	registry[id] = e
	return e
}

// Lookup finds an extractor; the empty version is the newest. Its error is a CodeNotFound
// *domain.Error that lists what there is.
func Lookup(name, version string) (Extractor, error) {
	if version == "" {
		for _, d := range All() {
			if d.Name == name {
				version = d.Version // the last is the newest
			}
		}
	}
	if e, ok := registry[name+"_"+version]; ok {
		return e, nil
	}
	var known []string
	for _, d := range All() {
		known = append(known, d.Name+" "+d.Version)
	}
	return nil, &domain.Error{Code: domain.CodeNotFound, Reason: "feature_extractor_not_found",
		Message: fmt.Sprintf("extractor %q version %q does not exist; there are: %s", name, version, strings.Join(known, ", ")),
		Details: map[string]any{"resource": "feature_extractor", "id": name + "_" + version}}
}

// All describes every extractor, by name and version.
func All() []Description {
	all := make([]Description, 0, len(registry))
	for _, e := range registry {
		all = append(all, e.Describe())
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		if len(a.Version) != len(b.Version) {
			return len(a.Version) < len(b.Version) // v9 before v10
		}
		return a.Version < b.Version
	})
	return all
}

// featureURI names an output.
func featureURI(name, version, output string) string {
	return domain.FeatureURI{Extractor: name, Version: version, Output: output}.String()
}
