package http

import (
	"context"
	"time"

	"varve/commands"
	"varve/domain"
	"varve/eventstore"
)

var _ = noun("topic", (*Server).topicRoutes)

func (s *Server) topicRoutes() {
	read := needs{Permission: "read", Resource: "bucket", Namespaced: true}
	write := needs{Permission: "write", Resource: "bucket", Namespaced: true}
	const path = "/v1/buckets/{bucket_identifier}/topics"
	s.route("POST", path, write, handle(s.createTopic))
	s.list(path, read, handle(s.listTopics))
	s.route("GET", path+"/{topic_identifier}", read, handle(s.topic))
	s.route("PATCH", path+"/{topic_identifier}", write, handle(s.changeTopic))
	s.route("DELETE", path+"/{topic_identifier}", needs{Permission: "delete", Resource: "bucket", Namespaced: true}, handle(s.deleteTopic))
}

type topicBlobWire struct {
	Property string `json:"property" validate:"required,min=1,max=100"`
	Type     string `json:"type" validate:"required"`
	Path     string `json:"path" validate:"required"`
}

type topicMappingWire struct {
	Fields   map[string]string `json:"fields"`
	Metadata map[string]string `json:"metadata"`
	Blobs    []topicBlobWire   `json:"blobs"`
	Key      string            `json:"key,omitempty"`
}

type topicBody struct {
	Topic      *string           `json:"topic"`
	Brokers    []string          `json:"brokers"`
	TLS        *bool             `json:"tls"`
	SASL       *string           `json:"sasl"`
	User       *string           `json:"user"`
	Password   *string           `json:"password"`
	Group      *string           `json:"group"`
	DeadLetter *string           `json:"dead_letter_topic"`
	From       *string           `json:"from"`
	Mapping    *topicMappingWire `json:"mapping"`
	Process    *bool             `json:"process"`
	Paused     *bool             `json:"paused"`
}

func (b topicBody) onto(t domain.Topic) (domain.Topic, error) {
	for _, text := range []struct{ to, from *string }{{&t.Topic, b.Topic}, {&t.SASL, b.SASL}, {&t.User, b.User}, {&t.Password, b.Password}, {&t.Group, b.Group}, {&t.DeadLetter, b.DeadLetter}, {&t.From, b.From}} {
		if text.from != nil {
			*text.to = *text.from
		}
	}
	for _, flag := range []struct{ to, from *bool }{{&t.TLS, b.TLS}, {&t.Process, b.Process}, {&t.Paused, b.Paused}} {
		if flag.from != nil {
			*flag.to = *flag.from
		}
	}
	if b.Brokers != nil {
		t.Brokers = b.Brokers
	}
	if b.Mapping != nil {
		t.Mapping = domain.TopicMapping{Fields: b.Mapping.Fields, Metadata: b.Mapping.Metadata, Key: b.Mapping.Key}
		for _, blob := range b.Mapping.Blobs {
			t.Mapping.Blobs = append(t.Mapping.Blobs, domain.TopicBlob(blob))
		}
	}
	return t, nil
}

type topicWire struct {
	TopicID    string           `json:"topic_id"`
	BucketID   string           `json:"bucket_id"`
	Topic      string           `json:"topic"`
	Brokers    []string         `json:"brokers"` // null: the server's own bus
	TLS        bool             `json:"tls"`
	SASL       *string          `json:"sasl"`
	User       *string          `json:"user"`
	Password   bool             `json:"password_set"`
	Group      string           `json:"group"`
	DeadLetter string           `json:"dead_letter_topic"`
	From       string           `json:"from"`
	Mapping    topicMappingWire `json:"mapping"`
	Process    bool             `json:"process"`
	Paused     bool             `json:"paused"`
	CreatedAt  wireTime         `json:"created_at"`
	UpdatedAt  wireTime         `json:"updated_at"`
	State      *topicStateWire  `json:"state,omitempty"`
	Warned
}

// topicStateWire is how a topic gets on, as its cluster says at the time of the
// request. Of what is counted here, counts and error are of the process that answers.
type topicStateWire struct {
	Lag        *int64              `json:"lag"` // null: the cluster does not say
	Partitions []topicProgressWire `json:"partitions"`
	Error      *string             `json:"error"`
	Reading    bool                `json:"reading"` // by the process that answers; others may
	Taken      uint64              `json:"taken"`
	Refused    uint64              `json:"refused"`
}

type topicProgressWire struct {
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"`
	First     int64  `json:"first"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
}

func topicOut(t domain.Topic) *topicWire {
	w := &topicWire{TopicID: t.TopicID, BucketID: t.BucketID, Topic: t.Topic, Brokers: t.Brokers, TLS: t.TLS, SASL: textOrNull(t.SASL), User: textOrNull(t.User),
		Password: t.Password != "", Group: t.Group, DeadLetter: t.DeadLetter, From: t.From, Process: t.Process, Paused: t.Paused,
		CreatedAt: wireTime(t.Created.Time), UpdatedAt: wireTime(t.Updated.Time),
		Mapping: topicMappingWire{Fields: orNone(t.Mapping.Fields), Metadata: orNone(t.Mapping.Metadata), Blobs: []topicBlobWire{}, Key: t.Mapping.Key}}
	for _, b := range t.Mapping.Blobs {
		w.Mapping.Blobs = append(w.Mapping.Blobs, topicBlobWire(b))
	}
	return w
}

// orNone makes sure that a map is written as {}.
func orNone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *Server) createTopic(ctx context.Context, r *Request[topicBody]) (any, error) {
	if r.Body.Topic == nil {
		return nil, domain.Invalid("topic", "missing", "name the topic in Kafka whose messages become objects")
	}
	t, err := s.Commands.SaveTopic(ctx, r.In(), commands.SaveTopic{Bucket: r.Path("bucket_identifier"), Change: r.Body.onto})
	if err != nil {
		return nil, err
	}
	return tagged(topicOut(t), t.Updated.Version), nil
}

func (s *Server) listTopics(ctx context.Context, r *Request[listBody]) (any, error) {
	_, cfg, err := s.pinList(ctx, r)
	if err != nil {
		return nil, err
	}
	b, ok := cfg.Bucket(r.Path("bucket_identifier"))
	if !ok {
		return nil, domain.NotFound("bucket", r.Path("bucket_identifier"))
	}
	answer, _, err := configList(r, cfg.TopicsOf(b.BucketID), topicOut)
	return answer, err
}

// topic is the topic, and how it gets on.
func (s *Server) topic(ctx context.Context, r *Request[None]) (any, error) {
	at, cfg, b, err := s.bucketAt(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	t, ok := cfg.Topic(b.BucketID, r.Path("topic_identifier"))
	if !ok {
		return nil, domain.NotFound("topic", r.Path("topic_identifier"))
	}
	w := topicOut(t)
	if w.State, err = s.topicState(ctx, at.Log, t); err != nil {
		return nil, err
	}
	return tagged(w, t.Updated.Version), nil
}

// askKafka is how long an answer waits for the topic's cluster.
const askKafka = 3 * time.Second

func (s *Server) topicState(ctx context.Context, log eventstore.LogID, t domain.Topic) (*topicStateWire, error) {
	asking, cancel := context.WithTimeout(ctx, askKafka)
	defer cancel()
	lag, here, err := s.Commands.Topics.Lag(asking, log, t)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &topicStateWire{Partitions: []topicProgressWire{}}
	if here != nil {
		w.Reading, w.Taken, w.Refused = true, here.Taken, here.Refused
		if err == nil {
			err = here.Err
		}
	}
	if err != nil {
		text := err.Error()
		w.Error = &text
	}
	if lag == nil {
		return w, nil
	}
	total := int64(0)
	for _, p := range lag {
		one := topicProgressWire{Partition: p.Partition, First: p.First, End: p.End, Lag: p.Lag()}
		if p.Committed >= 0 {
			one.Committed = &p.Committed
		}
		w.Partitions = append(w.Partitions, one)
		total += p.Lag()
	}
	w.Lag = &total
	return w, nil
}

func (s *Server) changeTopic(ctx context.Context, r *Request[topicBody]) (any, error) {
	t, err := s.Commands.SaveTopic(ctx, r.In(), commands.SaveTopic{Bucket: r.Path("bucket_identifier"), Identifier: r.Path("topic_identifier"), Change: r.Body.onto})
	if err != nil {
		return nil, err
	}
	return tagged(topicOut(t), t.Updated.Version), nil
}

func (s *Server) deleteTopic(ctx context.Context, r *Request[None]) (any, error) {
	id, err := s.Commands.DeleteTopic(ctx, r.In(), r.Path("bucket_identifier"), r.Path("topic_identifier"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"topic_id": id, "success": true}, nil
}
