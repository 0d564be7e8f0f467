package domain

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Topic is a Kafka topic whose messages become objects of a bucket.
type Topic struct {
	TopicID    string       `json:"topic_id"`
	BucketID   string       `json:"bucket_id"`
	Topic      string       `json:"topic"`             // its name in Kafka
	Brokers    []string     `json:"brokers,omitempty"` // host:port; none: the server's own bus
	TLS        bool         `json:"tls,omitempty"`
	SASL       string       `json:"sasl,omitempty"` // plain, scram-sha-256, scram-sha-512
	User       string       `json:"user,omitempty"`
	Password   string       `json:"password,omitempty"` // sealed by the server's key
	Group      string       `json:"group"`              // consumer group
	DeadLetter string       `json:"dead_letter_topic"`  // where messages go that can never become objects
	From       string       `json:"from"`               // where a new group begins: earliest, latest
	Mapping    TopicMapping `json:"mapping"`
	Process    bool         `json:"process,omitempty"` // run the bucket's collections over each object
	Paused     bool         `json:"paused,omitempty"`
	Created    Stamp        `json:"-"`
	Updated    Stamp        `json:"-"`
}

// Events about topics, in the configuration stream.
type (
	// TopicSaved holds a topic as it is from now on.
	TopicSaved struct{ Topic }
	// TopicDeleted ends it; objects that came from it stay.
	TopicDeleted struct {
		TopicID  string `json:"topic_id"`
		BucketID string `json:"bucket_id"`
	}
)

// EventType is topic.saved.
func (*TopicSaved) EventType() string { return "topic.saved" }

// EventType is topic.deleted.
func (*TopicDeleted) EventType() string { return "topic.deleted" }

var (
	_ = register[TopicSaved]()
	_ = register[TopicDeleted]()
)

// Topic finds a topic of a bucket by its id, or by its name in Kafka.
func (c Config) Topic(bucketID, identifier string) (Topic, bool) {
	if t, ok := c.Topics[identifier]; ok {
		return t, t.BucketID == bucketID
	}
	var oldest Topic
	for _, t := range c.Topics {
		if t.BucketID == bucketID && t.Topic == identifier && (oldest.TopicID == "" || t.Created.Version < oldest.Created.Version) {
			oldest = t
		}
	}
	return oldest, oldest.TopicID != ""
}

// TopicsOf gives the topics of a bucket by id.
func (c Config) TopicsOf(bucketID string) map[string]Topic {
	all := map[string]Topic{}
	for id, t := range c.Topics {
		if t.BucketID == bucketID {
			all[id] = t
		}
	}
	return all
}

// withoutTopicsOf leaves out what ends with its bucket.
func (c Config) withoutTopicsOf(bucketID string) map[string]Topic {
	kept := c.Topics
	for id := range c.TopicsOf(bucketID) {
		kept = without(kept, id)
	}
	return kept
}

var (
	kafkaName  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`) // of topics
	brokerName = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`)
)

// SaveTopic decides a topic's creation or change. What is left out is filled in: the
// group is named after the topic's id, the dead-letter topic after the topic. What says where
// messages come from (topic, brokers, group) cannot change once it is created: another
// place in Kafka is another topic.
func (c Config) SaveTopic(t Topic) (*TopicSaved, error) {
	if t.DeadLetter == "" {
		t.DeadLetter = t.Topic + ".dead-letter"
	}
	if t.From == "" {
		t.From = "earliest"
	}
	if t.Group == "" {
		t.Group = "varve-" + t.TopicID
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if before, ok := c.Topics[t.TopicID]; ok {
		for _, member := range []struct {
			name string
			same bool
		}{{"topic", t.Topic == before.Topic}, {"brokers", slices.Equal(t.Brokers, before.Brokers)}, {"group", t.Group == before.Group}, {"from", t.From == before.From}} {
			if !member.same {
				return nil, Invalid(member.name, "immutable", "says where messages come from and cannot change; make another topic and delete this one")
			}
		}
	}
	for _, other := range c.Topics {
		if other.TopicID != t.TopicID && other.Topic == t.Topic && other.Group == t.Group && sameBrokers(other.Brokers, t.Brokers) {
			return nil, &Error{Code: CodeConflict, Reason: "topic_taken", Message: "topic " + other.TopicID + " of this namespace reads " + t.Topic + " in the same consumer group, so that each would get a part; name another group"}
		}
	}
	return &TopicSaved{Topic: t}, nil
}

func sameBrokers(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// DeleteTopic decides a topic's deletion.
func (c Config) DeleteTopic(bucketID, identifier string) (*TopicDeleted, error) {
	t, ok := c.Topic(bucketID, identifier)
	if !ok {
		return nil, NotFound("topic", identifier)
	}
	return &TopicDeleted{TopicID: t.TopicID, BucketID: t.BucketID}, nil
}

// check says what of a topic is not allowed, whatever else the namespace holds.
func (t Topic) check() error {
	for _, name := range []struct{ path, value string }{{"topic", t.Topic}, {"dead_letter_topic", t.DeadLetter}} {
		switch {
		case !kafkaName.MatchString(name.value) || name.value == "." || name.value == "..":
			return Invalid(name.path, "pattern", "%q is not a name of a Kafka topic: 1 to 249 letters, digits, dots, hyphens and underscores", name.value)
		case strings.HasPrefix(name.value, "__"):
			return Invalid(name.path, "reserved", "%q is a topic of Kafka's own", name.value)
		case strings.HasPrefix(name.value, "varve."):
			return Invalid(name.path, "reserved", "%q is a topic of Varve's own: names that begin with varve. are reserved", name.value)
		}
	}
	switch {
	case t.DeadLetter == t.Topic:
		return Invalid("dead_letter_topic", "loop", "is the topic itself: bad messages would come again and again")
	case !kafkaName.MatchString(t.Group):
		return Invalid("group", "pattern", "%q is not a name of a consumer group: 1 to 249 letters, digits, dots, hyphens and underscores", t.Group)
	case len(t.Brokers) == 0 && t.Group != "varve-"+t.TopicID:
		return Invalid("group", "reserved", "on the server's own bus the group is chosen by the server; leave it out")
	case strings.HasPrefix(t.Group, "varve-") && t.Group != "varve-"+t.TopicID:
		return Invalid("group", "reserved", "%q is named as if it were another topic's: choose a name that does not begin with varve-, or leave it out", t.Group)
	case len(t.Brokers) > 20:
		return Invalid("brokers", "length", "%d brokers; at most 20 are needed to find a cluster", len(t.Brokers))
	}
	for i, b := range t.Brokers {
		port, err := strconv.Atoi(b[strings.LastIndexByte(b, ':')+1:])
		if !brokerName.MatchString(b) || err != nil || port < 1 || port > 65535 {
			return Invalid(indexed("brokers", i), "pattern", "%q is not host:port, such as broker-1.example.com:9092", b)
		}
	}
	if err := CheckEnum("from", t.From, "earliest", "latest"); err != nil {
		return err
	}
	if err := t.checkLogin(); err != nil {
		return err
	}
	return t.Mapping.check()
}

func (t Topic) checkLogin() error {
	if t.SASL != "" {
		if err := CheckEnum("sasl", t.SASL, "plain", "scram-sha-256", "scram-sha-512"); err != nil {
			return err
		}
	}
	switch {
	case len(t.Brokers) == 0 && (t.SASL != "" || t.User != "" || t.Password != "" || t.TLS):
		return Invalid("brokers", "missing", "tls, sasl, user and password are for brokers of your own; name them, or leave those out to read from the server's bus")
	case t.SASL == "" && (t.User != "" || t.Password != ""):
		return Invalid("sasl", "missing", "a user or password needs a mechanism: plain, scram-sha-256 or scram-sha-512")
	case t.SASL != "" && (t.User == "" || t.Password == ""):
		return Invalid("user", "missing", "sasl needs user and password")
	}
	return nil
}
