package bus

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/twmb/franz-go/pkg/kfake"

	"varve/eventstore"
)

// suite gives a constructor for Watermill's suite: our publisher, and
// watermill-kafka's subscriber with consumer groups.
func suite(k Kafka) tests.ConsumerGroupPubSubConstructor {
	return func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		p, err := k.NewPublisher(0)
		if err != nil {
			t.Fatal(err)
		}
		c := kafka.DefaultSaramaSubscriberConfig()
		c.Version = sarama.V2_8_0_0
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
		c.Consumer.Group.Rebalance.Timeout = 3 * time.Second
		s, err := kafka.NewSubscriber(kafka.SubscriberConfig{
			Brokers: k.Brokers, Unmarshaler: kafka.DefaultMarshaler{}, OverwriteSaramaConfig: c, ConsumerGroup: group,
			InitializeTopicDetails: &sarama.TopicDetail{NumPartitions: 8, ReplicationFactor: 1},
		}, watermill.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		return p, s
	}
}

func TestWatermillSuite(t *testing.T) {
	_, k := cluster(t, kfake.DefaultNumPartitions(8), kfake.AllowAutoTopicCreation())
	construct := suite(k)
	features := tests.Features{
		ConsumerGroups:                      true,
		Persistent:                          true,
		NewSubscriberReceivesOldMessages:    false, // of the same group
		ExactlyOnceDelivery:                 false,
		GuaranteedOrder:                     false, // between partitions
		GuaranteedOrderWithSingleSubscriber: false,
		GenerateTopicFunc: func(tctx tests.TestContext) string {
			name := fmt.Sprintf("topic-%s", tctx.TestID)
			k := k
			k.Topic = name
			topic(t, k, 8)
			return name
		},
	}
	tests.TestPubSub(t, features, func(t *testing.T) (message.Publisher, message.Subscriber) { return construct(t, "group") }, construct)
}

// A record as a Watermill message is the relay's message.
func TestPublishRecords(t *testing.T) {
	_, k := cluster(t)
	s := store(t, 2)
	topic(t, k, 2)
	put(t, s, 0, "a", 5)
	put(t, s, 1, "b", 5)
	p := publisher(t, k)
	for shard := range 2 {
		for _, r := range feed(t, s, shard) {
			if err := p.Publish(k.topic(), Message(&r, "")); err != nil {
				t.Fatal(err)
			}
		}
		if n := delivered(t, s, k, shard); n != 0 {
			t.Errorf("shard %d: %d messages too many", shard, n)
		}
	}
	if err := p.Publish(k.topic(), Message(&eventstore.Record{Shard: 2}, "")); err == nil {
		t.Error("a shard without a partition was accepted")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(k.topic(), message.NewMessage("1", nil)); err == nil {
		t.Error("a closed publisher published")
	}
}
