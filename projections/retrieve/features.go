package retrieve

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"varve/domain"
	"varve/domain/text"
)

// DefaultFeatureURI is searched where a request names no feature.
const DefaultFeatureURI = "mixpeek://" + defaultExtractor + "/embedding"

// defaultExtractor goes first where a bare name fits several.
const defaultExtractor = "text_extractor@v1"

// output is one feature that an extractor gives.
type output struct {
	name    string
	aliases []string
	kind    string // dense, sparse
	dims    int
}

// builtIn lists what the extractors give whatever their parameters are, the
// primary output first. commands/extract computes them under these names.
var builtIn = map[string][]output{
	"text_extractor@v1": {
		{"minilm_l6_v2_static_256", []string{"embedding"}, "dense", text.Dimensions},
		{"bm25", []string{"terms", "lexical", "sparse"}, "sparse", 0},
	},
	"passthrough_extractor@v1": nil,
}

// outputsOf gives a collection's features.
func outputsOf(k domain.Collection) []output {
	if k.Extractor.Name != "passthrough_extractor" {
		return builtIn[k.Extractor.Name+"@"+k.Extractor.Version]
	}
	var p struct {
		Fields []struct {
			Name       string `json:"name"`
			Dimensions int    `json:"dimensions"`
		} `json:"vector_fields"`
	}
	if json.Unmarshal(k.Extractor.Parameters, &p) != nil {
		return nil
	}
	var list []output
	for i, f := range p.Fields {
		o := output{name: f.Name, kind: "dense", dims: f.Dimensions}
		if i == 0 {
			o.aliases = []string{"embedding"}
		}
		list = append(list, o)
	}
	return list
}

// feature is a feature URI as a retriever writes it, resolved.
type feature struct {
	URI     string `json:"uri"`
	Kind    string `json:"kind"`              // dense, sparse
	Dims    int    `json:"dims,omitempty"`    // 0: not known
	Lexical string `json:"lexical,omitempty"` // the sparse output of the same extractor
}

// resolveFeature finds what a written URI names in the given collections: the
// exact output, an alias of one, or the extractor's primary output. In
// namespaces that hold their clients' own vectors a bare name is a vector's name;
// elsewhere it is an output's.
func resolveFeature(path string, c domain.Config, collections []string, written string) (feature, error) {
	extractors, open := extractorsOf(c, collections)
	if !strings.HasPrefix(written, "mixpeek://") {
		for _, e := range append([]string{defaultExtractor}, slices.Sorted(maps.Keys(extractors))...) {
			if f, ok := findOutput(e, extractors[e], written); ok {
				return f, nil
			}
		}
		if open {
			return feature{URI: written, Kind: "dense"}, nil
		}
		return feature{}, unknownFeature(path, written, extractors)
	}
	u, err := domain.ParseFeatureURI(path, written)
	if err != nil {
		return feature{}, err
	}
	e := u.Extractor + "@" + u.Version
	list, used := extractors[e]
	if used {
		if f, ok := findOutput(e, list, u.Output); ok {
			return f, nil
		}
	}
	if _, ours := builtIn[e]; open || used && !ours {
		return feature{URI: written, Kind: "dense"}, nil
	}
	return feature{}, unknownFeature(path, written, extractors)
}

func findOutput(extractor string, list []output, name string) (feature, bool) {
	at := slices.IndexFunc(list, func(o output) bool { return o.name == name })
	if at < 0 {
		at = slices.IndexFunc(list, func(o output) bool { return slices.Contains(o.aliases, name) })
	}
	if name == "" && len(list) > 0 {
		at = 0
	}
	if at < 0 {
		return feature{}, false
	}
	f := feature{URI: "mixpeek://" + extractor + "/" + list[at].name, Kind: list[at].kind, Dims: list[at].dims}
	for _, other := range list {
		if other.kind == "sparse" {
			f.Lexical = "mixpeek://" + extractor + "/" + other.name
		}
	}
	return f, true
}

// extractorsOf gives the extractors (name@version) of collections with their
// outputs; the built-in ones where the namespace has no collection yet. open says
// that documents may have features of their clients' own.
func extractorsOf(c domain.Config, collections []string) (extractors map[string][]output, open bool) {
	open = c.Mode == "standalone"
	extractors = map[string][]output{}
	for _, id := range collections {
		k, ok := c.Collections[id]
		if !ok {
			continue
		}
		open = open || k.Source.Type == "direct_upsert"
		if k.Extractor.Name == "" {
			continue
		}
		name := k.Extractor.Name + "@" + k.Extractor.Version
		list := extractors[name]
		for _, o := range outputsOf(k) {
			if !slices.ContainsFunc(list, func(p output) bool { return p.name == o.name }) {
				list = append(list, o)
			}
		}
		extractors[name] = list
	}
	if len(extractors) == 0 && len(collections) == 0 {
		for name, list := range builtIn {
			extractors[name] = list
		}
	}
	return extractors, open
}

func unknownFeature(path, written string, extractors map[string][]output) error {
	var exist []string
	for _, e := range slices.Sorted(maps.Keys(extractors)) {
		for _, o := range extractors[e] {
			exist = append(exist, "mixpeek://"+e+"/"+o.name)
		}
	}
	if len(exist) == 0 {
		return domain.Invalid(path, "feature_uri", "%q names no feature: the collections' extractors (%s) compute none", written, strings.Join(slices.Sorted(maps.Keys(extractors)), ", "))
	}
	return domain.Invalid(path, "feature_uri", "%q names no feature of the collections that are searched; there are %s", written, strings.Join(exist, ", "))
}
