// Package pubsub_test runs Watermill's suite, which leaves publishers and
// subscribers open, apart from the tests that count goroutines.
package pubsub_test

import (
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/twmb/franz-go/pkg/kfake"

	"varve/eventstore/bus"
)

// suite gives a constructor for Watermill's suite: our publisher, and
// watermill-kafka's subscriber with consumer groups.
func suite(k bus.Kafka) tests.ConsumerGroupPubSubConstructor {
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

// The whole suite, against a broker in this process.
func TestWatermillSuite(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	universal(t, bus.Kafka{Brokers: c.ListenAddrs()}, false)
}

// The suite in its short form, against a real Kafka.
func TestWatermillSuiteOnKafka(t *testing.T) {
	address := os.Getenv("VARVE_TEST_KAFKA")
	if address == "" {
		t.Skip("VARVE_TEST_KAFKA is not set: `make up` starts a Kafka and says how it is reached")
	}
	universal(t, bus.Kafka{Brokers: []string{address}}, true)
}

// universal is Watermill's suite, named test by named test, since what a Pub/Sub
// cannot do is skipped there. TestReconnect needs a broker that a command restarts.
func universal(t *testing.T, k bus.Kafka, short bool) {
	construct := suite(k)
	run := rand.Text()
	grouped := func(t *testing.T) (message.Publisher, message.Subscriber) { return construct(t, "group-"+run) }
	single := func(t *testing.T) (message.Publisher, message.Subscriber) { return construct(t, "") }
	named := func(partitions int) func(tests.TestContext) string {
		return func(c tests.TestContext) string {
			k := k
			k.Topic = "topic-" + c.TestID.String()
			if _, err := k.Ensure(partitions); err != nil {
				t.Error(err)
			}
			return k.Topic
		}
	}
	many := tests.Features{ConsumerGroups: true, Persistent: true, ForceShort: short, GenerateTopicFunc: named(8)}
	one := tests.Features{ConsumerGroups: true, Persistent: true, ForceShort: short, GuaranteedOrder: true, GenerateTopicFunc: named(1)}
	alone := tests.Features{Persistent: true, ForceShort: short, NewSubscriberReceivesOldMessages: true, GenerateTopicFunc: named(1)}
	type constructor func(t *testing.T) (message.Publisher, message.Subscriber)
	for _, of := range []struct {
		name     string
		test     func(*testing.T, tests.TestContext, tests.PubSubConstructor)
		features tests.Features
		with     constructor
	}{
		{"PublishSubscribe", tests.TestPublishSubscribe, many, grouped},
		{"ConcurrentSubscribe", tests.TestConcurrentSubscribe, many, grouped},
		{"ConcurrentSubscribeMultipleTopics", tests.TestConcurrentSubscribeMultipleTopics, many, grouped},
		{"ResendOnError", tests.TestResendOnError, many, grouped},
		{"ContinueAfterSubscribeClose", tests.TestContinueAfterSubscribeClose, many, grouped},
		{"ConcurrentClose", tests.TestConcurrentClose, many, grouped},
		{"ContinueAfterErrors", tests.TestContinueAfterErrors, many, grouped},
		{"PublisherClose", tests.TestPublisherClose, many, grouped},
		{"Topic", tests.TestTopic, many, grouped},
		{"MessageCtx", tests.TestMessageCtx, many, grouped},
		{"SubscribeCtx", tests.TestSubscribeCtx, many, grouped},
		{"PublishSubscribeInOrder", tests.TestPublishSubscribeInOrder, one, grouped},
		{"NoAck", tests.TestNoAck, one, grouped},
		{"NewSubscriberReceivesOldMessages", tests.TestNewSubscriberReceivesOldMessages, alone, single},
	} {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			of.test(t, tests.TestContext{TestID: tests.NewTestID(), Features: of.features}, tests.PubSubConstructor(of.with))
		})
	}
	t.Run("ConsumerGroups", func(t *testing.T) {
		t.Parallel()
		tests.TestConsumerGroups(t, tests.TestContext{TestID: tests.NewTestID(), Features: many}, construct)
	})
}
