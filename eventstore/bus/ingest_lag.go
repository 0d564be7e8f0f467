package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// PartitionLag is how far a consumer group is in a partition.
type PartitionLag struct {
	Partition int32
	Committed int64 // offset of the next message that the group takes; -1: it has committed none
	First     int64 // offset of the oldest message that is there
	End       int64 // offset that the next message written will have
}

// Lag is how many messages that are there the group has not taken.
func (p PartitionLag) Lag() int64 { return max(0, p.End-max(p.Committed, p.First)) }

// Lag asks the cluster how far a group is in each partition of the topic, within
// ctx: from any process, whether it reads the topic or not.
func (k Kafka) Lag(ctx context.Context, group string) ([]PartitionLag, error) {
	type answer struct {
		all []PartitionLag
		err error
	}
	done := make(chan answer, 1)
	left := 10 * time.Second
	if until, ok := ctx.Deadline(); ok {
		left = max(time.Until(until), 10*time.Millisecond)
	}
	go func() {
		all, err := k.lag(group, left)
		done <- answer{all, err}
	}()
	select {
	case a := <-done:
		return a.all, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("ask %s how far %s is: %w", k, group, ctx.Err())
	}
}

func (k Kafka) lag(group string, within time.Duration) ([]PartitionLag, error) {
	c, err := k.config()
	if err != nil {
		return nil, err
	}
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = within, within, within
	c.Metadata.Timeout, c.Metadata.Retry.Max = within, 1
	client, err := sarama.NewClient(k.Brokers, c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", k, err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("connect to %s: %w", k, err)
	}
	defer admin.Close() // and the client with it
	n, err := existing(admin, k.TopicName())
	if err != nil {
		return nil, err
	}
	all, ids := make([]PartitionLag, n), make([]int32, n)
	for i := range all {
		ids[i] = int32(i)
		all[i] = PartitionLag{Partition: int32(i), Committed: -1}
		if all[i].First, err = client.GetOffset(k.TopicName(), int32(i), sarama.OffsetOldest); err == nil {
			all[i].End, err = client.GetOffset(k.TopicName(), int32(i), sarama.OffsetNewest)
		}
		if err != nil {
			return nil, fmt.Errorf("ask where partition %d of %s ends: %w", i, k.TopicName(), err)
		}
	}
	committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{k.TopicName(): ids})
	if errors.Is(err, sarama.ErrGroupIDNotFound) { // it has never been there
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask how far group %s is: %w", group, err)
	}
	for i := range all {
		if block := committed.GetBlock(k.TopicName(), int32(i)); block != nil && block.Err == sarama.ErrNoError {
			all[i].Committed = block.Offset
		}
	}
	return all, nil
}

// existing gives a topic's number of partitions, and an error where there is no such topic.
func existing(admin sarama.ClusterAdmin, topic string) (int, error) {
	n, err := partitions(admin, topic)
	if err == nil && n == 0 || errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return 0, fmt.Errorf("topic %s does not exist", topic)
	}
	return n, err
}
