package bus

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"varve/eventstore"
)

// A record as a Watermill message is the relay's message.
func TestPublishRecords(t *testing.T) {
	k := broker(t)
	s := store(t, 2)
	topic(t, k, 2)
	put(t, s, 0, "a", 5)
	put(t, s, 1, "b", 5)
	p := publisher(t, k)
	for shard := range 2 {
		for _, r := range feed(t, s, shard) {
			if err := p.Publish(k.TopicName(), Message(&r, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	deliveredOnce(t, s, k)
	if err := p.Publish(k.TopicName(), Message(&eventstore.Record{Shard: 2}, "")); err == nil {
		t.Error("a shard without a partition was accepted")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(k.TopicName(), message.NewMessage("1", nil)); err == nil {
		t.Error("a closed publisher published")
	}
}
