"""Records that the cloud has refused for good, or that the disk has damaged: nothing deletes them, and nobody but a
person can say what becomes of them. Read a page at a time, from the running agent or from the file of one that is down.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.clock import iso8601
from agent.outbox import DeadLetter
from agent.uplink.codec import WireError, decode_record

PAGE_B = 200_000  # of records; as text a page stays below what an answer on the control socket may have


def shown(letter: DeadLetter) -> dict[str, Any]:
    """As JSON. `at`: the wall time of the record, None if it was not known. What cannot be read is there as it is, in
    hexadecimal."""
    place = {"id": letter.id, "stream": letter.stream, "seq": letter.seq, "epoch": letter.epoch.hex()}
    said: dict[str, Any] = {"action": None, "at": None, "payload": None}
    try:
        record = decode_record(letter.body)
        at = None if record.wall_ms is None else iso8601(record.wall_ms / 1000)
        said |= {"action": record.action, "at": at, "payload": record.payload}
    except (WireError, ValueError, OverflowError, OSError) as error:  # a time that no calendar has
        said |= {"body": letter.body.hex(), "unreadable": str(error)[:200]}
    return {**place, "why": letter.why, **said}


def as_text(letters: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for letter in letters:
        what = f"{letter['action'] or 'unreadable'} of {letter['at'] or 'an unknown time'}"
        yield f"stream {letter['stream']} seq {letter['seq']} epoch {letter['epoch']}  {what}: {letter['why']}"
