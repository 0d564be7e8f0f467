package http

import (
	"context"
	"encoding/json"

	"varve/commands/extract"
)

var _ = noun("extractor", (*Server).extractorRoutes)

func (s *Server) extractorRoutes() {
	read := needs{Permission: "public", Resource: "extractor"} // as the reference: the same for everyone
	s.route("GET", "/v1/collections/features/extractors", read, handle(s.listExtractors))
	s.route("GET", "/v1/collections/features/extractors/{feature_extractor_id}", read, handle(s.showExtractor))
	s.route("GET", "/v1/collections/features", read, handle(s.discoverFeatures))
	s.route("GET", "/v1/extractors", needs{Permission: "any", Resource: "extractor"}, handle(s.allExtractors))
	s.route("GET", "/v1/namespaces/{namespace_id}/extractors", needs{Permission: "read", Resource: "namespace"}, handle(s.namespaceExtractors))
	s.route("GET", "/v1/namespaces/{namespace_id}/extractors/{extractor_id}", needs{Permission: "read", Resource: "namespace"}, handle(s.namespaceExtractor))
	s.route("GET", "/v1/discovery/extractors", read, handle(s.extractorDiscovery))
}

func (s *Server) listExtractors(context.Context, *Request[None]) (any, error) {
	return orEmpty(extract.All()), nil
}

func (s *Server) showExtractor(_ context.Context, r *Request[None]) (any, error) {
	return findExtractor(r.Path("feature_extractor_id"))
}

// findExtractor finds by id (name_version) or by name, then the newest.
func findExtractor(identifier string) (extract.Description, error) {
	for _, d := range extract.All() {
		if d.ID == identifier {
			return d, nil
		}
	}
	e, err := extract.Lookup(identifier, "")
	if err != nil {
		return extract.Description{}, err
	}
	return e.Describe(), nil
}

type featureDiscovery struct {
	Modalities        []featureModality `json:"modalities"`
	CustomFeatures    []any             `json:"custom_features"`
	FullResMultiplier float64           `json:"full_res_multiplier"`
}

type featureModality struct {
	Modality string          `json:"modality"`
	Features []featureOfKind `json:"features"`
}

type featureOfKind struct {
	Key         string `json:"key"` // what features[] of a namespace takes
	FeatureURI  string `json:"feature_uri"`
	Extractor   string `json:"feature_extractor_id"`
	Description string `json:"description"`
}

// discoverFeatures lists features by the kind of input that they are made of.
func (s *Server) discoverFeatures(context.Context, *Request[None]) (any, error) {
	a := featureDiscovery{Modalities: []featureModality{}, CustomFeatures: []any{}, FullResMultiplier: 1}
	place := map[string]int{}
	for _, d := range extract.All() {
		for _, input := range d.SupportedInputTypes {
			if len(d.RequiredVectorIndexes) == 0 {
				continue // it passes on what it is given
			}
			i, known := place[input]
			if !known {
				i = len(a.Modalities)
				place[input] = i
				a.Modalities = append(a.Modalities, featureModality{Modality: input, Features: []featureOfKind{}})
			}
			for _, x := range d.RequiredVectorIndexes {
				a.Modalities[i].Features = append(a.Modalities[i].Features, featureOfKind{Key: d.ID, FeatureURI: x.FeatureURI, Extractor: d.ID, Description: x.Description})
			}
		}
	}
	return a, nil
}

// extractorList is UnifiedExtractorListResponse.
type extractorList struct {
	Success      bool                  `json:"success"`
	Extractors   []extract.Description `json:"extractors"`
	Total        int                   `json:"total"`
	NamespaceID  string                `json:"namespace_id"`
	BuiltinCount int                   `json:"builtin_count"`
	CustomCount  int                   `json:"custom_count"`
}

func extractorsOf(c *Call, namespace string) (*extractorList, error) {
	source, err := c.QueryEnum("source", "builtin", "custom", "community", "all")
	if err != nil {
		return nil, err
	}
	if _, err := c.QueryBool("include_disabled", false); err != nil {
		return nil, err
	}
	a := &extractorList{Success: true, Extractors: []extract.Description{}, NamespaceID: namespace}
	for _, d := range extract.All() {
		if source == "" || source == "all" || source == d.Source {
			a.Extractors = append(a.Extractors, d)
		}
	}
	a.Total, a.BuiltinCount = len(a.Extractors), len(a.Extractors)
	return a, nil
}

func (s *Server) allExtractors(_ context.Context, r *Request[None]) (any, error) {
	return extractorsOf(r.Call, "")
}

func (s *Server) namespaceExtractors(_ context.Context, r *Request[None]) (any, error) {
	if err := inPath(r.Call, "namespace_id"); err != nil {
		return nil, err
	}
	return extractorsOf(r.Call, r.Namespace.ID)
}

func (s *Server) namespaceExtractor(_ context.Context, r *Request[None]) (any, error) {
	if err := inPath(r.Call, "namespace_id"); err != nil {
		return nil, err
	}
	return findExtractor(r.Path("extractor_id"))
}

// extractorDiscovery is ExtractorDiscovery: the same in other words.
type extractorInDiscovery struct {
	Name                  string                    `json:"name"`
	Version               string                    `json:"version"`
	Description           string                    `json:"description"`
	SupportedModalities   []string                  `json:"supported_modalities"`
	OutputFeatures        []extract.IndexDefinition `json:"output_features"`
	InputSchema           json.RawMessage           `json:"input_schema"`
	ParameterSchema       json.RawMessage           `json:"parameter_schema"`
	OutputSchema          json.RawMessage           `json:"output_schema"`
	SupportedInputTypes   []string                  `json:"supported_input_types"`
	MaxInputs             map[string]int            `json:"max_inputs"`
	DefaultParameters     json.RawMessage           `json:"default_parameters"`
	RequiredVectorIndexes []extract.IndexDefinition `json:"required_vector_indexes"`
	PositionFields        []string                  `json:"position_fields"`
	Capabilities          []string                  `json:"capabilities"`
	ExampleUsage          json.RawMessage           `json:"example_usage"`
}

func (s *Server) extractorDiscovery(context.Context, *Request[None]) (any, error) {
	return extractorsInDiscovery(), nil
}

func extractorsInDiscovery() []extractorInDiscovery {
	list := []extractorInDiscovery{}
	for _, d := range extract.All() {
		list = append(list, extractorInDiscovery{
			Name: d.Name, Version: d.Version, Description: d.Description, SupportedModalities: d.SupportedInputTypes, OutputFeatures: d.RequiredVectorIndexes,
			InputSchema: object(d.InputSchema), ParameterSchema: object(d.ParameterSchema), OutputSchema: object(d.OutputSchema), SupportedInputTypes: d.SupportedInputTypes,
			MaxInputs: d.MaxInputs, DefaultParameters: object(d.DefaultParameters), RequiredVectorIndexes: d.RequiredVectorIndexes,
			PositionFields: orEmpty(d.PositionFields), Capabilities: orEmpty(d.Capabilities), ExampleUsage: orNull(d.ExampleUsage),
		})
	}
	return list
}
