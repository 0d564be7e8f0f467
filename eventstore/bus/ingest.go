package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// Incoming is a message of somebody else's topic.
type Incoming struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte
	Value     []byte
	Headers   map[string]string // the last one of each name
}

// RefusedError is what Source.Handle returns for a message that cannot be
// taken, however often it is tried. Any other error is taken for one that passes.
type RefusedError struct {
	Reason string // a short machine word, for the header
	Tries  int    // how often it is tried all the same, because somebody else may be at fault; 0: once
	Err    error
}

// Error gives the cause's text.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// Source takes messages from a topic as a member of a consumer group, each at
// least once and in the order of its partition, one at a time a partition.
// Refused messages go to the dead-letter topic with the reason in headers, and
// the partition goes on; after any other error the message is tried again for
// good. A message is acknowledged after Handle, so Handle must know what it
// took: by topic, partition and offset. Fields are set before Run and not changed.
type Source struct {
	Kafka      Kafka // its Topic is the one that is read
	Group      string
	DeadLetter string // topic, made where it does not exist
	Latest     bool   // a new group begins with what comes, else with what is there
	MaxBytes   int    // of a value; larger ones are refused; 0: 16 MiB
	Handle     func(context.Context, Incoming) error
	Logger     *slog.Logger
	Pause      time.Duration // before the second try, doubled up to 100 times; 0: 100 ms

	mu       sync.Mutex
	err      error
	taken    uint64
	refused  uint64
	assigned map[int32]*claim
}

const defaultMaxMessage = 16 << 20

// Run takes messages until ctx ends, and returns nil then. What goes wrong
// meanwhile is in Progress, and tried again.
func (s *Source) Run(ctx context.Context) error {
	if s.Handle == nil || s.Group == "" || s.DeadLetter == "" {
		return errors.New("take messages: a source needs Handle, Group and DeadLetter")
	}
	for try := 0; ; try++ {
		begun := time.Now()
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what broke off because of it is no error
		}
		if time.Since(begun) > time.Minute {
			try = 0
		}
		s.note(err)
		s.logger().Warn("a topic is not read", slog.String("topic", s.Kafka.String()), slog.Any("error", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.pause() << min(try, 8)):
		}
	}
}

func (s *Source) pause() time.Duration {
	if s.Pause == 0 {
		return 100 * time.Millisecond
	}
	return s.Pause
}

func (s *Source) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

func (s *Source) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// follow connects and runs Watermill's router until ctx ends or that cannot go on.
func (s *Source) follow(ctx context.Context) error {
	config, err := s.Kafka.config()
	if err != nil {
		return err
	}
	limit, err := s.prepare(config)
	if err != nil {
		return err
	}
	sender, err := s.Kafka.NewPublisher(limit)
	if err != nil {
		return err
	}
	defer sender.Close()
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Session.Timeout, config.Consumer.Group.Heartbeat.Interval = 6*time.Second, 2*time.Second // the least that Kafka takes unasked: who vanished is missed soon
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if s.Latest {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	}
	// Watermill tells its progress at info: nobody asked for that.
	quiet := watermill.NewSlogLoggerWithLevelMapping(s.logger(), map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug, slog.LevelError: slog.LevelWarn})
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{Brokers: s.Kafka.Brokers, Unmarshaler: unmarshaler{}, OverwriteSaramaConfig: config,
		ConsumerGroup: s.Group, NackResendSleep: s.pause(), Tracer: (*claims)(s)}, quiet)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.Kafka, err)
	}
	defer subscriber.Close()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, quiet)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.Kafka, err)
	}
	poison, err := middleware.PoisonQueueWithFilter(&deadLetters{sender, limit, s}, s.DeadLetter, refusedForGood)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.Kafka, err)
	}
	// Watermill's Retry takes two steps of its backoff a try where it asks ShouldRetry: 1.4 doubles.
	retry := middleware.Retry{MaxRetries: 10, InitialInterval: s.pause(), MaxInterval: 100 * s.pause(), Multiplier: 1.4, ShouldRetry: worthwhile}
	router.AddMiddleware(s.fence, poison, retry.Middleware, reasoned, recoverer)
	router.AddConsumerHandler("topic", s.Kafka.TopicName(), subscriber, s.handle)
	s.note(nil)
	if err := router.Run(ctx); err != nil {
		return fmt.Errorf("read %s: %w", s.Kafka, err)
	}
	return errors.New("the router ended")
}

// prepare holds that the topic is there, makes the dead-letter topic, and gives
// the most bytes that a message in that may have.
func (s *Source) prepare(config *sarama.Config) (limit int, err error) {
	admin, err := sarama.NewClusterAdmin(s.Kafka.Brokers, config)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", s.Kafka, err)
	}
	defer admin.Close()
	if _, err := existing(admin, s.Kafka.TopicName()); err != nil {
		return 0, err
	}
	err = admin.CreateTopic(s.DeadLetter, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: -1}, false)
	if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		if _, missing := existing(admin, s.DeadLetter); missing != nil {
			return 0, fmt.Errorf("create the dead-letter topic %s: %w", s.DeadLetter, err)
		}
	}
	return maxMessage(admin, s.DeadLetter), nil
}

// handle is the innermost handler.
func (s *Source) handle(m *message.Message) error {
	ctx := m.Context()
	taken := Incoming{Topic: s.Kafka.TopicName(), Headers: m.Metadata, Value: m.Payload}
	taken.Partition, _ = kafka.MessagePartitionFromCtx(ctx)
	taken.Offset, _ = kafka.MessagePartitionOffsetFromCtx(ctx)
	taken.Time, _ = kafka.MessageTimestampFromCtx(ctx)
	taken.Key, _ = kafka.MessageKeyFromCtx(ctx)
	most := s.MaxBytes
	if most == 0 {
		most = defaultMaxMessage
	}
	if len(taken.Value) > most {
		return &RefusedError{Reason: "too_large", Err: fmt.Errorf("the message has %d bytes; at most %d are taken", len(taken.Value), most)}
	}
	if err := s.Handle(ctx, taken); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	return nil
}

// refusedForGood says which errors send a message to the dead-letter topic.
func refusedForGood(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}

// worthwhile says whether a message is tried once more, without giving it back.
func worthwhile(p middleware.RetryParams) bool {
	var refused *RefusedError
	if errors.As(p.Err, &refused) {
		return p.RetryNum+1 < refused.Tries
	}
	return true
}

// recoverer makes a panic a reason to refuse the message, after some tries.
func recoverer(h message.HandlerFunc) message.HandlerFunc {
	h = middleware.Recoverer(h)
	return func(m *message.Message) ([]*message.Message, error) {
		made, err := h(m)
		var panicked middleware.RecoveredPanicError
		if errors.As(err, &panicked) {
			return nil, &RefusedError{Reason: "panic", Tries: 3, Err: fmt.Errorf("taking the message broke off: %v", panicked.V)}
		}
		return made, err
	}
}

// unmarshaler keeps a message as it is: its key, its headers, and no UUID made up.
type unmarshaler struct{}

// Unmarshal never fails: a message that cannot be read is for Handle to refuse.
func (unmarshaler) Unmarshal(m *sarama.ConsumerMessage) (*message.Message, error) {
	out := message.NewMessage(fmt.Sprintf("%s/%d/%d", m.Topic, m.Partition, m.Offset), m.Value)
	for _, h := range m.Headers {
		out.Metadata[string(h.Key)] = string(h.Value)
	}
	return out, nil
}
