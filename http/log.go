package http

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"time"

	"varve/domain"
	"varve/eventstore"
)

var _ = noun("log", (*Server).logRoutes)

func (s *Server) logRoutes() {
	s.route("GET", "/v1/log", needs{Permission: "admin", Resource: "audit", Narrows: true, Class: "data"}, handle(s.readLog))
	s.route("POST", "/v1/log/verify", needs{Permission: "admin", Resource: "audit", Class: "compute"}, handle(s.verifyLog))
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
