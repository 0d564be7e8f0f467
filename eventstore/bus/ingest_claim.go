package bus

import (
	"cmp"
	"context"
	"slices"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

// Progress is how a source gets on in this process.
type Progress struct {
	Taken      uint64 // messages that Handle took, repeats among them
	Refused    uint64 // messages sent to the dead-letter topic
	Err        error  // why nothing is read; nil: it is
	Partitions []Claimed
}

// Claimed is a partition that the group gave to this process.
type Claimed struct {
	Partition int32
	Next      int64 // offset of the next message to take; -1: not known yet
	End       int64 // offset that the next message written will have, as of the last fetch
}

// Lag is how many messages are written and not taken, in the partitions that
// this process has.
func (p Progress) Lag() (n int64) {
	for _, c := range p.Partitions {
		if c.Next >= 0 {
			n += max(0, c.End-c.Next)
		}
	}
	return n
}

// Progress tells how far this process is, without asking the cluster.
func (s *Source) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{Taken: s.taken, Refused: s.refused, Err: s.err}
	for n, c := range s.assigned {
		p.Partitions = append(p.Partitions, Claimed{Partition: n, Next: c.next, End: c.HighWaterMarkOffset()})
	}
	slices.SortFunc(p.Partitions, func(a, b Claimed) int { return cmp.Compare(a.Partition, b.Partition) })
	return p
}

// claim is a partition in a session of the group.
type claim struct {
	sarama.ConsumerGroupClaim
	session context.Context
	next    int64
}

// claims is a source as watermill-kafka's subscriber lets itself be watched:
// what it calls a tracer sees each claim with its session, which its messages'
// contexts do not end with.
type claims Source

// WrapConsumerGroupHandler watches claims.
func (c *claims) WrapConsumerGroupHandler(h sarama.ConsumerGroupHandler) sarama.ConsumerGroupHandler {
	return &watched{h, (*Source)(c)}
}

// WrapConsumer changes nothing: a source always has a group.
func (c *claims) WrapConsumer(consumer sarama.Consumer) sarama.Consumer { return consumer }

// WrapPartitionConsumer changes nothing.
func (c *claims) WrapPartitionConsumer(p sarama.PartitionConsumer) sarama.PartitionConsumer { return p }

// WrapSyncProducer changes nothing: dead letters have a publisher of their own.
func (c *claims) WrapSyncProducer(_ *sarama.Config, p sarama.SyncProducer) sarama.SyncProducer {
	return p
}

type watched struct {
	sarama.ConsumerGroupHandler
	source *Source
}

// ConsumeClaim enters the claim while it lasts.
func (w *watched) ConsumeClaim(session sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	w.source.enter(c, session.Context())
	defer w.source.leave(c)
	return w.ConsumerGroupHandler.ConsumeClaim(session, c)
}

func (s *Source) enter(c sarama.ConsumerGroupClaim, session context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned == nil {
		s.assigned = map[int32]*claim{}
	}
	s.assigned[c.Partition()] = &claim{c, session, max(-1, c.InitialOffset())}
}

func (s *Source) leave(c sarama.ConsumerGroupClaim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.assigned[c.Partition()]; now != nil && now.ConsumerGroupClaim == c {
		delete(s.assigned, c.Partition())
	}
}

func (s *Source) claimed(partition int32) *claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigned[partition]
}

// fence ends the handling of a message with the session that it came in: its
// partition may belong to another process then, and this one must let go of it
// for the group to go on. What is acknowledged after the end of its session is
// not marked as taken, so the next owner gets it again.
func (s *Source) fence(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		partition, _ := kafka.MessagePartitionFromCtx(m.Context())
		offset, _ := kafka.MessagePartitionOffsetFromCtx(m.Context())
		c := s.claimed(partition)
		if c == nil { // its session ended before it came here
			return nil, nil
		}
		ctx, cancel := context.WithCancel(m.Context())
		defer cancel()
		defer context.AfterFunc(c.session, cancel)()
		m.SetContext(ctx)
		made, err := h(m)
		switch {
		case err == nil:
			s.mu.Lock()
			c.next = offset + 1
			s.mu.Unlock()
		case c.session.Err() != nil:
			return nil, nil
		case ctx.Err() == nil:
			s.note(err)
			return made, err
		}
		if err == nil && c.session.Err() == nil {
			s.note(nil)
		}
		return made, err
	}
}
