package bus

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

// PartitionsError says that a topic exists with another number of partitions
// than the store has shards. Nothing was changed: the partitions of a topic can
// only grow, and records would stand in others than their shard's.
type PartitionsError struct {
	Topic      string
	Partitions int
	Shards     int
}

// Error says what to do instead.
func (e *PartitionsError) Error() string {
	return fmt.Sprintf("topic %s has %d partitions and the store %d shards: name another topic, or delete this one and let it be made anew with %d",
		e.Topic, e.Partitions, e.Shards, e.Shards)
}

// Ensure makes the topic with one partition a shard where it does not exist, and
// gives the most bytes that a message in it may have. An existing topic with
// another number of partitions is a *PartitionsError. Several processes may do
// it at once.
func (k Kafka) Ensure(shards int) (maxBytes int, err error) {
	c, err := k.config()
	if err != nil {
		return 0, err
	}
	admin, err := sarama.NewClusterAdmin(k.Brokers, c)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", k, err)
	}
	defer admin.Close()
	replicas := k.Replicas
	if replicas == 0 {
		replicas = -1
	}
	err = admin.CreateTopic(k.TopicName(), &sarama.TopicDetail{NumPartitions: int32(shards), ReplicationFactor: replicas}, false)
	if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		// Who may not make topics may still use one that somebody made.
		if n, listErr := partitions(admin, k.TopicName()); listErr != nil || n == 0 {
			return 0, fmt.Errorf("create topic %s with %d partitions at %s: %w", k.TopicName(), shards, k, err)
		}
	}
	if err != nil {
		n, err := known(admin, k.TopicName())
		if err != nil {
			return 0, err
		}
		if n != shards {
			return 0, &PartitionsError{Topic: k.TopicName(), Partitions: n, Shards: shards}
		}
	}
	return maxMessage(admin, k.TopicName()), nil
}

// known asks for the partitions of a topic that exists, for up to five seconds
// where the broker has not heard of it yet: somebody makes it just now.
func known(admin sarama.ClusterAdmin, topic string) (int, error) {
	for try := 0; ; try++ {
		n, err := partitions(admin, topic)
		if n > 0 || try == 50 || err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return n, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func partitions(admin sarama.ClusterAdmin, topic string) (int, error) {
	all, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return 0, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	for _, t := range all {
		if t.Name == topic && t.Err == sarama.ErrNoError {
			return len(t.Partitions), nil
		}
		if t.Name == topic {
			return 0, fmt.Errorf("describe topic %s: %w", topic, t.Err)
		}
	}
	return 0, nil
}

// defaultMaxBytes is a little less than Kafka's default for max.message.bytes.
const defaultMaxBytes = 1 << 20

// maxMessage asks for the topic's limit; who may not ask gets Kafka's default.
func maxMessage(admin sarama.ClusterAdmin, topic string) int {
	answers, err := admin.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"max.message.bytes"}}}, sarama.DescribeConfigsOptions{})
	if err != nil || len(answers) != 1 {
		return defaultMaxBytes
	}
	for _, e := range answers[0].Configs {
		if n, err := strconv.Atoi(e.Value); e.Name == "max.message.bytes" && err == nil && n > 0 {
			return n
		}
	}
	return defaultMaxBytes
}
