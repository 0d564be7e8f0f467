package servertest

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// Messages reads a partition of a topic from its beginning to its end as of now.
// The config is the client's; nil: sarama's default.
func Messages(t testing.TB, brokers []string, config *sarama.Config, topic string, partition int32) (all []*sarama.ConsumerMessage) {
	t.Helper()
	client, err := sarama.NewClient(brokers, config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
	if err != nil {
		t.Fatal(err)
	}
	if end == 0 {
		return nil
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	p, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for {
		select {
		case m := <-p.Messages():
			all = append(all, m)
			if m.Offset+1 >= end {
				return all
			}
		case <-time.After(time.Minute):
			t.Fatalf("topic %s, partition %d: message %d of %d does not come", topic, partition, len(all), end)
		}
	}
}
