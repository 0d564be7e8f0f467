package retrieve

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"varve/domain"
)

// MaxStages is how many stages one retriever may have.
const MaxStages = 50

// stale maps ids that older texts use to today's stages.
var stale = map[string]string{
	"vector_search": "feature_search", "hybrid_search": "feature_search", "semantic_search": "feature_search",
	"knn_search": "feature_search", "feature_filter": "feature_search",
	"structured_filter": "attribute_filter", "filter": "attribute_filter",
	"sort_by_field": "sort_attribute", "llm_enrichment": "llm_enrich",
}

// stageMembers are the members of a stage around its parameters.
var stageMembers = []string{"stage_name", "name", "stage_type", "stage_id", "config", "parameters", "pre_filters", "post_filters",
	"batch_size", "description", "on_error", "output_alias"}

// Normalize reads the stages of a request in every spelling that clients send:
//
//   - canonical: {stage_name, stage_type, config: {stage_id, parameters, pre_filters,
//     post_filters}, batch_size, description, on_error, output_alias};
//   - flat: {stage_type, stage_id, parameters};
//   - the wrapper's: {type, …parameters}, where type is a stage id;
//   - stale stage ids, and feature_search with one search written flat.
//
// Names are made unique (a missing one is the stage id), stage types follow the
// registry. path is the list's own ("stages"); errors name each place below it.
// Parameters are checked by Check.
func Normalize(path string, raw []json.RawMessage) ([]domain.Stage, error) {
	switch {
	case len(raw) == 0:
		return nil, domain.Invalid(path, "missing", "a retriever needs at least one stage, for example %s", kinds["feature_search"].example)
	case len(raw) > MaxStages:
		return nil, domain.Invalid(path, "range", "has %d stages; at most %d are run", len(raw), MaxStages)
	}
	stages := make([]domain.Stage, len(raw))
	names := map[string]bool{}
	for i, r := range raw {
		at := fmt.Sprintf("%s[%d]", path, i)
		v, err := domain.DecodeValue(r)
		if err != nil {
			return nil, domain.Invalid(at, "json", "%s", err.Error())
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, domain.Invalid(at, "type", "a stage is an object, not %s", describe(v))
		}
		n := normalizer{path: at, m: m}
		if stages[i], err = n.stage(); err != nil {
			return nil, err
		}
		stages[i].Name = unique(names, stages[i].Name)
	}
	return stages, nil
}

func unique(taken map[string]bool, name string) string {
	free := name
	for n := 2; taken[free]; n++ {
		free = name + "_" + strconv.Itoa(n)
	}
	taken[free] = true
	return free
}

type normalizer struct {
	path string
	m    map[string]any
	err  error
}

func (n *normalizer) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

func (n *normalizer) text(m map[string]any, path string, keys ...string) string {
	for _, key := range keys {
		switch s := m[key].(type) {
		case nil:
		case string:
			return s
		default:
			n.fail(domain.Invalid(path+"."+key, "type", "must be a string, not %s", describe(s)))
		}
	}
	return ""
}

func (n *normalizer) stage() (domain.Stage, error) {
	s := domain.Stage{
		Name:        n.text(n.m, n.path, "stage_name", "name"),
		Description: n.text(n.m, n.path, "description"),
		OnError:     n.text(n.m, n.path, "on_error"),
		OutputAlias: n.text(n.m, n.path, "output_alias"),
	}
	if isNumber(n.m["batch_size"]) {
		s.BatchSize = string(domain.EncodeValue(n.m["batch_size"]))
	} else {
		s.BatchSize = n.text(n.m, n.path, "batch_size")
	}
	written, params, body := n.parts()
	if n.err != nil {
		return s, n.err
	}
	s.ID = written
	if today := stale[written]; today != "" {
		s.ID = today
	}
	k, err := lookup(n.idPath(), s.ID)
	if err != nil {
		return s, err
	}
	if given := n.text(n.m, n.path, "stage_type"); given != "" && kinds[given] == nil && !slices.Contains(categories, given) {
		n.fail(domain.Invalid(n.path+".stage_type", "enum", "%q is no stage type; there are %s", given, strings.Join(categories, ", ")))
	}
	s.Type = k.category
	if s.Name == "" {
		s.Name = s.ID
	}
	if s.OnError != "" && s.OnError != "skip" && s.OnError != "error" {
		n.fail(domain.Invalid(n.path+".on_error", "enum", "%q is not allowed; allowed are skip, error", s.OnError))
	}
	s.PreFilters = n.filters(body, "pre_filters")
	s.PostFilters = n.filters(body, "post_filters")
	s.Parameters = domain.EncodeValue(modernize(written, s.ID, params))
	return s, n.err
}

// parts finds the stage's id and parameters in any spelling, and the object that
// pre_filters and post_filters stand in.
func (n *normalizer) parts() (id string, params, body map[string]any) {
	if v := n.m["config"]; v != nil {
		config, ok := v.(map[string]any)
		if !ok {
			n.fail(domain.Invalid(n.path+".config", "type", "must be an object {stage_id, parameters}, not %s", describe(v)))
			return "", nil, nil
		}
		id = n.text(config, n.path+".config", "stage_id")
		if id == "" {
			id = n.text(n.m, n.path, "stage_id", "type")
		}
		if id == "" && known(n.m["stage_name"]) {
			id = n.text(n.m, n.path, "stage_name")
		}
		if id == "" {
			n.fail(domain.Invalid(n.path+".config.stage_id", "missing", "names the stage to run; there are %s", strings.Join(stageIDs(), ", ")))
			return "", nil, nil
		}
		n.only(n.path, n.m, append(slices.Clone(stageMembers), "type"))
		if p, given := config["parameters"]; given || config["stage_id"] == nil {
			n.only(n.path+".config", config, []string{"stage_id", "parameters", "pre_filters", "post_filters", "type"})
			return id, n.object(n.path+".config.parameters", p), config
		}
		return id, rest(config, "stage_id", "pre_filters", "post_filters"), config
	}
	if id = n.text(n.m, n.path, "stage_id"); id != "" {
		n.only(n.path, n.m, stageMembers)
		return id, n.object(n.path+".parameters", n.m["parameters"]), n.m
	}
	id = n.text(n.m, n.path, "type")
	if id == "" && known(n.m["stage_type"]) {
		id = n.text(n.m, n.path, "stage_type")
	}
	if id == "" {
		n.fail(domain.Invalid(n.path+".config", "missing", "a stage needs config {stage_id, parameters}; there are the stages %s", strings.Join(stageIDs(), ", ")))
		return "", nil, nil
	}
	if p := n.m["parameters"]; p != nil {
		n.only(n.path, n.m, append(slices.Clone(stageMembers), "type"))
		return id, n.object(n.path+".parameters", p), n.m
	}
	return id, rest(n.m, append(slices.Clone(stageMembers), "type")...), n.m
}

func known(v any) bool {
	s, _ := v.(string)
	return kinds[s] != nil || stale[s] != "" || slices.Contains(elsewhere, s)
}

func (n *normalizer) idPath() string {
	if n.m["config"] != nil {
		return n.path + ".config.stage_id"
	}
	if n.m["stage_id"] != nil {
		return n.path + ".stage_id"
	}
	return n.path + ".type"
}

func (n *normalizer) only(path string, m map[string]any, allowed []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(allowed, key) {
			n.fail(domain.Invalid(path+"."+key, "extra_forbidden", "is not read here; allowed are %s", strings.Join(allowed, ", ")))
		}
	}
}

func (n *normalizer) object(path string, v any) map[string]any {
	switch m := v.(type) {
	case nil:
		return map[string]any{}
	case map[string]any:
		return m
	}
	n.fail(domain.Invalid(path, "type", "must be an object, not %s", describe(v)))
	return nil
}

func (n *normalizer) filters(body map[string]any, key string) json.RawMessage {
	v := body[key]
	if v == nil {
		v = n.m[key]
	}
	if list, ok := v.([]any); ok { // a list of conditions: all must hold
		if len(list) == 0 {
			return nil
		}
		v = map[string]any{"AND": list}
	}
	if _, err := domain.ParseFilterValue(n.path+"."+key, v); err != nil {
		n.fail(err)
		return nil
	}
	if v == nil {
		return nil
	}
	return domain.EncodeValue(v)
}

// rest is m without some members.
func rest(m map[string]any, without ...string) map[string]any {
	out := maps.Clone(m)
	for _, key := range without {
		delete(out, key)
	}
	return out
}

// modernize rewrites the parameters of older spellings. It changes nothing that
// has today's form.
func modernize(written, id string, p map[string]any) map[string]any {
	switch id {
	case "feature_search":
		return modernSearch(written, p)
	case "sort_attribute":
		if p["direction"] == nil && p["order"] != nil {
			p = rest(p)
			p["direction"] = p["order"]
			delete(p, "order")
		}
	}
	return p
}

// flatSearch are the members of a search that older forms write beside the
// stage's own parameters.
var flatSearch = []string{"feature_uri", "query", "top_k", "limit", "min_score", "weight", "lexical", "optional", "on_empty",
	"filters", "collection_ids", "feature_extractor", "query_text"}

// modernSearch puts a search that is written flat into searches.
func modernSearch(written string, p map[string]any) map[string]any {
	flat := p["query"] != nil || p["feature_uri"] != nil || p["feature_extractor"] != nil || p["query_text"] != nil
	if p["searches"] != nil || !flat {
		if ids := p["collection_ids"]; ids != nil && p["collection_identifiers"] == nil {
			p = rest(p, "collection_ids")
			p["collection_identifiers"] = ids
		}
		return p
	}
	out := rest(p, flatSearch...)
	search := map[string]any{"feature_uri": DefaultFeatureURI}
	for _, key := range []string{"feature_uri", "query", "top_k", "min_score", "weight", "lexical", "optional", "on_empty", "filters"} {
		if p[key] != nil {
			search[key] = p[key]
		}
	}
	if search["query"] == nil {
		search["query"] = "{{INPUT.query}}"
		if p["query_text"] != nil {
			search["query"] = p["query_text"]
		}
	}
	size := p["limit"]
	if size == nil {
		size = p["top_k"]
	}
	if size != nil && out["final_top_k"] == nil {
		out["final_top_k"] = size
	}
	if ids := p["collection_ids"]; ids != nil && out["collection_identifiers"] == nil {
		out["collection_identifiers"] = ids
	}
	searches := []any{search}
	if written == "hybrid_search" && search["lexical"] == nil {
		words := rest(search)
		words["lexical"] = true
		searches = append(searches, words)
	}
	out["searches"] = searches
	return out
}
