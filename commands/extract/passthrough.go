package extract

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"

	"varve/domain"
)

// PassthroughExtractor takes vectors that the source brings with it, and its fields.
type PassthroughExtractor struct {
	VectorFields     []VectorField `json:"vector_fields" doc:"Fields of the source that hold vectors."`
	PreserveMetadata bool          `json:"preserve_metadata" default:"true" doc:"Whether the document gets the source's other fields."`

	RowFormat json.RawMessage `json:"row_format" refused:"objects are not files of rows"`
}

// VectorField is one of them.
type VectorField struct {
	Field      string `json:"field" min:"1" doc:"Dot path of the field, a list of numbers."`
	Name       string `json:"name" min:"1" doc:"Name of the vector: the output in mixpeek://passthrough_extractor@v1/NAME."`
	Dimensions int    `json:"dimensions" min:"1" max:"65536" doc:"How many numbers it has."`
	Distance   string `json:"distance" default:"cosine" enum:"cosine dot euclidean" doc:"How two of them are compared."`
}

const (
	passthroughExtractor = "passthrough_extractor"
	passthroughV1        = "v1"
)

var vectorName = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

var _ = register(define(kind[PassthroughExtractor]{
	Description: Description{
		Name: passthroughExtractor, Version: passthroughV1, Icon: "arrow-right", Category: "general",
		Description:         "Takes over fields and vectors that the source already has; computes nothing.",
		SupportedInputTypes: []string{"json", "text", "string", "number", "boolean", "array", "object"},
		MaxInputs:           map[string]int{},
		InputSchema:         json.RawMessage(`{"type":"object","properties":{},"additionalProperties":true}`),
		OutputSchema:        json.RawMessage(`{"type":"object","properties":{},"additionalProperties":true}`),
		PositionFields:      []string{},
		Capabilities:        []string{"bring_your_own_vectors"},
		ExampleUsage:        json.RawMessage(`{"feature_extractor_name":"passthrough_extractor","version":"v1","parameters":{"extractor_type":"passthrough_extractor","vector_fields":[{"field":"embedding","name":"embedding","dimensions":1536}]}}`),
		Code:                map[string]string{},
	},
	check:   checkPassthrough,
	outputs: passthroughOutputs,
	extract: extractPassthrough,
}))

func checkPassthrough(path string, p PassthroughExtractor) []violation {
	var out []violation
	seen := map[string]bool{}
	for i, f := range p.VectorFields {
		at := fmt.Sprintf("%s.vector_fields[%d].name", path, i)
		if !vectorName.MatchString(f.Name) {
			out = append(out, violation{Path: at, Type: "pattern", Message: fmt.Sprintf("is %q; use letters, digits and _ . / -", f.Name)})
		}
		if seen[f.Name] {
			out = append(out, violation{Path: at, Type: "duplicate", Message: fmt.Sprintf("%q is the name of another vector; names must differ", f.Name)})
		}
		seen[f.Name] = true
	}
	return out
}

func passthroughOutputs(p PassthroughExtractor) []VectorIndex {
	out := []VectorIndex{}
	for i, f := range p.VectorFields {
		x := VectorIndex{Name: f.Name, Description: fmt.Sprintf("Vector taken from the field %q.", f.Field), Type: Dense,
			Dimensions: f.Dimensions, Distance: f.Distance, FeatureURI: featureURI(passthroughExtractor, passthroughV1, f.Name)}
		if i == 0 && f.Name != "embedding" {
			x.Aliases = []string{"embedding"}
		}
		out = append(out, x)
	}
	return out
}

func extractPassthrough(_ context.Context, p PassthroughExtractor, in Input) ([]Output, error) {
	fields := make(map[string]json.RawMessage, len(in.Fields)+len(in.Values))
	for name, v := range in.Fields {
		fields[name] = v
	}
	for _, v := range in.Values {
		if v.JSON != nil {
			fields[v.Key] = v.JSON
		}
	}
	out := Output{Payload: map[string]json.RawMessage{}}
	indexes := passthroughOutputs(p)
	for i, f := range p.VectorFields {
		raw, ok := at(fields, f.Field)
		if !ok || isNull(raw) {
			return nil, permanent("the vector field %q is missing; the source has %s", f.Field, fieldNames(fields))
		}
		v, err := vector(f, raw)
		if err != nil {
			return nil, err
		}
		out.Features = append(out.Features, domain.Feature{URI: indexes[i].FeatureURI, Dense: v})
	}
	if p.PreserveMetadata {
		for _, f := range p.VectorFields {
			fields = without(fields, f.Field)
		}
		out.Payload = fields
	}
	return []Output{out}, nil
}

func vector(f VectorField, raw json.RawMessage) ([]float32, error) {
	var numbers []*float64
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return nil, permanent("the vector field %q is %s; it must be a list of %d numbers", f.Field, short(raw), f.Dimensions)
	}
	if len(numbers) != f.Dimensions {
		return nil, permanent("the vector field %q has %d numbers; the collection says %d", f.Field, len(numbers), f.Dimensions)
	}
	v := make([]float32, len(numbers))
	zero := true
	for i, x := range numbers {
		if x == nil {
			return nil, permanent("the vector field %q has null at %d; it must have numbers only", f.Field, i)
		}
		v[i] = float32(*x)
		if math.IsInf(float64(v[i]), 0) {
			return nil, permanent("the vector field %q has %v at %d, more than a 32-bit float holds", f.Field, *x, i)
		}
		zero = zero && v[i] == 0
	}
	if zero && f.Distance == "cosine" {
		return nil, permanent("the vector field %q is all zeros; the cosine distance needs a direction", f.Field)
	}
	return v, nil
}

// at finds a dot path; a field whose name has the dots goes first.
func at(fields map[string]json.RawMessage, path string) (json.RawMessage, bool) {
	if v, ok := fields[path]; ok {
		return v, true
	}
	head, rest, nested := strings.Cut(path, ".")
	inner, ok := object(fields[head])
	if !nested || !ok {
		return nil, false
	}
	return at(inner, rest)
}

// without gives fields less a dot path; it changes nothing in place but the outermost map.
func without(fields map[string]json.RawMessage, path string) map[string]json.RawMessage {
	if _, ok := fields[path]; ok {
		delete(fields, path)
		return fields
	}
	head, rest, nested := strings.Cut(path, ".")
	if inner, ok := object(fields[head]); nested && ok {
		fields[head] = encode(without(inner, rest))
	}
	return fields
}

func object(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	var m map[string]json.RawMessage
	if isNull(raw) || json.Unmarshal(raw, &m) != nil {
		return nil, false
	}
	return m, true
}
