package extract

import (
	"context"
	"encoding/json"
)

// Description is what the registry tells about an extractor, in the reference's
// words (FeatureExtractorResponseModel, UnifiedExtractorResponse).
type Description struct {
	Name                  string            `json:"feature_extractor_name"`
	Version               string            `json:"version"`
	ID                    string            `json:"feature_extractor_id"` // name_version
	Description           string            `json:"description"`
	Icon                  string            `json:"icon"`
	Category              string            `json:"category"`
	Source                string            `json:"source"` // builtin
	InputSchema           json.RawMessage   `json:"input_schema"`
	OutputSchema          json.RawMessage   `json:"output_schema"`
	ParameterSchema       json.RawMessage   `json:"parameter_schema"`
	SupportedInputTypes   []string          `json:"supported_input_types"`
	MaxInputs             map[string]int    `json:"max_inputs"`
	DefaultParameters     json.RawMessage   `json:"default_parameters"`
	RequiredVectorIndexes []IndexDefinition `json:"required_vector_indexes"`
	RequiredPayloadIndex  []json.RawMessage `json:"required_payload_indexes"`
	PositionFields        []string          `json:"position_fields"`
	Capabilities          []string          `json:"capabilities"`
	FeatureURI            string            `json:"feature_uri,omitempty"` // of the primary output
	ExampleUsage          json.RawMessage   `json:"example_usage,omitempty"`
	Code                  map[string]string `json:"-"` // versions of the code that decides results, pinned in effective configurations
}

// IndexDefinition is the reference's VectorIndexDefinition.
type IndexDefinition struct {
	FeatureURI  string      `json:"feature_uri"`
	DisplayName string      `json:"display_name"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Type        string      `json:"type"` // single
	Index       IndexConfig `json:"index"`
}

// IndexConfig is the reference's VectorIndex.
type IndexConfig struct {
	Name            string   `json:"name"`
	Description     string   `json:"description"`
	Dimensions      int      `json:"dimensions,omitempty"`
	Type            string   `json:"type"`
	Distance        string   `json:"distance"`
	Datatype        string   `json:"datatype"`
	SupportedInputs []string `json:"supported_inputs"`
}

// Definition gives an index in the reference's words.
func (x VectorIndex) Definition(inputs ...string) IndexDefinition {
	return IndexDefinition{
		FeatureURI: x.FeatureURI, DisplayName: x.Name, Name: x.Name, Description: x.Description, Type: "single",
		Index: IndexConfig{Name: x.Name, Description: x.Description, Dimensions: x.Dimensions, Type: x.Type, Distance: x.Distance, Datatype: "float32", SupportedInputs: inputs},
	}
}

// kind is an extractor whose parameters are a struct P (see parameters.go for its tags).
type kind[P any] struct {
	Description
	// check tells what no tag can; path is that of the parameters.
	check   func(path string, p P) []violation
	outputs func(P) []VectorIndex
	extract func(context.Context, P, Input) ([]Output, error)
}

// define completes a description from the parameters' struct.
func define[P any](k kind[P]) *kind[P] {
	var zero P
	defaults, violations := decodeParameters[P](k.Name, nil)
	if len(violations) != 0 {
		panic("extractor " + k.Name + ": its defaults are invalid: " + violations[0].Message)
	}
	k.ID = k.Name + "_" + k.Version
	k.Source = "builtin"
	k.ParameterSchema = schemaOf(k.Name, zero)
	k.DefaultParameters = defaultsOf(k.Name, zero)
	k.RequiredVectorIndexes = []IndexDefinition{}
	k.RequiredPayloadIndex = []json.RawMessage{}
	for i, x := range k.outputs(defaults) {
		if i == 0 {
			k.FeatureURI = x.FeatureURI
		}
		k.RequiredVectorIndexes = append(k.RequiredVectorIndexes, x.Definition(k.SupportedInputTypes...))
	}
	return &k
}

// Describe implements Extractor.
func (k *kind[P]) Describe() Description { return k.Description }

// Validate implements Extractor.
func (k *kind[P]) Validate(params json.RawMessage) error {
	_, err := k.parameters(params)
	return err
}

// Outputs implements Extractor.
func (k *kind[P]) Outputs(params json.RawMessage) ([]VectorIndex, error) {
	p, err := k.parameters(params)
	if err != nil {
		return nil, err
	}
	return k.outputs(p), nil
}

// Extract implements Extractor. Parameters that were never validated fail the object.
func (k *kind[P]) Extract(ctx context.Context, in Input) ([]Output, error) {
	p, err := k.parameters(in.Params)
	if err != nil {
		return nil, &Error{Kind: Permanent, Reason: err.Error(), Err: err}
	}
	return k.extract(ctx, p, in)
}

func (k *kind[P]) parameters(params json.RawMessage) (P, error) {
	p, violations := decodeParameters[P](k.Name, params)
	if len(violations) == 0 && k.check != nil {
		violations = k.check(parametersPath, p)
	}
	return p, invalid(violations)
}
