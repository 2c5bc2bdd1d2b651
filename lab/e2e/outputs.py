"""Reads the receiver's topics with confluent-kafka, a client that is not ours."""

import sys
import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

QUIET_S = 30  # a topic that gives nothing for so long, and no end, is broken


class Topics:
    def __init__(self, brokers, prefix):
        self.conf = {
            "bootstrap.servers": brokers, "group.id": "e2e-reader", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "error", "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50, "enable.metrics.push": False,
        }
        self.prefix = prefix
        self.admin = AdminClient({"bootstrap.servers": brokers, "enable.metrics.push": False})

    def name(self, topic):
        return f"{self.prefix}.{topic}"

    def partitions(self, consumer, topic):
        meta = consumer.list_topics(self.name(topic), timeout=30).topics[self.name(topic)]
        if meta.error is not None:
            raise SystemExit(f"e2e: topic {self.name(topic)}: {meta.error}")
        return [ck.TopicPartition(self.name(topic), p, ck.OFFSET_BEGINNING) for p in meta.partitions]

    def records(self, topic):
        """Yields every committed record, from the first to the present end of each partition."""
        consumer = ck.Consumer(self.conf)
        try:
            parts = self.partitions(consumer, topic)
            consumer.assign(parts)
            left, heard, told = {p.partition for p in parts}, time.monotonic(), time.monotonic()
            n = 0
            while left:
                got = consumer.consume(num_messages=10_000, timeout=0.5)
                now = time.monotonic()
                if got:
                    heard = now
                elif now - heard > QUIET_S:
                    raise SystemExit(f"e2e: {self.name(topic)}: nothing for {QUIET_S} s, partitions {sorted(left)} have no end")
                for m in got:
                    if m.error() is None:
                        n += 1
                        yield m
                    elif m.error().code() == ck.KafkaError._PARTITION_EOF:
                        left.discard(m.partition())
                    else:
                        raise SystemExit(f"e2e: {self.name(topic)}: {m.error()}")
                if now > told + 5:
                    told = now
                    print(f"e2e: read {n} records of {self.name(topic)}", file=sys.stderr, flush=True)
        finally:
            consumer.close()

    def settled(self, group, limit_s):
        """Waits until the sequencer has dealt with all that is in batches now.
        Returns the partitions in which it has not, as text."""
        conf = dict(self.conf, **{"isolation.level": "read_uncommitted"})
        consumer = ck.Consumer(conf)
        try:
            parts = self.partitions(consumer, "batches")
            ends = {p.partition: consumer.get_watermark_offsets(p, timeout=30)[1] for p in parts}
        finally:
            consumer.close()
        wanted = [ck.TopicPartition(self.name("batches"), p) for p, end in ends.items() if end > 0]
        deadline = time.monotonic() + limit_s
        while True:
            request = ck.ConsumerGroupTopicPartitions(group, wanted)
            got = self.admin.list_consumer_group_offsets([request])[group].result(timeout=30)
            behind = [f"partition {p.partition}: {max(p.offset, 0)} of {ends[p.partition]}" for p in got.topic_partitions if p.offset < ends[p.partition]]
            if not behind or time.monotonic() > deadline:
                return behind
            time.sleep(0.2)


def headers(message):
    """A record's identity and place, from its headers."""
    out = {k: v.decode() for k, v in message.headers() or [] if v is not None}
    out["topic"] = message.topic()
    out.setdefault("group", "")
    return out
