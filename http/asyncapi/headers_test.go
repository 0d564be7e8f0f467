package asyncapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"varve/eventstore"
	"varve/eventstore/bus"
)

// The headers that the bus writes are those that are described, and fit.
func TestHeadersAreDescribed(t *testing.T) {
	s := compile(t, "varve:///asyncapi.json", document(t), "#/components/messages/bucket.saved/headers", jsonschema.Draft7)
	described := headers("varve")["properties"].(map[string]any)
	whole := eventstore.Record{
		Log: "log-1", Position: 4, Shard: 1, Feed: 9, Stream: "config", Version: 3, Type: "bucket.saved", Schema: 1, Data: []byte(`{"bucket_id":"b","bucket_name":"n"}`),
		Meta:        eventstore.Metadata{Actor: "a", Key: "k", Correlation: "c", Causation: "d", TraceParent: "t", Origin: "o", Reason: "því að"},
		Attachments: []eventstore.Attachment{{Name: "vector", Bytes: []byte{1, 2}}}, Time: time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC),
	}
	erased, large := whole, whole
	erased.Erased, erased.Data, erased.Attachments, erased.Meta = true, nil, nil, eventstore.Metadata{}
	large.Data = fmt.Appendf(nil, `{"bucket_id":%q}`, make([]byte, 1<<20))
	met := map[string]bool{}
	for what, r := range map[string]eventstore.Record{"whole": whole, "erased": erased, "too large": large} {
		value := map[string]any{}
		for name, text := range bus.Message(&r, "varve").Metadata {
			value[name], met[name] = text, true
			if described[name] == nil {
				t.Errorf("%s: header %s is not described", what, name)
			}
		}
		if err := s.Validate(value); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		delete(value, "ce_id")
		if s.Validate(value) == nil {
			t.Errorf("%s: valid without its id", what)
		}
	}
	for name := range described {
		if !met[name] {
			t.Errorf("header %s is described and never written", name)
		}
	}
}
