package commands

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"varve/domain"
	"varve/eventstore/bus"
)

// SaveTopic creates a topic of a bucket (Identifier empty) or changes one
// through change, which gets it as it is.
type SaveTopic struct {
	Bucket     string
	Identifier string
	// Change leaves Password as it is, or sets it in the clear: it is sealed before it is kept.
	Change func(domain.Topic) (domain.Topic, error)
}

// SaveTopic gives the topic as it is afterwards. It refuses brokers that the
// operator does not allow, and topics of the server's own; a broker's name is resolved later, by
// whoever connects. Messages begin to come within seconds, in whichever process runs topics.
func (h *Handler) SaveTopic(ctx context.Context, in In, cmd SaveTopic) (domain.Topic, error) {
	id := h.newID(in, domain.TopicPrefix)
	saved, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.TopicSaved, error) {
		b, ok := c.Bucket(cmd.Bucket)
		if !ok {
			return nil, domain.NotFound("bucket", cmd.Bucket)
		}
		t := domain.Topic{TopicID: id, BucketID: b.BucketID}
		if cmd.Identifier != "" {
			if t, ok = c.Topic(b.BucketID, cmd.Identifier); !ok {
				return nil, domain.NotFound("topic", cmd.Identifier)
			}
			if err := matchVersion(in, t.Updated.Version); err != nil {
				return nil, err
			}
		}
		before := t.Password
		t, err := cmd.Change(t)
		if err != nil {
			return nil, err
		}
		e, err := c.SaveTopic(t)
		if err != nil {
			return nil, err
		}
		if err := h.Topics.allow(in, e.Topic); err != nil {
			return nil, err
		}
		if e.Password != before {
			if e.Password, err = h.Topics.seal(e.TopicID, e.Password); err != nil {
				return nil, err
			}
		}
		return e, nil
	})
	if err != nil {
		return domain.Topic{}, err
	}
	c, _, err := h.Configs.Head(ctx, in.Log)
	return c.Topics[saved.TopicID], err
}

// DeleteTopic ends a topic; objects that came from it stay, and so does its
// consumer group in Kafka.
func (h *Handler) DeleteTopic(ctx context.Context, in In, bucket, identifier string) (string, error) {
	e, err := configureOne(ctx, h, in, func(c domain.Config) (*domain.TopicDeleted, error) {
		b, ok := c.Bucket(bucket)
		if !ok {
			return nil, domain.NotFound("bucket", bucket)
		}
		return c.DeleteTopic(b.BucketID, identifier)
	})
	if err != nil {
		return "", err
	}
	return e.TopicID, nil
}

// allow refuses what the operator does not let customers reach.
func (t *Topics) allow(in In, topic domain.Topic) error {
	if t == nil {
		return &domain.Error{Code: domain.CodeUnsupported, Reason: "topics_not_enabled", Message: "this server takes no messages from topics"}
	}
	for _, name := range []struct{ member, topic string }{{"topic", topic.Topic}, {"dead_letter_topic", topic.DeadLetter}} {
		if slices.Contains(t.Reserved, name.topic) {
			return domain.Invalid(name.member, "reserved", "%q is a topic of Varve's own", name.topic)
		}
		if len(topic.Brokers) == 0 && !t.allowed(in, name.topic) {
			return domain.Invalid(name.member, "not_allowed", "the server's operator does not open %q of its bus; open are %s", name.topic, strings.Join(t.patterns(in), ", "))
		}
	}
	if len(topic.Brokers) == 0 && t.Bus == nil {
		return domain.Invalid("brokers", "missing", "this server has no bus of its own (--bus): name the brokers as host:port")
	}
	for i, broker := range topic.Brokers {
		where := fmt.Sprintf("brokers[%d]", i)
		if t.Bus != nil && slices.Contains(t.Bus.Brokers, broker) {
			return domain.Invalid(where, "own_bus", "%q is the server's own bus: leave brokers out to read from it", broker)
		}
		host, _, err := net.SplitHostPort(broker)
		if err != nil {
			return domain.Invalid(where, "pattern", "%q is not host:port", broker)
		}
		if !t.AllowPrivate && private(host) {
			return domain.Invalid(where, "private_address", "%q is an address of a private network, which the server's operator does not open (--allow-private)", broker)
		}
	}
	return nil
}

// private says whether a host is, as written, an address that only a private
// network knows. Names are checked when they are resolved.
func private(host string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
	}
	address = address.Unmap()
	return address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()
}

func (t *Topics) patterns(in In) []string {
	all := make([]string, len(t.Open))
	for i, p := range t.Open {
		all[i] = strings.ReplaceAll(p, "{organization}", in.OrganizationID)
	}
	return all
}

func (t *Topics) allowed(in In, topic string) bool {
	return len(t.Open) == 0 || slices.ContainsFunc(t.patterns(in), func(pattern string) bool {
		ok, err := path.Match(pattern, topic)
		return ok && err == nil
	})
}

// kafka says how a topic is reached.
func (t *Topics) kafka(topic domain.Topic) (bus.Kafka, error) {
	if len(topic.Brokers) == 0 {
		if t.Bus == nil {
			return bus.Kafka{}, fmt.Errorf("topic %s is on the server's bus, and this server has none", topic.TopicID)
		}
		k := *t.Bus
		k.Topic = topic.Topic
		return k, nil
	}
	k := bus.Kafka{Brokers: topic.Brokers, Topic: topic.Topic, User: topic.User, SASL: topic.SASL}
	if !t.AllowPrivate {
		k.Dial = bus.PublicDial
	}
	if topic.TLS {
		k.TLS = tlsOfBrokers.Clone()
	}
	if topic.Password != "" {
		var err error
		if k.Password, err = t.unseal(topic.TopicID, topic.Password); err != nil {
			return k, err
		}
	}
	return k, nil
}
