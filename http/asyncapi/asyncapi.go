// Package asyncapi describes what Varve publishes to Kafka for those who read
// it: an AsyncAPI 3.0 document and a JSON Schema for each event type, both made
// from the registry of events in domain. Descriptions are the comments of the
// events' Go types, kept in texts.json (go test ./http/asyncapi -update).
package asyncapi

import (
	"cmp"
	_ "embed" // texts.json
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"varve/domain"
)

// Options are what a server knows of itself. Zero values are the defaults of a bus.
type Options struct {
	Version    string // of the build
	Events     string // topic of the log; "": varve.events
	Executions string // topic of the execution records; "": varve.executions
	Source     string // ce_source of all messages; "": varve
}

// executed are the event types of the second store, which has a topic of its own.
var executed = []string{"execution.recorded"}

//go:embed texts.json
var textsFile []byte

// texts are the comments of types ("Bucket") and of their fields ("Bucket.Name").
var texts = sync.OnceValue(func() map[string]string {
	all := map[string]string{}
	if err := json.Unmarshal(textsFile, &all); err != nil {
		panic("asyncapi: texts.json: " + err.Error()) // embedded: a build that no test saw
	}
	return all
})

// dialect of the schemas.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// Schema gives an event type's JSON Schema (2020-12), whole in itself; false
// where there is no such type. The data of every event of the type, of any age, is valid
// against it; an erased event has none.
func Schema(eventType string) ([]byte, bool) {
	s := newSchemas("#/$defs/")
	schema, ok := s.event(eventType)
	if !ok {
		return nil, false
	}
	schema["$schema"], schema["$id"] = dialect, "urn:varve:event:"+eventType
	if len(s.defs) > 0 {
		schema["$defs"] = s.defs
	}
	raw, err := json.Marshal(schema)
	return raw, err == nil
}

// Document gives the AsyncAPI document as JSON.
func Document(o Options) ([]byte, error) {
	s := newSchemas("#/components/schemas/")
	messages, schemas := map[string]any{}, map[string]any{"Headers": headers(cmp.Or(o.Source, "varve"))}
	for _, name := range domain.EventTypes() {
		schema, ok := s.event(name)
		if !ok {
			return nil, fmt.Errorf("describe event %s: it is not registered", name)
		}
		schemas[name] = schema
		messages[name] = map[string]any{
			"name": name, "title": name, "contentType": "application/json", "summary": schema["description"],
			"headers": map[string]any{"allOf": []any{
				map[string]any{"$ref": "#/components/schemas/Headers"},
				map[string]any{"type": "object", "properties": map[string]any{"ce_type": map[string]any{"const": name}}},
			}},
			"payload":       map[string]any{"$ref": "#/components/schemas/" + name},
			"bindings":      map[string]any{"kafka": map[string]any{"bindingVersion": "0.5.0", "key": map[string]any{"type": "string", "description": keyText}}},
			"x-json-schema": "/asyncapi/schemas/" + name,
		}
	}
	for name, def := range s.defs {
		if _, twice := schemas[name]; twice {
			return nil, fmt.Errorf("describe events: schema %s is there twice", name)
		}
		schemas[name] = def
	}
	channels, operations := map[string]any{}, map[string]any{}
	for _, c := range []struct{ id, address, text string }{
		{"varve.events", cmp.Or(o.Events, "varve.events"), eventsText},
		{"varve.executions", cmp.Or(o.Executions, "varve.executions"), executionsText},
	} {
		carried, refs := map[string]any{}, []any{}
		for _, name := range domain.EventTypes() {
			if slices.Contains(executed, name) == (c.id == "varve.executions") {
				carried[name] = map[string]any{"$ref": "#/components/messages/" + name}
				refs = append(refs, map[string]any{"$ref": "#/channels/" + c.id + "/messages/" + name})
			}
		}
		channels[c.id] = map[string]any{"address": c.address, "description": c.text, "messages": carried,
			"bindings": map[string]any{"kafka": map[string]any{"bindingVersion": "0.5.0", "topic": c.address}}}
		operations["publish."+c.id] = map[string]any{"action": "send", "channel": map[string]any{"$ref": "#/channels/" + c.id},
			"summary": "Varve publishes every committed record, in the order of its shard's feed.", "messages": refs}
	}
	return json.Marshal(map[string]any{
		"asyncapi": "3.0.0", "defaultContentType": "application/json",
		"info":       map[string]any{"title": "Events of Varve", "version": cmp.Or(o.Version, "0"), "description": aboutText},
		"channels":   channels,
		"operations": operations,
		"components": map[string]any{"messages": messages, "schemas": schemas},
	})
}
