package domain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// EventData is the data of one event type. EventType is a chosen word,
// noun.past_participle, that never changes; a field's meaning never changes
// under one name (a new meaning is a ".v2" with an upcast in the same file).
type EventData interface{ EventType() string }

// Stamp is what a fold knows of an event beside its data.
type Stamp struct {
	Position uint64 // in the log
	Version  uint64 // in the stream
	Time     time.Time
	Actor    string
}

var eventTypes = map[string]func() EventData{}

// register makes an event type decodable. Each noun's file registers its own;
// a type registered twice panics at start.
func register[T any, P interface {
	*T
	EventData
}]() struct{} {
	name := P(new(T)).EventType()
	if _, twice := eventTypes[name]; twice {
		panic("event type registered twice: " + name)
	}
	eventTypes[name] = func() EventData { return P(new(T)) }
	return struct{}{}
}

// EventTypes lists the registered types in order.
func EventTypes() []string { return slices.Sorted(maps.Keys(eventTypes)) }

// EncodeEvent gives the JSON that an event's record holds. Free JSON inside is
// kept as it is, without escaping of HTML characters.
func EncodeEvent(e EventData) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.EventType(), err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ErrUnknownEvent says that this version does not know an event type.
var ErrUnknownEvent = fmt.Errorf("unknown event type")

// DecodeEvent reads an event's data; it returns a pointer to the type's struct.
// Members that it does not know are ignored. Data of an erased record (none)
// give the zero value of the type, which every fold accepts.
func DecodeEvent(eventType string, schema int, data []byte) (EventData, error) {
	make, ok := eventTypes[eventType]
	if !ok {
		return nil, fmt.Errorf("%w %q", ErrUnknownEvent, eventType)
	}
	if schema > 1 {
		return nil, fmt.Errorf("%w %q with schema %d: written by a newer Varve", ErrUnknownEvent, eventType, schema)
	}
	e := make()
	if len(data) == 0 {
		return e, nil
	}
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("decode %s: %w", eventType, err)
	}
	return e, nil
}

// Names of streams. A stream's name is internal; ids in it are case-sensitive.
const (
	OrganizationStream = "organization" // of an organization's log
	ConfigStream       = "config"       // of a namespace's log
)

// ObjectStream names an object's stream.
func ObjectStream(id string) string { return "object-" + id }

// BatchStream names a batch's stream.
func BatchStream(id string) string { return "batch-" + id }

// DocumentStream names a document's stream.
func DocumentStream(id string) string { return "document-" + id }
