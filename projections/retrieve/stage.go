package retrieve

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/domain"
)

// Version names what the stages, fusions and orders of this package compute. A
// change that alters any result raises it; effective configurations name it.
const Version = "stages-v1"

// kind is one kind of stage. Each has a file of its own, whose exported struct
// is at once its parameters, their JSON Schema and their documentation.
type kind struct {
	id, category, description, icon string
	costTier                        string // free, low, moderate, high
	useCases                        []string
	example                         string // configuration as JSON
	source                          bool   // may stand first: selects documents itself
	params                          func() parameters
}

// parameters is what a stage does with the parameters that were decoded into it.
type parameters interface {
	// check finds what decoding cannot: it runs when a retriever is saved, with
	// templates still unfilled, and before a run.
	check(c *checking)
	// run does the stage. It sets r.items, and tells step what it dropped and why.
	run(ctx context.Context, r *run, s *step) error
	// estimate says how many documents leave where in enter, without running.
	estimate(in int) (out int, notes []string)
}

var kinds = map[string]*kind{}

// register makes a stage known; two with one id panic at start.
func register(k kind) *kind {
	if _, twice := kinds[k.id]; twice {
		panic("retriever stage registered twice: " + k.id)
	}
	kinds[k.id] = &k
	return &k
}

// Categories of stages, as the reference closes them.
var categories = []string{"filter", "sort", "reduce", "apply", "enrich"}

// elsewhere lists the stages of the reference that this version does not have.
var elsewhere = strings.Fields(`llm_filter query_expand agent_search mmr rerank maxsim_rerank score_normalize
	aggregate sample summarize group_by cluster deduplicate moment_group json_transform rag_prepare external_web_search
	external_reverse_image api_call sql_lookup web_scrape code_execution cross_compare unwind traverse_edge
	llm_enrich taxonomy_enrich document_enrich agentic_enrich`)

func stageIDs() []string { return slices.Sorted(maps.Keys(kinds)) }

// lookup finds a kind of stage, with an error of code unsupported for one of the
// reference that is not here, invalid for anything else.
func lookup(path, id string) (*kind, error) {
	if k := kinds[id]; k != nil {
		return k, nil
	}
	if slices.Contains(elsewhere, id) {
		e := domain.Errorf(domain.CodeUnsupported, "%s: the stage %q is not in this version; there are %s", path, id, strings.Join(stageIDs(), ", "))
		e.Reason = "stage_unsupported"
		e.Details = map[string]any{"stage_id": id, "available": stageIDs()}
		return nil, e
	}
	return nil, domain.Invalid(path, "enum", "%q is no stage; there are %s", id, strings.Join(stageIDs(), ", "))
}

// StageDefinition describes a stage to clients: both shapes of the reference
// (RetrieverStageDefinition and StageDiscovery) in one.
type StageDefinition struct {
	StageID         string          `json:"stage_id"`
	Description     string          `json:"description"`
	Category        string          `json:"category"`
	Icon            string          `json:"icon"`
	ParameterSchema map[string]any  `json:"parameter_schema"` // JSON Schema
	ExampleConfig   json.RawMessage `json:"example_config"`
	CommonUseCases  []string        `json:"common_use_cases"`
	CostTier        string          `json:"cost_tier"`
	RequiresSource  bool            `json:"requires_collections"`
}

// StageDefinitions lists the stages, ordered by id.
func StageDefinitions() []StageDefinition {
	var all []StageDefinition
	for _, id := range stageIDs() {
		k := kinds[id]
		all = append(all, StageDefinition{
			StageID: id, Description: k.description, Category: k.category, Icon: k.icon,
			ParameterSchema: schemaOf(k.params()), ExampleConfig: json.RawMessage(k.example),
			CommonUseCases: k.useCases, CostTier: k.costTier, RequiresSource: k.source,
		})
	}
	return all
}

// step is one stage of one run: what it is, and what is recorded of it.
type step struct {
	index int
	path  string // stages[i]
	stage *domain.Stage
	next  *domain.Stage // nil for the last
	pre   *domain.Filter
	post  *domain.Filter
	// pushed: filters of the stages before select for this one
	pushed bool
	rec    domain.StageRecord
	trace  StageTrace
}

// parameterPath is where the stage's parameters stand in a request.
func (s *step) parameterPath() string { return s.path + ".config.parameters" }

// drop records why a document leaves.
func (s *step) drop(it *item, reason, detail string) {
	s.trace.Dropped = append(s.trace.Dropped, Dropped{ID: it.id, Score: it.score, Reason: reason, Detail: detail})
}

// Reasons why a stage dropped a document, as they stand in traces.
const (
	ReasonFiltered  = "filtered"        // a condition did not hold; detail tells which
	ReasonMinScore  = "below_min_score" // every search that found it was below its min_score
	ReasonOutranked = "outranked"       // fell behind final_top_k, or a group's size
	ReasonNotScored = "not_scored"      // no search found it among its top_k
	ReasonOffset    = "offset"          // skipped at the front
	ReasonLimit     = "limit"           // behind the limit
)

// stamp wraps an error that is not the client's with the stage's name.
func (s *step) stamp(err error) error {
	if err == nil || domain.CodeOf(err) != domain.CodeInternal {
		return err
	}
	return fmt.Errorf("run stage %s: %w", s.stage.Name, err)
}
