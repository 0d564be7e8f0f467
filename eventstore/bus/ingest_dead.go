package bus

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// Headers of a dead letter, beside those that the message had. The text of the
// reason is in Watermill's header reason_poisoned, the topic in topic_poisoned.
const (
	DeadReason    = "varve_reason"    // a short machine word: bad_request, invalid, too_large, …
	DeadPartition = "varve_partition" // where the message was: with the topic, these name it
	DeadOffset    = "varve_offset"
	DeadTime      = "varve_time"    // the message's own time, RFC 3339
	DeadOmitted   = "varve_omitted" // bytes of the value, where it did not fit into the dead-letter topic; it is in the topic that it came from
)

// deadLetters publishes what Watermill's poison queue gives it.
type deadLetters struct {
	sender *Publisher
	limit  int
	source *Source
}

// Publish sends messages to the dead-letter topic with their own key, headers
// and value, and returns when they are acknowledged.
func (d *deadLetters) Publish(topic string, all ...*message.Message) error {
	for _, m := range all {
		out := d.letter(topic, m)
		err := d.sender.sendOne(out)
		if errors.Is(err, sarama.ErrMessageSizeTooLarge) { // the topic's limit is lower than it said
			err = d.sender.sendOne(without(out, len(m.Payload)))
		}
		if err != nil {
			return fmt.Errorf("send message %s to %s: %w", m.UUID, topic, err)
		}
		d.source.mu.Lock()
		d.source.refused++
		d.source.mu.Unlock()
	}
	return nil
}

// Close does nothing: the source closes what sends.
func (d *deadLetters) Close() error { return nil }

func (d *deadLetters) letter(topic string, m *message.Message) *sarama.ProducerMessage {
	ctx := m.Context()
	partition, _ := kafka.MessagePartitionFromCtx(ctx)
	offset, _ := kafka.MessagePartitionOffsetFromCtx(ctx)
	at, _ := kafka.MessageTimestampFromCtx(ctx)
	out := &sarama.ProducerMessage{Topic: topic, Partition: anyPartition, Value: sarama.ByteEncoder(m.Payload)}
	if key, _ := kafka.MessageKeyFromCtx(ctx); key != nil {
		out.Key = sarama.ByteEncoder(key)
	}
	headers := map[string]string{}
	for name, value := range m.Metadata {
		switch name {
		case middleware.PoisonedHandlerKey, middleware.PoisonedSubscriberKey: // names inside of Varve
		default:
			headers[name] = value
		}
	}
	headers[middleware.PoisonedTopicKey] = d.source.Kafka.TopicName()
	headers[DeadPartition], headers[DeadOffset], headers[DeadTime] = strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10), at.UTC().Format(time.RFC3339Nano)
	headers[DeadReason] = m.Metadata[reasonMetadata]
	delete(headers, reasonMetadata)
	size := len(m.Payload) + 512
	for name, value := range headers {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
		size += len(name) + len(value) + 10
	}
	if size > min(d.limit, defaultMaxBytes) {
		return without(out, len(m.Payload))
	}
	return out
}

// without leaves the value out, and says so.
func without(m *sarama.ProducerMessage, size int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: m.Topic, Partition: anyPartition, Key: m.Key,
		Headers: append(m.Headers, sarama.RecordHeader{Key: []byte(DeadOmitted), Value: []byte(strconv.Itoa(size))})}
}

// reasonMetadata carries a refusal's machine word from where the error is known
// to where the letter is written: Watermill's poison queue passes its text alone.
const reasonMetadata = "\x00reason"

// reasoned keeps the machine word of a refusal with the message.
func reasoned(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		made, err := h(m)
		var refused *RefusedError
		if errors.As(err, &refused) {
			m.Metadata[reasonMetadata] = refused.Reason
		}
		return made, err
	}
}
