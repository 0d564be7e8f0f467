package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/eapache/go-resiliency/breaker"

	"varve/eventstore"
)

// UUIDHeader carries the UUID of a Watermill message that is no record; it is
// the header that watermill-kafka uses.
const UUIDHeader = "_watermill_message_uuid"

// KeyMetadata names the metadata whose value becomes the key of a Watermill
// message that is no record, and so chooses its partition; without it the
// UUID does.
const KeyMetadata = "partition_key"

// ErrPublisherClosed says that a publisher was used after Close.
var ErrPublisherClosed = errors.New("the publisher is closed")

// Publisher sends in batches, each message once per partition and in order as
// long as nothing fails: an idempotent producer that waits for all replicas and
// has one request under way. It is safe for concurrent use, and is Watermill's
// message.Publisher too.
type Publisher struct {
	topic, source string
	limit         int
	brokers       []string
	config        *sarama.Config
	producer      sarama.AsyncProducer
	renewing      sync.Mutex
	mu            sync.RWMutex // read while sending
	closed        bool
	done          sync.WaitGroup
}

var _ message.Publisher = (*Publisher)(nil)

// ticket belongs to one call of send; a message's place is its index.
type ticket struct {
	mu      sync.Mutex
	errs    []error
	waiting int
	done    chan struct{}
}

type place struct {
	t *ticket
	i int
}

// NewPublisher connects. MaxBytes is what Ensure gave, 0 for Kafka's default:
// the data of records that do not fit are left out, with a header that says so.
func (k Kafka) NewPublisher(maxBytes int) (*Publisher, error) {
	c, err := k.config()
	if err != nil {
		return nil, err
	}
	if maxBytes == 0 {
		maxBytes = defaultMaxBytes
	}
	c.Net.MaxOpenRequests = 1
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes, c.Producer.Return.Errors = true, true
	c.Producer.Partitioner = newPartitioner
	c.Producer.MaxMessageBytes = min(maxBytes, defaultMaxBytes)
	c.Producer.Compression = compressions[k.Compression]
	c.Producer.Timeout = 10 * time.Second
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 5, 100*time.Millisecond
	c.ChannelBufferSize = 1024
	producer, err := sarama.NewAsyncProducer(k.Brokers, c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", k, err)
	}
	p := &Publisher{topic: k.TopicName(), source: k.source(), limit: c.Producer.MaxMessageBytes, brokers: k.Brokers, config: c, producer: producer}
	p.settled(producer)
	return p, nil
}

// settled tells the senders what came of a producer's messages, until it is closed.
func (p *Publisher) settled(producer sarama.AsyncProducer) {
	p.done.Go(func() {
		for m := range producer.Successes() {
			settle(m, nil)
		}
	})
	p.done.Go(func() {
		for e := range producer.Errors() {
			settle(e.Msg, e.Err)
		}
	})
}

// renew puts a new producer in the place of one that gave up on a partition:
// that one refuses everything for ten seconds more, also when Kafka is back. While
// Kafka is not back, nothing changes.
func (p *Publisher) renew(old sarama.AsyncProducer) {
	if !p.renewing.TryLock() {
		return
	}
	defer p.renewing.Unlock()
	p.mu.RLock()
	current := !p.closed && p.producer == old
	p.mu.RUnlock()
	if !current {
		return
	}
	producer, err := sarama.NewAsyncProducer(p.brokers, p.config)
	if err != nil {
		return
	}
	p.mu.Lock() // nothing is under way, so that the order stays
	defer p.mu.Unlock()
	if p.closed {
		_ = producer.Close()
		return
	}
	p.producer = producer
	p.settled(producer)
	old.AsyncClose()
}

func settle(m *sarama.ProducerMessage, err error) {
	at := m.Metadata.(place)
	at.t.mu.Lock()
	defer at.t.mu.Unlock()
	at.t.errs[at.i] = err
	if at.t.waiting--; at.t.waiting == 0 {
		close(at.t.done)
	}
}

// send makes and sends n messages, waits until each was acknowledged or refused,
// and tells which.
func (p *Publisher) send(n int, message func(i int) *sarama.ProducerMessage) ([]error, error) {
	if n == 0 {
		return nil, nil
	}
	t, producer, err := p.sent(n, message)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.errs, func(err error) bool { return errors.Is(err, breaker.ErrBreakerOpen) }) {
		p.renew(producer)
	}
	return t.errs, nil
}

// sendOne sends a message, and returns when it was acknowledged or refused.
func (p *Publisher) sendOne(m *sarama.ProducerMessage) error {
	errs, err := p.send(1, func(int) *sarama.ProducerMessage { return m })
	if err != nil {
		return err
	}
	return errs[0]
}

func (p *Publisher) sent(n int, message func(i int) *sarama.ProducerMessage) (*ticket, sarama.AsyncProducer, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return nil, nil, ErrPublisherClosed
	}
	t := &ticket{errs: make([]error, n), waiting: n, done: make(chan struct{})}
	for i := range n {
		m := message(i)
		m.Metadata = place{t, i}
		p.producer.Input() <- m
	}
	<-t.done
	return t, p.producer, nil
}

// Send publishes records of one shard in the order given and returns when all
// were acknowledged, or with the first error and how many before it were. Those
// behind it may have been published as well.
func (p *Publisher) Send(ctx context.Context, records []eventstore.Record) (acknowledged int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	errs, err := p.send(len(records), func(i int) *sarama.ProducerMessage { return p.message(&records[i], p.limit) })
	if err != nil {
		return 0, err
	}
	for i, err := range errs {
		if err != nil {
			return i, fmt.Errorf("publish feed position %d of shard %d: %w", records[i].Feed, records[i].Shard, err)
		}
	}
	return len(records), nil
}

func (p *Publisher) message(r *eventstore.Record, limit int) *sarama.ProducerMessage {
	headers, value := encode(r, p.source, limit)
	return &sarama.ProducerMessage{Topic: p.topic, Key: sarama.StringEncoder(r.Log), Value: sarama.ByteEncoder(value),
		Headers: headers, Partition: int32(r.Shard), Timestamp: r.Time}
}

// Publish sends Watermill messages in one batch and returns when all were
// acknowledged. Those that Message made go to their shard's partition.
func (p *Publisher) Publish(topic string, all ...*message.Message) error {
	messages := make([]*sarama.ProducerMessage, len(all))
	for i, m := range all {
		var err error
		if messages[i], err = wire(topic, m); err != nil {
			return err
		}
	}
	errs, err := p.send(len(messages), func(i int) *sarama.ProducerMessage { return messages[i] })
	if err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	if err := errors.Join(slices.DeleteFunc(errs, func(e error) bool { return e == nil })...); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

func wire(topic string, m *message.Message) (*sarama.ProducerMessage, error) {
	out := &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(m.Payload), Partition: anyPartition}
	for name, value := range m.Metadata {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	if isRecord(m.Metadata) {
		shard, err := strconv.ParseInt(m.Metadata[headerShard], 10, 32)
		if err != nil || shard < 0 {
			return nil, fmt.Errorf("publish to %s: message %s: %s is %q, no number of a shard", topic, m.UUID, headerShard, m.Metadata[headerShard])
		}
		out.Partition, out.Key = int32(shard), sarama.StringEncoder(m.Metadata[headerLog])
		return out, nil
	}
	out.Key = sarama.StringEncoder(cmp.Or(m.Metadata[KeyMetadata], m.UUID))
	out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(UUIDHeader), Value: []byte(m.UUID)})
	return out, nil
}

// Close waits until everything that was given was acknowledged or refused. A
// second call does nothing.
func (p *Publisher) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if !closed {
		p.producer.AsyncClose()
	}
	p.done.Wait()
	return nil
}

// anyPartition lets the key choose.
const anyPartition = -1

// partitioner takes the partition that a message names, else its key's.
type partitioner struct{ byKey sarama.Partitioner }

func newPartitioner(topic string) sarama.Partitioner {
	return &partitioner{sarama.NewHashPartitioner(topic)}
}

// Partition refuses a shard that has no partition.
func (p *partitioner) Partition(m *sarama.ProducerMessage, n int32) (int32, error) {
	if m.Partition == anyPartition {
		return p.byKey.Partition(m, n)
	}
	if m.Partition < 0 || m.Partition >= n {
		return 0, fmt.Errorf("topic %s has %d partitions, none for shard %d", m.Topic, n, m.Partition)
	}
	return m.Partition, nil
}

// RequiresConsistency makes partitions without a leader count: a shard never moves.
func (p *partitioner) RequiresConsistency() bool { return true }
