package domain

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestSaveTopic(t *testing.T) {
	good := Topic{TopicID: "top_1", BucketID: "bkt_1", Topic: "orders", Brokers: []string{"kafka.example.com:9092"}}
	c := Config{}.Apply(&TopicSaved{Topic: Topic{TopicID: "top_0", BucketID: "bkt_0", Topic: "orders", Brokers: []string{"kafka.example.com:9092"}, Group: "g", From: "earliest", DeadLetter: "d"}}, Stamp{Version: 1})
	saved, err := c.SaveTopic(good)
	if err != nil {
		t.Fatal(err)
	}
	if saved.Group != "varve-top_1" || saved.DeadLetter != "orders.dead-letter" || saved.From != "earliest" {
		t.Errorf("filled in: %+v", saved)
	}
	c = c.Apply(saved, Stamp{Version: 2})
	for _, one := range []struct {
		name   string
		change func(*Topic)
		wrong  string // path of the violation; empty: allowed
	}{
		{"nothing", func(*Topic) {}, ""},
		{"paused", func(t *Topic) { t.Paused = true }, ""},
		{"another mapping", func(t *Topic) {
			t.Mapping = TopicMapping{Fields: map[string]string{"title": "$.a.b[0]", "when": "@timestamp", "trace": "@headers.traceparent"}, Blobs: []TopicBlob{{"text", "text", "$"}}}
		}, ""},
		{"with a login", func(t *Topic) { t.SASL, t.User, t.Password, t.TLS = "scram-sha-512", "u", "sealed", true }, ""},
		{"IPv6", func(t *Topic) { t.TopicID, t.Brokers = "top_2", []string{"[2001:db8::1]:9092"} }, ""},
		{"the server's bus", func(t *Topic) { t.TopicID, t.Brokers = "top_2", nil }, ""},
		{"no topic", func(t *Topic) { t.Topic = "" }, "topic"},
		{"a name that is none", func(t *Topic) { t.Topic = "a b" }, "topic"},
		{"Kafka's own", func(t *Topic) { t.Topic = "__consumer_offsets" }, "topic"},
		{"Varve's own", func(t *Topic) { t.TopicID, t.Topic, t.DeadLetter = "top_2", "varve.events", "x" }, "topic"},
		{"dead letters to Varve's own", func(t *Topic) { t.DeadLetter = "varve.events" }, "dead_letter_topic"},
		{"a loop", func(t *Topic) { t.DeadLetter = "orders" }, "dead_letter_topic"},
		{"another topic", func(t *Topic) { t.Topic = "other" }, "topic"},
		{"other brokers", func(t *Topic) { t.Brokers = []string{"other.example.com:9092"} }, "brokers"},
		{"another group", func(t *Topic) { t.Group = "other" }, "group"},
		{"another beginning", func(t *Topic) { t.From = "latest" }, "from"},
		{"a beginning that is none", func(t *Topic) { t.From = "noon" }, "from"},
		{"a broker without a port", func(t *Topic) { t.Brokers = []string{"kafka.example.com"} }, "brokers[0]"},
		{"a port that is none", func(t *Topic) { t.Brokers = []string{"kafka.example.com:99999"} }, "brokers[0]"},
		{"a broker with a user", func(t *Topic) { t.Brokers = []string{"u@kafka.example.com:9092"} }, "brokers[0]"},
		{"21 brokers", func(t *Topic) { t.Brokers = slices.Repeat([]string{"kafka.example.com:9092"}, 21) }, "brokers"},
		{"a login on the server's bus", func(t *Topic) { t.TopicID, t.Brokers, t.TLS = "top_2", nil, true }, "brokers"},
		{"a group on the server's bus", func(t *Topic) { t.TopicID, t.Brokers, t.Group = "top_2", nil, "mine" }, "group"},
		{"a group of another topic", func(t *Topic) { t.TopicID, t.Group = "top_2", "varve-top_1" }, "group"},
		{"a user without a mechanism", func(t *Topic) { t.User = "u" }, "sasl"},
		{"a mechanism without a user", func(t *Topic) { t.SASL = "plain" }, "user"},
		{"a mechanism that is none", func(t *Topic) { t.SASL = "gssapi" }, "sasl"},
		{"a path that is none", func(t *Topic) { t.Mapping.Fields = map[string]string{"a": "b..c"} }, "mapping.fields.a"},
		{"a path of nothing", func(t *Topic) { t.Mapping.Metadata = map[string]string{"a": "@moon"} }, "mapping.metadata.a"},
		{"a header without a name", func(t *Topic) { t.Mapping.Key = "@headers." }, "mapping.key"},
		{"a blob of no type", func(t *Topic) { t.Mapping.Blobs = []TopicBlob{{"a", "smell", "$"}} }, "mapping.blobs[0].type"},
		{"a blob of no property", func(t *Topic) { t.Mapping.Blobs = []TopicBlob{{"", "text", "$"}} }, "mapping.blobs[0].property"},
		{"the same again in another group", func(t *Topic) { t.TopicID, t.Group = "top_2", "h" }, ""},
	} {
		topic := saved.Topic
		if one.change(&topic); topic.TopicID == "top_2" && topic.Group == saved.Group && one.wrong != "group" {
			topic.Group = ""
		}
		_, err := c.SaveTopic(topic)
		var e *Error
		switch {
		case one.wrong == "" && err != nil:
			t.Errorf("%s: %v", one.name, err)
		case one.wrong != "" && (!errors.As(err, &e) || len(e.Violations) == 0 || e.Violations[0].Path != one.wrong):
			t.Errorf("%s: %v, want a violation at %s", one.name, err, one.wrong)
		}
	}
	twin := good
	twin.TopicID, twin.Group = "top_3", "g"
	if _, err := c.SaveTopic(twin); CodeOf(err) != CodeConflict {
		t.Errorf("the same group twice: %v", err)
	}
}

func TestTopicsEndWithTheirBucket(t *testing.T) {
	c := Config{}.Apply(&TopicSaved{Topic: Topic{TopicID: "top_1", BucketID: "bkt_1", Topic: "a"}}, Stamp{Version: 1})
	c = c.Apply(&TopicSaved{Topic: Topic{TopicID: "top_2", BucketID: "bkt_2", Topic: "a"}}, Stamp{Version: 2})
	for identifier, bucket := range map[string]string{"top_1": "bkt_1", "a": "bkt_1"} {
		if found, ok := c.Topic(bucket, identifier); !ok || found.TopicID != "top_1" || found.Created.Version != 1 {
			t.Errorf("%s: %+v", identifier, found)
		}
	}
	if _, ok := c.Topic("bkt_1", "top_2"); ok {
		t.Error("a topic is found in another bucket")
	}
	after := c.Apply(&BucketDeleted{BucketID: "bkt_1"}, Stamp{Version: 3})
	if len(after.Topics) != 1 || after.Topics["top_2"].TopicID == "" || len(c.Topics) != 2 {
		t.Errorf("after the bucket: %+v, before %+v", after.Topics, c.Topics)
	}
	if e, err := after.DeleteTopic("bkt_2", "a"); err != nil || len(after.Apply(e, Stamp{Version: 4}).Topics) != 0 {
		t.Errorf("delete: %v %v", e, err)
	}
	if _, err := after.DeleteTopic("bkt_1", "top_1"); CodeOf(err) != CodeNotFound {
		t.Errorf("delete twice: %v", err)
	}
}

func TestMappingOfMessages(t *testing.T) {
	own := func(name string) json.RawMessage {
		return map[string]json.RawMessage{"key": json.RawMessage(`"k1"`), "partition": json.RawMessage("3"), "headers.tenant": json.RawMessage(`"acme"`)}[name]
	}
	mapped := TopicMapping{Fields: map[string]string{"title": "item.name", "n": "$.n", "part": "@partition", "none": "no.thing"},
		Metadata: map[string]string{"tenant": "@headers.tenant", "none": "@headers.none"}, Blobs: []TopicBlob{{"text", "text", "item.text"}, {"raw", "json", "$"}}, Key: "@key"}
	for _, one := range []struct {
		name    string
		mapping TopicMapping
		value   string
		want    string // JSON of the object, or part of the error
		fails   bool
	}{
		{"every member", TopicMapping{}, `{"a":1.10,"b":{"c":[12345678901234567890]}}`, `{"KeyPrefix":"","Fields":{"a":1.10,"b":{"c":[12345678901234567890]}},"Metadata":null,"Blobs":null}`, false},
		{"mapped", mapped, `{"item":{"name":"x","text":"long"},"n":1e2}`,
			`{"KeyPrefix":"k1","Fields":{"n":1e2,"part":3,"title":"x"},"Metadata":{"tenant":"acme"},"Blobs":[{"Property":"text","Type":"text","Data":"long"},{"Property":"raw","Type":"json","Data":{"item":{"name":"x","text":"long"},"n":1e2}}]}`, false},
		{"null is a value of a field and no blob", TopicMapping{Fields: map[string]string{"a": "a"}, Blobs: []TopicBlob{{"b", "text", "a"}}}, `{"a":null}`, `{"KeyPrefix":"","Fields":{"a":null},"Metadata":null,"Blobs":null}`, false},
		{"all of a list", TopicMapping{Blobs: []TopicBlob{{"b", "json", "$"}}}, `[1]`, `{"KeyPrefix":"","Fields":{},"Metadata":null,"Blobs":[{"Property":"b","Type":"json","Data":[1]}]}`, false},
		{"nothing", TopicMapping{}, ``, "not JSON", true},
		{"no JSON", TopicMapping{}, `{"a":`, "not JSON", true},
		{"a member twice", TopicMapping{}, `{"a":1,"a":2}`, "not JSON", true},
		{"not UTF-8", TopicMapping{}, "{\"a\":\"\xff\"}", "UTF-8", true},
		{"a list", TopicMapping{}, `[1]`, "must be an object", true},
		{"no members", TopicMapping{}, `{}`, "none of the mapping's paths", true},
		{"nothing of what is mapped", TopicMapping{Fields: map[string]string{"a": "x.y", "p": "@partition"}}, `{"b":1}`, "none of the mapping's paths finds anything in the message (@partition, x.y)", true},
	} {
		o, err := one.mapping.Object([]byte(one.value), own)
		if one.fails {
			if err == nil || !strings.Contains(err.Error(), one.want) {
				t.Errorf("%s: %v, want %s", one.name, err, one.want)
			}
			continue
		}
		if got, _ := json.Marshal(o); err != nil || string(got) != one.want {
			t.Errorf("%s: %v\n got %s\nwant %s", one.name, err, got, one.want)
		}
	}
}

func FuzzMappingOfMessages(f *testing.F) {
	f.Add(`{"a":{"b":[1]}}`, "a.b[0]")
	f.Add(`[]`, "$")
	f.Add(`{"a":1}`, "@key")
	f.Fuzz(func(t *testing.T, value, path string) {
		m := TopicMapping{Fields: map[string]string{"f": path}, Metadata: map[string]string{"m": path}, Blobs: []TopicBlob{{"b", "json", path}}, Key: path}
		o, err := m.Object([]byte(value), func(string) json.RawMessage { return json.RawMessage(`"own"`) })
		if err != nil {
			return
		}
		if raw, err := json.Marshal(o); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	})
}
