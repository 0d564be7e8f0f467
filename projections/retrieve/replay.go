package retrieve

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

// Replayed is what an execution gave when it ran again at its position.
type Replayed struct {
	Identical   bool
	Recorded    string // result hash of the record
	Hash        string // result hash now
	Diverged    *Divergence
	CodeChanged []string // code that the record names in another version than this one has
	Trace       *Trace
	Results     []domain.ResultRecord
}

// Divergence is the first thing that differs.
type Divergence struct {
	Stage    string `json:"stage"` // "results" for the answer's page
	Document string `json:"document"`
	Recorded string `json:"recorded"` // what each side has there
	Replayed string `json:"replayed"`
}

// Replay runs a record's effective configuration again, with its inputs, filters
// and page, at its position of the log. Anything but the identical hash is a
// finding. It records nothing. Errors are those of Execute; a record of an
// execution that failed has nothing to replay and is a conflict.
func (e *Engine) Replay(ctx context.Context, log eventstore.LogID, header *domain.ExecutionRecorded, trace *Trace) (*Replayed, error) {
	if header.Status == "failed" {
		return nil, domain.Errorf(domain.CodeConflict, "the execution %s failed (%s): it has no result to compare with", header.ExecutionID, header.Error)
	}
	eff, err := decodeEffective(header.Config)
	if err != nil {
		return nil, err
	}
	a, err := e.ask(eff, header.Inputs, header.Filters, nil, 0)
	if err != nil {
		return nil, err
	}
	if a.page, err = decodePage(header.Pagination); err != nil {
		return nil, err
	}
	out, err := e.execute(ctx, projections.At{Log: log, Position: header.Position}, eff, a, nil)
	if out != nil {
		defer out.run.view.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", header.ExecutionID, err)
	}
	p := &Replayed{Recorded: header.ResultHash, Hash: out.resultsHash, Trace: out.trace()}
	for i, it := range out.items {
		p.Results = append(p.Results, domain.ResultRecord{ID: it.id, CollectionID: it.collection, Position: it.position, Score: it.score, Rank: out.from + i + 1})
	}
	now := CodeVersions()
	for _, name := range slices.Sorted(maps.Keys(eff.Code)) {
		if eff.Code[name] != now[name] {
			p.CodeChanged = append(p.CodeChanged, fmt.Sprintf("%s: recorded with %s, replayed with %s", name, eff.Code[name], now[name]))
		}
	}
	if p.Identical = p.Hash == p.Recorded; !p.Identical {
		p.Diverged = diverge(header, trace, p)
	}
	return p, nil
}

// diverge finds the first stage and document at which two runs part.
func diverge(header *domain.ExecutionRecorded, trace *Trace, p *Replayed) *Divergence {
	if trace != nil {
		for i := range min(len(trace.Stages), len(p.Trace.Stages)) {
			a, b := &trace.Stages[i], &p.Trace.Stages[i]
			if d := firstDifference(a.Kept, b.Kept); d != nil {
				d.Stage = a.Name
				return d
			}
		}
	}
	recorded, replayed := make([]Scored, len(header.Results)), make([]Scored, len(p.Results))
	for i, r := range header.Results {
		recorded[i] = Scored{r.ID, r.Score}
	}
	for i, r := range p.Results {
		replayed[i] = Scored{r.ID, r.Score}
	}
	if d := firstDifference(recorded, replayed); d != nil {
		d.Stage = "results"
		return d
	}
	return &Divergence{Stage: "results", Recorded: p.Recorded, Replayed: p.Hash}
}

func firstDifference(a, b []Scored) *Divergence {
	show := func(list []Scored, i int) string {
		if i >= len(list) {
			return fmt.Sprintf("ends after %d", len(list))
		}
		return fmt.Sprintf("rank %d: %s, score %s", i+1, list[i].ID, scoreText(list[i].Score))
	}
	for i := range max(len(a), len(b)) {
		if i < len(a) && i < len(b) && a[i] == b[i] {
			continue
		}
		d := &Divergence{Recorded: show(a, i), Replayed: show(b, i)}
		if i < len(a) {
			d.Document = a[i].ID
		} else {
			d.Document = b[i].ID
		}
		return d
	}
	return nil
}
