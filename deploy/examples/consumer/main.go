// Consumer is an example of a program beside Varve that reads what Varve
// publishes (docs/events.md): it prints each event once, as a line of JSON, and
// goes on where it was after a restart, however it ended. It needs nothing of
// Varve but a Kafka client: copy it and put your own effect in the place of print.
//
//	go run ./deploy/examples/consumer -brokers localhost:9092 -places places.json
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type settings struct {
	brokers, topic, group, places string
	idle                          time.Duration
}

func main() {
	var s settings
	flag.StringVar(&s.brokers, "brokers", "localhost:9092", "host:port of Kafka, several with commas")
	flag.StringVar(&s.topic, "topic", "varve.events", "topic that Varve publishes to")
	flag.StringVar(&s.group, "group", "example-consumer", "consumer group: its members share the partitions")
	flag.StringVar(&s.places, "places", "places.json", "file that keeps how far each shard was read")
	flag.DurationVar(&s.idle, "idle", 0, "end when nothing came for so long; 0: never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, s, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// event is what is printed: the attributes that most consumers need, and the data.
type event struct {
	Shard    string          `json:"shard"`
	Feed     uint64          `json:"feed"`
	Log      string          `json:"log"`
	Position string          `json:"position"`
	Type     string          `json:"type"`
	Subject  string          `json:"subject"`
	Time     string          `json:"time"`
	Data     json.RawMessage `json:"data"` // null: erased, or left out because it was too large
}

func consume(ctx context.Context, s settings, out, notes io.Writer) error {
	places, err := readPlaces(s.places)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(s.brokers, ",")...), kgo.ConsumerGroup(s.group), kgo.ConsumeTopics(s.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // a new group reads the topic from its beginning
		kgo.DisableAutoCommit(),                           // the effect first, then the offset
		kgo.BlockRebalanceOnPoll(),                        // keep a partition until what was polled of it is committed
	)
	if err != nil {
		return fmt.Errorf("make a client of %s: %w", s.brokers, err)
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		poll, cancel := ctx, context.CancelFunc(func() {})
		if s.idle > 0 {
			poll, cancel = context.WithTimeout(ctx, s.idle)
		}
		fetches := client.PollFetches(poll)
		cancel()
		if fetches.Empty() && errors.Is(poll.Err(), context.DeadlineExceeded) {
			return nil
		}
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil && !errors.Is(e.Err, context.DeadlineExceeded) {
				fmt.Fprintf(notes, "fetch %s partition %d: %v\n", e.Topic, e.Partition, e.Err)
			}
		}
		for _, record := range fetches.Records() {
			e, err := read(record)
			if err != nil { // not Varve's: say so and go on
				fmt.Fprintf(notes, "offset %d of partition %d: %v\n", record.Offset, record.Partition, err)
				continue
			}
			// The feed of a shard counts 1, 2, 3, …: a number that is not greater than the
			// last one is a repeat, and a number left out is a gap.
			last := places[e.Shard]
			if e.Feed <= last {
				continue
			}
			if e.Feed > last+1 {
				fmt.Fprintf(notes, "gap: shard %s: %d to %d are not in the topic; the API has them (GET /v1/log)\n", e.Shard, last+1, e.Feed-1)
			}
			if err := json.NewEncoder(out).Encode(e); err != nil {
				return fmt.Errorf("print feed position %d: %w", e.Feed, err)
			}
			places[e.Shard] = e.Feed
		}
		// Where the effect is a row in a database, keep the places in the same transaction:
		// then nothing happens twice, whenever the process is killed. A file comes close.
		if err := writePlaces(s.places, places); err != nil {
			return err
		}
		if err := client.CommitRecords(ctx, fetches.Records()...); err != nil && ctx.Err() == nil {
			fmt.Fprintf(notes, "commit offsets: %v\n", err) // they come again, and are known by their numbers
		}
		client.AllowRebalance()
	}
	return nil
}

// read takes a CloudEvent in binary mode apart.
func read(r *kgo.Record) (event, error) {
	h := map[string]string{}
	for _, header := range r.Headers {
		h[header.Key] = string(header.Value)
	}
	if h["ce_specversion"] != "1.0" {
		return event{}, errors.New("no CloudEvent 1.0")
	}
	feed, err := strconv.ParseUint(h["ce_feedposition"], 10, 64)
	if err != nil {
		return event{}, fmt.Errorf("ce_feedposition: %w", err)
	}
	e := event{Shard: h["ce_shard"], Feed: feed, Log: h["ce_log"], Position: h["ce_position"], Type: h["ce_type"], Subject: h["ce_subject"], Time: h["ce_time"]}
	if h["ce_erased"] != "" || h["ce_dataomitted"] != "" {
		return e, nil
	}
	if !json.Valid(r.Value) {
		return event{}, errors.New("the value is no JSON")
	}
	e.Data = r.Value
	return e, nil
}

func readPlaces(file string) (map[string]uint64, error) {
	places := map[string]uint64{}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return places, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &places)
	}
	if err != nil {
		return nil, fmt.Errorf("read places: %w", err)
	}
	return places, nil
}

func writePlaces(file string, places map[string]uint64) error {
	text, err := json.Marshal(places)
	if err == nil {
		err = os.WriteFile(file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("write places: %w", err)
	}
	return nil
}
