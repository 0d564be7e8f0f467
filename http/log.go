package http

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

var _ = noun("log", (*Server).logRoutes)

func (s *Server) logRoutes() {
	s.route("GET", "/v1/log", needs{Permission: "admin", Resource: "audit", Narrows: true, Class: "data"}, handle(s.readLog))
	s.route("POST", "/v1/log/verify", needs{Permission: "admin", Resource: "audit", Class: "compute"}, handle(s.verifyLog))
	s.route("GET", "/v1/models", needs{Permission: "admin", Resource: "service"}, handle(s.listModels))
	s.route("POST", "/v1/models/{model}/rebuild", needs{Permission: "admin", Resource: "service", Class: "compute"}, handle(s.rebuildModel))
}

type recordWire struct {
	Position    uint64              `json:"position"`
	ID          string              `json:"id"`
	Stream      string              `json:"stream"`
	Version     uint64              `json:"version"`
	Type        string              `json:"type"`
	Time        wireTime            `json:"time"`
	Data        json.RawMessage     `json:"data"`
	Meta        eventstore.Metadata `json:"metadata"`
	Attachments []attachmentWire    `json:"attachments"`
	Hash        string              `json:"hash"`
	Erased      bool                `json:"erased"`
}

type attachmentWire struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
}

// readLog gives records of a log as they are: of the namespace that the request
// names, else of the organization. ?after= is a position, ?wait= the seconds to
// wait for records where there are none yet.
func (s *Server) readLog(ctx context.Context, r *Request[None]) (any, error) {
	after, err := r.QueryInt("after", 0, 0, 1<<53)
	if err != nil {
		return nil, err
	}
	limit, err := r.QueryInt("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	wait, err := r.QueryInt("wait", 0, 0, 60)
	if err != nil {
		return nil, err
	}
	if r.Unresolved != "" {
		return nil, domain.NotFound("namespace", r.Unresolved)
	}
	log := r.Log
	if r.Namespace.ID != "" {
		log = r.namespaceLog()
	}
	store := s.Commands.Store
	records, err := page(ctx, store, log, uint64(after), limit)
	if err == nil && len(records) == 0 && wait > 0 {
		waiting, cancel := context.WithTimeout(ctx, time.Duration(wait)*time.Second)
		defer cancel()
		for len(records) == 0 && err == nil {
			var head uint64
			if head, err = store.Head(ctx, r.Shard); err != nil {
				break
			}
			if records, err = page(ctx, store, log, uint64(after), limit); len(records) > 0 || err != nil {
				break
			}
			if store.Wait(waiting, r.Shard, head) != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	next := uint64(after)
	if len(records) > 0 {
		next = records[len(records)-1].Position
	}
	return map[string]any{"records": records, "next": next}, nil
}

func page(ctx context.Context, store eventstore.Store, log eventstore.LogID, after uint64, limit int) ([]recordWire, error) {
	records := []recordWire{}
	for rec, err := range store.Read(ctx, log, after, limit) {
		if err != nil {
			return nil, err
		}
		w := recordWire{Position: rec.Position, ID: hex.EncodeToString(rec.ID[:]), Stream: rec.Stream, Version: rec.Version, Type: rec.Type, Time: wireTime(rec.Time),
			Data: orNull(rec.Data), Meta: rec.Meta, Hash: hex.EncodeToString(rec.Hash[:]), Erased: rec.Erased, Attachments: []attachmentWire{}}
		for _, a := range rec.Attachments {
			w.Attachments = append(w.Attachments, attachmentWire{a.Name, len(a.Bytes)})
		}
		records = append(records, w)
	}
	return records, nil
}

type verifiedWire struct {
	Log     string   `json:"log"`
	Records int      `json:"records"`
	Erased  int      `json:"erased"`
	OK      bool     `json:"ok"`
	Last    uint64   `json:"last_position"`
	Hash    string   `json:"hash"`
	Time    wireTime `json:"time"`
	Bad     uint64   `json:"bad_position,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// verifyLog recomputes the hash chains of the organization's log and of all its namespaces.
func (s *Server) verifyLog(ctx context.Context, r *Request[None]) (any, error) {
	logs, ok := []verifiedWire{}, true
	one := func(name string, log eventstore.LogID) error {
		v, err := eventstore.Verify(ctx, s.Commands.Store, log)
		if err != nil {
			return err
		}
		ok = ok && v.OK()
		logs = append(logs, verifiedWire{Log: name, Records: v.Records, Erased: v.Erased, OK: v.OK(), Last: v.Last, Hash: hex.EncodeToString(v.Hash[:]), Time: wireTime(v.Time), Bad: v.Bad, Reason: v.Reason})
		return nil
	}
	if err := one("organization", r.Log); err != nil {
		return nil, err
	}
	for _, n := range r.ownNamespaces() {
		if err := one(n.Name, eventstore.LogID(n.Log)); err != nil {
			return nil, err
		}
	}
	return map[string]any{"ok": ok, "logs": logs}, nil
}

type modelWire struct {
	Model      string  `json:"model"`
	Shard      int     `json:"shard"`
	Applied    uint64  `json:"applied"`
	Head       uint64  `json:"head"`
	Lag        uint64  `json:"lag"`
	LagSeconds float64 `json:"lag_seconds"`
	Parked     int     `json:"parked"`
	Error      string  `json:"error,omitempty"`
}

func (s *Server) listModels(_ context.Context, _ *Request[None]) (any, error) {
	models := []modelWire{}
	for _, m := range append(s.Models.Status(), s.Executions.Status()...) {
		models = append(models, modelWire{m.Model, m.Shard, m.Applied, m.Head, m.Lag, m.LagSeconds, len(m.Parked), m.Err})
	}
	return map[string]any{"models": models}, nil
}

// rebuildModel builds a read model anew beside the one that serves, and answers
// with a line of progress at a time.
func (s *Server) rebuildModel(ctx context.Context, r *Request[None]) (any, error) {
	name := r.Path("model")
	runner := s.Models
	named := func(m projections.ModelStatus) bool { return m.Model == name }
	if !slices.ContainsFunc(s.Models.Status(), named) {
		if runner = s.Executions; !slices.ContainsFunc(s.Executions.Status(), named) {
			return nil, domain.NotFound("model", name)
		}
	}
	return &Response{ContentType: "application/x-ndjson", Stream: func(w io.Writer, flush func()) error {
		line := func(v map[string]any) error {
			b, err := encodeJSON(v)
			if err == nil {
				_, err = w.Write(b)
			}
			flush()
			return err
		}
		err := runner.Rebuild(ctx, name, func(done, total uint64, rate float64) {
			_ = line(map[string]any{"model": name, "done": done, "total": total, "rate": rate})
		})
		if err != nil {
			return line(map[string]any{"model": name, "error": clientError(err).Message})
		}
		return line(map[string]any{"model": name, "finished": true, "applied": strconv.FormatUint(applied(runner, name), 10)})
	}}, nil
}

func applied(r *projections.Runner, name string) uint64 {
	for _, m := range r.Status() {
		if m.Model == name {
			return m.Applied
		}
	}
	return 0
}
