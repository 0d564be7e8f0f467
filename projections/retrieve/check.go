package retrieve

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/domain"
	"varve/domain/text"
)

// effective is everything that decides what a retriever answers, beside data,
// inputs and the request's filters: no name in it has to be looked up again.
// Execution records hold it, and replay runs it.
type effective struct {
	Collections []string           `json:"collections"` // ids, sorted
	Stages      []domain.Stage     `json:"stages"`
	InputSchema json.RawMessage    `json:"input_schema,omitempty"`
	Features    map[string]feature `json:"features,omitempty"`    // by the URI as written
	Identifiers map[string]string  `json:"identifiers,omitempty"` // collections as stages write them → id
	Code        map[string]string  `json:"code"`

	raw    json.RawMessage // itself as JSON
	digest string          // "sha256:…" of raw
}

// CodeVersions names the code that results depend on, as effective
// configurations hold it.
func CodeVersions() map[string]string {
	return map[string]string{
		"stages": Version, "tokenizer": text.TokenizerVersion, "stemmer": text.StemmerVersion, "embedder": text.EmbedderVersion,
		"unicode": text.UnicodeVersion, "stopwords": text.StopwordsVersion,
	}
}

// seal fills in raw and digest.
func (e *effective) seal() *effective {
	raw, err := json.Marshal(e)
	if err != nil {
		panic("encode effective configuration: " + err.Error())
	}
	sum := sha256.Sum256(raw)
	e.raw, e.digest = raw, "sha256:"+hex.EncodeToString(sum[:])
	return e
}

func decodeEffective(raw json.RawMessage) (*effective, error) {
	var e effective
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("decode effective configuration: %w", err)
	}
	for i := range e.Stages {
		if _, err := lookup(fmt.Sprintf("stages[%d]", i), e.Stages[i].ID); err != nil {
			return nil, err
		}
	}
	return e.seal(), nil
}

// checking collects what is wrong with a retriever.
type checking struct {
	config      domain.Config
	collections []string
	eff         *effective
	path        string // of the parameters in question
	found       []domain.Violation
	err         error // one that is not a violation, such as unsupported
}

func (c *checking) report(path, kind, format string, args ...any) {
	c.found = append(c.found, domain.Violation{Path: path, Type: kind, Message: fmt.Sprintf(format, args...)})
}

func (c *checking) adopt(path string, err error) {
	if err == nil {
		return
	}
	if domain.CodeOf(err) != domain.CodeInvalid {
		if c.err == nil {
			c.err = err
		}
		return
	}
	c.found = append(c.found, violationsOf(path, err)...)
}

// unsupported says that a parameter is known and not in this version.
func (c *checking) unsupported(path, format string, args ...any) {
	e := domain.Errorf(domain.CodeUnsupported, "%s: %s", path, fmt.Sprintf(format, args...))
	e.Reason = "parameter_unsupported"
	c.adopt(path, e)
}

// feature resolves a feature URI that the parameters write.
func (c *checking) feature(path, written string) (feature, bool) {
	if templated(written) {
		c.report(path, "template", "a feature URI cannot be a template: it is resolved when the retriever is saved")
		return feature{}, false
	}
	f, err := resolveFeature(path, c.config, c.collections, written)
	if err != nil {
		c.adopt(path, err)
		return f, false
	}
	if c.eff.Features == nil {
		c.eff.Features = map[string]feature{}
	}
	c.eff.Features[written] = f
	return f, true
}

// narrow resolves collections that the parameters narrow the search to.
func (c *checking) narrow(path string, identifiers []string) {
	for i, identifier := range identifiers {
		at := fmt.Sprintf("%s[%d]", path, i)
		k, ok := c.config.Collection(identifier)
		switch {
		case !ok:
			c.report(at, "unknown", "the collection %q does not exist; there are %s", identifier, collectionNames(c.config))
		case !slices.Contains(c.collections, k.CollectionID):
			c.report(at, "unknown", "the collection %q is not one of the retriever's", identifier)
		default:
			if c.eff.Identifiers == nil {
				c.eff.Identifiers = map[string]string{}
			}
			c.eff.Identifiers[identifier] = k.CollectionID
		}
	}
}

func collectionNames(c domain.Config) string {
	if len(c.Collections) == 0 {
		return "none yet"
	}
	var names []string
	for _, id := range slices.Sorted(maps.Keys(c.Collections)) {
		names = append(names, c.Collections[id].Name+" ("+id+")")
		if len(names) == 20 {
			names = append(names, fmt.Sprintf("and %d more", len(c.Collections)-20))
			break
		}
	}
	return strings.Join(names, ", ")
}

// Check says what is wrong with a retriever before it is saved or run: unknown
// collections and features, parameters of stages by path, templates that name
// nothing, an order of stages that gives nothing. The error has code invalid with
// every violation, or unsupported for what the reference has and this version
// does not.
func Check(config domain.Config, r domain.Retriever) error {
	_, err := compile(config, r, nil)
	return err
}

// compile makes the effective configuration. Collections that were deleted since
// the retriever was saved are reported to gone and left out; with gone nil they
// are errors.
func compile(config domain.Config, r domain.Retriever, gone func(id string)) (*effective, error) {
	c := &checking{config: config, eff: &effective{Stages: r.Stages, InputSchema: r.InputSchema, Code: CodeVersions()}}
	schema, err := domain.ParseInputSchema("input_schema", r.InputSchema)
	c.adopt("input_schema", err)
	_, err = parseBudget(r.BudgetLimits)
	c.adopt("budget_limits", err)
	for i, identifier := range r.CollectionIDs {
		k, ok := config.Collection(identifier)
		if !ok {
			if gone != nil {
				gone(identifier)
				continue
			}
			c.report(fmt.Sprintf("collection_identifiers[%d]", i), "unknown", "the collection %q does not exist; there are %s", identifier, collectionNames(config))
			continue
		}
		if !slices.Contains(c.collections, k.CollectionID) {
			c.collections = append(c.collections, k.CollectionID)
		}
	}
	if len(r.CollectionIDs) == 0 {
		c.collections = slices.Sorted(maps.Keys(config.Collections))
	}
	if gone != nil && len(r.CollectionIDs) > 0 && len(c.collections) == 0 {
		e := domain.NotFound("collection", strings.Join(r.CollectionIDs, ", "))
		e.Message = "none of the retriever's collections exists any more: " + strings.Join(r.CollectionIDs, ", ")
		return nil, e
	}
	slices.Sort(c.collections)
	c.eff.Collections = c.collections
	if len(r.Stages) == 0 {
		c.report("stages", "missing", "a retriever needs at least one stage; there are %s", strings.Join(stageIDs(), ", "))
	}
	known := domain.TemplateNames{Input: schema.Names(), Context: map[string]bool{}}
	if schema != nil && len(schema.Fields) == 0 {
		known.Input = nil
	}
	for i := range r.Stages {
		c.stage(i, &r.Stages[i], known)
		if alias := r.Stages[i].OutputAlias; alias != "" {
			known.Context[alias] = true
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := violations(c.found); err != nil {
		return nil, err
	}
	return c.eff.seal(), nil
}

func (c *checking) stage(i int, s *domain.Stage, known domain.TemplateNames) {
	at := fmt.Sprintf("stages[%d]", i)
	k, err := lookup(at+".config.stage_id", s.ID)
	if err != nil {
		c.adopt(at, err)
		return
	}
	if i == 0 && !k.source {
		c.report(at, "order", "%s works on what a stage before it gives, and this is the first; begin with feature_search or attribute_filter", s.ID)
	}
	if strings.ContainsAny(s.OutputAlias, ".[]{}'\" ") {
		c.report(at+".output_alias", "pattern", "%q cannot be read as {{CONTEXT.%s}}; use letters, digits, _ and -", s.OutputAlias, s.OutputAlias)
	}
	known.Namespaces = []string{"INPUT", "STAGE", "CONTEXT"}
	filters := known
	filters.Namespaces = []string{"INPUT", "DOC", "STAGE", "CONTEXT"}
	parameterNames := known
	if s.ID == "attribute_filter" {
		parameterNames = filters
	}
	c.path = at + ".config.parameters"
	c.templates(c.path, s.Parameters, parameterNames)
	c.filter(at+".config.pre_filters", s.PreFilters, filters)
	c.filter(at+".config.post_filters", s.PostFilters, filters)
	if s.BatchSize != "" {
		c.templates(at+".batch_size", domain.EncodeValue(s.BatchSize), known)
	}
	v, err := decodeTree(s.Parameters)
	if err != nil {
		c.report(c.path, "json", "%s", err.Error())
		return
	}
	p := k.params()
	if err := (&decoder{}).decode(c.path, v, p); err == nil {
		p.check(c)
	} else {
		c.adopt(c.path, err)
		c.further(p)
	}
}

// further checks parameters of which some are wrong already, and keeps what it
// finds elsewhere.
func (c *checking) further(p parameters) {
	before := c.found
	c.found = nil
	p.check(c)
	for _, v := range c.found {
		if !slices.ContainsFunc(before, func(b domain.Violation) bool {
			return strings.HasPrefix(b.Path, v.Path) || strings.HasPrefix(v.Path, b.Path)
		}) {
			before = append(before, v)
		}
	}
	c.found = before
}

func (c *checking) templates(path string, raw json.RawMessage, known domain.TemplateNames) {
	if len(raw) > 0 {
		c.adopt(path, domain.CheckTemplates(path, raw, known))
	}
}

func (c *checking) filter(path string, raw json.RawMessage, known domain.TemplateNames) {
	if _, err := domain.ParseFilter(path, raw); err != nil {
		c.adopt(path, err)
		return
	}
	c.templates(path, raw, known)
}

func decodeTree(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	return domain.DecodeValue(raw)
}
