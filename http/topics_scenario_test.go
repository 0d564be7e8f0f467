package http_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/eventstore/bus"
	. "varve/http/scenario"
)

// shop is films with a bucket, and a bus of its own for customers' topics.
func shop(t *testing.T) *served {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := films(t, func(*serve.Config) {})
	s.varve.Commands.Topics = &commands.Topics{Bus: &bus.Kafka{Brokers: c.ListenAddrs()}, Secret: bytes.Repeat([]byte{7}, 32), Random: rand.Reader,
		Namespaces: func(context.Context) ([]commands.TopicRef, error) { return nil, nil }}
	s.Vars["bus"] = c.ListenAddrs()[0]
	s.films(t, Step{Name: "a bucket", Do: "POST /v1/buckets", Events: bucketSaved, Save: map[string]string{"b": "bucket_id"}, Body: `{"bucket_name":"orders","bucket_schema":{"properties":{"text":{"type":"text"}}}}`})
	return s
}

func TestTopicScenario(t *testing.T) {
	t.Parallel()
	s := shop(t)
	saved := []string{"topic.saved"}
	const topics = "/v1/buckets/orders/topics"
	s.films(t,
		Step{Name: "create on the server's bus", Do: "POST " + topics, Events: saved, Save: map[string]string{"t": "topic_id", "created": "created_at"},
			Body: `{"topic":"orders","mapping":{"fields":{"text":"$.body.text"},"metadata":{"key":"@key"},"blobs":[{"property":"text","type":"text","path":"note"}]},"process":true}`,
			Check: map[string]any{"topic_id": Match("^top_[0-9a-f]+$"), "bucket_id": "${b}", "topic": "orders", "brokers": Absent, "group": Match("^varve-top_"), "dead_letter_topic": "orders.dead-letter",
				"from": "earliest", "mapping.fields.text": "$.body.text", "mapping.metadata.key": "@key", "mapping.blobs.0.path": "note", "process": true, "paused": false, "password_set": false}},
		Step{Name: "get by id", Do: "GET " + topics + "/${t}", Check: map[string]any{"topic": "orders", "state.lag": 0, "state.partitions.#": 2, "state.partitions.0.committed": Absent, "state.partitions.0.end": 0, "state.error": Absent, "state.reading": false, "state.taken": 0}},
		Step{Name: "get by name", Do: "GET " + topics + "/orders", Check: map[string]any{"topic_id": "${t}"}},
		Step{Name: "a password is not shown", Do: "POST " + topics, Events: saved, Save: map[string]string{"p": "topic_id"},
			Body:  `{"topic":"bills","brokers":["kafka.invalid:9092"],"group":"mine","tls":true,"sasl":"scram-sha-512","user":"u","password":"hunter2","from":"latest","dead_letter_topic":"bad.bills"}`,
			Check: map[string]any{"password_set": true, "password": Absent, "user": "u", "tls": true, "group": "mine", "dead_letter_topic": "bad.bills", "brokers.0": "kafka.invalid:9092", "from": "latest", "mapping.fields.#": 0}},
		Step{Name: "nor in the log", Do: "GET /v1/log?after=3", Check: map[string]any{"records.#": 1, "records.0.type": "topic.saved", "records.0.data.password": Match("^[A-Za-z0-9+/=]{40,}$")}},
		Step{Name: "a cluster that is not there", Do: "GET " + topics + "/${p}", Check: map[string]any{"state.lag": Absent, "state.error": Match("kafka.invalid"), "state.partitions.#": 0}},
		Step{Name: "list", Do: "GET " + topics, Check: map[string]any{"results.#": 2, "results.0.state": Absent}},
		Step{Name: "list, filtered", Do: "POST " + topics + "/list", Body: `{"filters":{"topic":"bills"},"include_total":true}`, Check: map[string]any{"results.#": 1, "results.0.topic_id": "${p}", "pagination.total": 1}},
		Step{Name: "pause", Do: "PATCH " + topics + "/orders", Events: saved, Body: `{"paused":true}`, Check: map[string]any{"paused": true, "process": true, "created_at": "${created}", "mapping.fields.text": "$.body.text"}},
		Step{Name: "the next sees it", Do: "GET " + topics + "/${t}", Check: map[string]any{"paused": true}},
		Step{Name: "as it was", Do: "GET " + topics + "/${t}?as_of=3", Check: map[string]any{"paused": false}},
		Step{Name: "another mapping", Do: "PATCH " + topics + "/${t}", Events: saved, Body: `{"mapping":{},"paused":false}`, Check: map[string]any{"mapping.fields.#": 0, "mapping.blobs.#": 0}},
		Step{Name: "stale", Do: "PATCH " + topics + "/${t}", Header: map[string]string{"If-Match": `"2"`}, Body: `{"paused":true}`, Status: 409, Check: map[string]any{"error.code": "version_mismatch"}},
		Step{Name: "another place in Kafka", Do: "PATCH " + topics + "/${t}", Body: `{"topic":"other"}`, Status: 422, Check: map[string]any{"error.message": Match("make another topic")}},
		Step{Name: "the same group twice", Do: "POST " + topics, Body: `{"topic":"bills","brokers":["kafka.invalid:9092"],"group":"mine"}`, Status: 409, Check: map[string]any{"error.code": "topic_taken"}},
		Step{Name: "once", Do: "POST " + topics, Header: map[string]string{"Idempotency-Key": "k1"}, Events: saved, Body: `{"topic":"once"}`, Save: map[string]string{"o": "topic_id"}},
		Step{Name: "again", Do: "POST " + topics, Header: map[string]string{"Idempotency-Key": "k1"}, Body: `{"topic":"once"}`, Check: map[string]any{"topic_id": "${o}"}},
		Step{Name: "delete", Do: "DELETE " + topics + "/once", Events: []string{"topic.deleted"}, Check: map[string]any{"topic_id": "${o}", "success": true}},
		Step{Name: "deleted", Do: "GET " + topics + "/${o}", Status: 404},
		Step{Name: "deleted twice", Do: "DELETE " + topics + "/once", Status: 404},
		Step{Name: "of another bucket", Do: "POST /v1/buckets", Events: bucketSaved, Body: `{"bucket_name":"more","bucket_schema":{"properties":{}}}`},
		Step{Name: "is not found", Do: "GET /v1/buckets/more/topics/${t}", Status: 404},
		Step{Name: "another organization", As: "other", Do: "GET " + topics + "/${t}", Status: 404},
		Step{Name: "nobody", As: "nobody", Do: "GET " + topics, Status: 401},
		Step{Name: "ends with its bucket", Do: "DELETE /v1/buckets/orders", Events: []string{"bucket.deleted"}},
		Step{Name: "gone", Do: "GET " + topics + "/${t}", Status: 404},
	)
}

func TestTopicBadInput(t *testing.T) {
	t.Parallel()
	s := shop(t)
	const do = "POST /v1/buckets/orders/topics"
	s.films(t,
		wrong("no topic", do, `{}`, "topic"),
		wrong("a name that is a number", do, `{"topic":7}`, "topic"),
		wrong("a name that is none", do, `{"topic":"a b"}`, "topic"),
		wrong("Varve's own", do, `{"topic":"varve.events"}`, "topic"),
		wrong("a loop", do, `{"topic":"a","dead_letter_topic":"a"}`, "dead_letter_topic"),
		wrong("loopback", do, `{"topic":"a","brokers":["127.0.0.1:9092"]}`, "brokers", 0),
		wrong("the bus by its address", do, `{"topic":"a","brokers":["${bus}"]}`, "brokers", 0),
		wrong("no port", do, `{"topic":"a","brokers":["kafka.example.com"]}`, "brokers", 0),
		wrong("a group on the bus", do, `{"topic":"a","group":"mine"}`, "group"),
		wrong("a login on the bus", do, `{"topic":"a","sasl":"plain","user":"u","password":"p"}`, "brokers"),
		wrong("a beginning that is none", do, `{"topic":"a","from":"noon"}`, "from"),
		wrong("a path that is none", do, `{"topic":"a","mapping":{"fields":{"x":"a..b"}}}`, "mapping", "fields", "x"),
		wrong("a blob without a path", do, `{"topic":"a","mapping":{"blobs":[{"property":"x","type":"text"}]}}`, "mapping", "blobs", 0, "path"),
		wrong("a blob of no type", do, `{"topic":"a","mapping":{"blobs":[{"property":"x","type":"smell","path":"$"}]}}`, "mapping", "blobs", 0, "type"),
		refused("no bucket", "POST /v1/buckets/nowhere/topics", `{"topic":"a"}`, 404, "nowhere"),
		refused("no topic of that name", "PATCH /v1/buckets/orders/topics/nothing", `{"paused":true}`, 404, "nothing"),
	)
	s.varve.Commands.Topics = nil
	s.films(t, Step{Name: "not enabled", Do: do, Body: `{"topic":"a"}`, Status: 501, Check: map[string]any{"error.code": "topics_not_enabled"}})
}
