"""Records for the outbox, as its tests write them."""

from agent.effects import Record, Stream

BOOT = b"BOOT...1"
ALL_B = 100_000_000


def record(n: int, stream: Stream = Stream.MONEY, size_b: int = 0) -> Record:
    return Record(stream, "TransactionEvent", {"seqNo": n, "info": "x" * size_b}, float(n), None, 0)
