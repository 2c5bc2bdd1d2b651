"""Reads an output in format protobuf with confluent-kafka's deserialiser and the
schema registry's schemas."""

import os
import sys

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from grpc_tools import protoc

from truth import NAMES, records, start


def compile_schema(registry, value, folder):
    """Compiles the schema that a value's framing names; returns the class of its messages.

    The deserialiser itself gets no registry: it would ask for schemas in the form of
    descriptors, which Apicurio's registry does not have."""
    schema = registry.get_schema(int.from_bytes(value[1:5], "big"))
    if schema.schema_type != "PROTOBUF":
        sys.exit(f"the schema is of type {schema.schema_type}")
    with open(os.path.join(folder, "batch.proto"), "w", encoding="utf-8") as f:
        f.write(schema.schema_str)
    if protoc.main(["protoc", "-I" + folder, "--python_out=" + folder, os.path.join(folder, "batch.proto")]) != 0:
        sys.exit("the registry's schema does not compile")
    sys.path.insert(0, folder)
    import batch_pb2
    return batch_pb2.Batch


def at(times, row):
    return times.start + (times.offsets[row] if times.offsets else row * times.interval)


def table(check, b):
    """Takes the rows of one message."""
    rows = [{} for _ in range(b.rows)]
    for c in b.columns:
        values = c.ints or c.uints or c.floats or c.doubles
        for row, v in zip(c.rows or range(b.rows), values, strict=True):
            rows[row][c.name] = v
        if c.name == "gear":
            named = {n.value: n.name for n in c.names}
            if named != {v: NAMES[v] for v in values}:
                check.fault("wrong", f"gear {set(values)} is named {named}")
    for i, values in enumerate(rows):
        check.row(b.group, at(b.utc, i), values, at(b.boot, i))


def main():
    args, check = start(real_only=False)
    registry = SchemaRegistryClient({"url": args.registry})
    deserialize = None
    for topic in (args.topic, args.topic + ".events"):
        subject_id = registry.get_latest_version(topic + "-value").schema_id
        for m in records(args, topic):
            if int.from_bytes(m.value()[1:5], "big") != subject_id:
                check.fault("wrong", f"framing {m.value()[:6]!r}, the registry's id of {topic}-value is {subject_id}")
            if deserialize is None:
                deserialize = ProtobufDeserializer(compile_schema(registry, m.value(), args.dir), {"use.deprecated.format": False})
            b = deserialize(m.value(), SerializationContext(topic, MessageField.VALUE))
            check.res["records"] += 1
            if b.car != check.truth.car or b.session != f"{b.epoch}-{b.nonce}" or b.lane not in ("full", "critical") or not b.clock.synced:
                check.fault("wrong", f"message {b.car} {b.session} {b.lane} {b.clock}")
            table(check, b)
            for e in b.events:
                check.event(b.utc.start, e.name, e.detail)
    check.done()


main()
