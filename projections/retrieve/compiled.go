package retrieve

import (
	"sync"

	"varve/eventstore"
)

// plans keeps the effective configurations of saved retrievers.
type plans struct {
	mu   sync.Mutex
	made map[planKey]planned
}

// planKey identifies a saved retriever in a version of a namespace's configuration.
type planKey struct {
	log             eventstore.LogID
	config, version uint64
	retriever       string
}

type planned struct {
	eff  *effective
	gone []string // collections that were deleted
}

const maxPlans = 512

// compiled gives a request's effective configuration; for a saved retriever it is
// made once for each version of the configuration. What it gives is not changed.
func (e *Engine) compiled(req Request) (*effective, []string, error) {
	key := planKey{req.At.Log, req.Config.Version, req.Retriever.Version, req.Retriever.RetrieverID}
	saved := req.Mode == ModeRetriever && key.config > 0 && key.version > 0 && key.retriever != ""
	if saved {
		e.plans.mu.Lock()
		known, ok := e.plans.made[key]
		e.plans.mu.Unlock()
		if ok {
			return known.eff, known.gone, nil
		}
	}
	var p planned
	var err error
	if p.eff, err = compile(req.Config, req.Retriever, func(id string) { p.gone = append(p.gone, id) }); err != nil {
		return nil, nil, err
	}
	if saved {
		e.plans.mu.Lock()
		if len(e.plans.made) >= maxPlans || e.plans.made == nil {
			e.plans.made = map[planKey]planned{}
		}
		e.plans.made[key] = p
		e.plans.mu.Unlock()
	}
	return p.eff, p.gone, nil
}
