"""The same example consumer in Python, with Confluent's client (pip install confluent-kafka).

It prints each event that Varve publishes once, as a line of JSON, and goes on where it was after a restart.
docs/events.md says what a consumer may rely on; /asyncapi.json of a running Varve has every event's schema.

    python consumer.py --brokers localhost:9092 --places places.json
"""

import argparse
import json
import os
import signal
import sys
import time

from confluent_kafka import Consumer


def event(message):
    """Takes a CloudEvent in binary mode apart; raises where it is none."""
    headers = {name: value.decode() for name, value in message.headers() or []}
    if headers.get("ce_specversion") != "1.0":
        raise ValueError("no CloudEvent 1.0")
    gone = "ce_erased" in headers or "ce_dataomitted" in headers  # erased, or left out because it was too large
    return {
        "shard": headers["ce_shard"],
        "feed": int(headers["ce_feedposition"]),
        "log": headers["ce_log"],
        "position": headers["ce_position"],
        "type": headers["ce_type"],
        "subject": headers["ce_subject"],
        "time": headers["ce_time"],
        "data": None if gone else json.loads(message.value() or b""),
    }


def read_places(file):
    try:
        with open(file, encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def write_places(file, places):
    with open(file + ".new", "w", encoding="utf-8") as f:
        json.dump(places, f)
    os.replace(file + ".new", file)


def main():
    arguments = argparse.ArgumentParser(description="Prints what Varve publishes to Kafka.")
    arguments.add_argument("--brokers", default="localhost:9092", help="host:port of Kafka, several with commas")
    arguments.add_argument("--topic", default="varve.events", help="topic that Varve publishes to")
    arguments.add_argument("--group", default="example-consumer", help="consumer group: its members share the partitions")
    arguments.add_argument("--places", default="places.json", help="file that keeps how far each shard was read")
    arguments.add_argument("--idle", type=float, default=0, help="end when nothing came for so many seconds; 0: never")
    s = arguments.parse_args()

    places = read_places(s.places)
    consumer = Consumer({
        "bootstrap.servers": s.brokers,
        "group.id": s.group,
        "auto.offset.reset": "earliest",  # a new group reads the topic from its beginning
        "enable.auto.commit": False,  # the effect first, then the offset
    })
    consumer.subscribe([s.topic])
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    came = time.monotonic()
    try:
        while running and (not s.idle or time.monotonic() - came < s.idle):
            messages = consumer.consume(num_messages=500, timeout=0.2)
            if not messages:
                continue
            came = time.monotonic()
            for message in messages:
                if message.error():
                    print(f"fetch: {message.error()}", file=sys.stderr)
                    continue
                try:
                    e = event(message)
                except (ValueError, KeyError) as wrong:  # not Varve's: say so and go on
                    print(f"offset {message.offset()} of partition {message.partition()}: {wrong}", file=sys.stderr)
                    continue
                # The feed of a shard counts 1, 2, 3, …: a number that is not greater than the
                # last one is a repeat, and a number left out is a gap.
                last = places.get(e["shard"], 0)
                if e["feed"] <= last:
                    continue
                if e["feed"] > last + 1:
                    print(f"gap: shard {e['shard']}: {last + 1} to {e['feed'] - 1} are not in the topic; "
                          "the API has them (GET /v1/log)", file=sys.stderr)
                print(json.dumps(e, ensure_ascii=False))
                places[e["shard"]] = e["feed"]
            sys.stdout.flush()
            # Where the effect is a row in a database, keep the places in the same transaction:
            # then nothing happens twice, whenever the process is killed. A file comes close.
            write_places(s.places, places)
            consumer.commit(asynchronous=False)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
