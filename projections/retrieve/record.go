package retrieve

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"

	"varve/domain"
)

// resultHash is "sha256:" and the hex SHA-256 over the canonical list of results:
// "varve.result.1", then per result, in order: uint32 length of the id, the id,
// uint32 bits of the float32 score, uint32 rank from 1; big-endian.
func resultHash(from int, items []*item) string {
	b := append(make([]byte, 0, 16+44*len(items)), "varve.result.1"...)
	for i, it := range items {
		b = appendResult(b, it.id, it.score, from+i+1)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func appendResult(b []byte, id string, score float32, rank int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(id)))
	b = append(b, id...)
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(score))
	return binary.BigEndian.AppendUint32(b, uint32(rank))
}

// HashResults is the result hash of a record's results, as ResultHash holds it.
func HashResults(results []domain.ResultRecord) string {
	b := append(make([]byte, 0, 16+44*len(results)), "varve.result.1"...)
	for _, r := range results {
		b = appendResult(b, r.ID, r.Score, r.Rank)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// digest identifies what is asked, without the page: a cursor carries it, so that
// it turns the pages of one query only.
func digest(eff *effective, inputs json.RawMessage, filter *domain.Filter) string {
	h := sha256.New()
	for _, part := range [][]byte{eff.raw, inputs, []byte(filter.String())} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// header makes the event of an execution.
func (e *Engine) header(x *Execution, out *outcome, a *asking, req Request, failure error) *domain.ExecutionRecorded {
	r := out.run
	h := &domain.ExecutionRecorded{
		ExecutionID: x.ID, TraceID: req.TraceID, Mode: req.Mode,
		RetrieverID: req.Retriever.RetrieverID, RetrieverName: req.Retriever.Name, RetrieverVersion: req.Retriever.Version,
		Config: r.eff.raw, ConfigDigest: r.eff.digest, Code: maps.Clone(r.eff.Code),
		Principal: req.Principal, KeyID: req.KeyID, Position: req.At.Position, PolicyPosition: req.PolicyPosition,
		Inputs: a.raw, Pagination: a.rawPage, Status: x.Status, Total: out.total,
		DurationMicros: x.Duration.Microseconds(), Warnings: r.warnings, ResultHash: out.resultsHash,
		Stages: make([]domain.StageRecord, len(r.steps)), Results: make([]domain.ResultRecord, len(out.items)),
	}
	maps.Copy(h.Code, e.Code)
	if a.asked != nil {
		h.Filters = json.RawMessage(a.asked.String())
	}
	for i, s := range r.steps {
		h.Stages[i] = s.rec
		if h.Stages[i].Parameters == nil {
			h.Stages[i].Parameters = json.RawMessage("{}")
		}
	}
	for i, it := range out.items {
		h.Results[i] = domain.ResultRecord{ID: it.id, CollectionID: it.collection, Position: it.position, Score: it.score, Rank: out.from + i + 1}
	}
	if failure != nil {
		h.Status, h.Error, h.Results = "failed", failure.Error(), nil
		if domain.CodeOf(failure) == domain.CodeInternal {
			h.Error = "internal error"
		}
		h.ResultHash, h.Total = "", 0
	}
	return h
}
