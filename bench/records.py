"""What a station owes after a long outage: a simulated session's records, over and over, each with other values."""

import random
from collections.abc import Iterator
from typing import Any

from agent.clock import ClockSource, iso8601
from agent.effects import Record, Stream
from agent.sim.car import Car
from agent.sim.world import World
from agent.uplink.codec import WireRecord

CARD = "04A10001"
STATUS, ENDED = 0.015, 0.0025  # of all records; each Ended is followed by a Started, and the rest are samples
BEGAN_S = 1_790_000_000.0
SAMPLE_S = 60.0


def session() -> list[WireRecord]:
    """What one session sends."""
    with World(1).closing() as world:
        world.allow(CARD).power_on().run(60)
        world.plug(1, Car(need_wh=5_000)).run(5)
        world.tap(CARD).run(3_600)
        world.unplug(1)
        return world.run(60).cloud.log


def outbox(count: int, seed: int = 1) -> Iterator[Record]:
    """`count` records, one a minute: mostly samples, and as many sessions as there is money for."""
    rng, log = random.Random(seed), session()
    events = {r.payload["eventType"]: r.payload for r in log if r.action == "TransactionEvent"}
    status = next(r.payload for r in log if r.action == "StatusNotification")
    number, seq_no, energy_wh = 0, 0, 0
    for n in range(count):
        at_s, dice = BEGAN_S + n * SAMPLE_S, rng.random()
        dated = iso8601(at_s)
        if seq_no and dice < STATUS:
            yield Record(
                Stream.STATUS, "StatusNotification", {**status, "timestamp": dated}, n * SAMPLE_S, at_s, ClockSource.NTP
            )
            continue
        kind = "Started" if not seq_no else "Ended" if dice > 1 - ENDED else "Updated"
        stream = Stream.SAMPLES if kind == "Updated" else Stream.MONEY
        energy_wh += 180
        payload = event(events[kind], f"{number:08d}", seq_no, dated, energy_wh, rng)
        yield Record(stream, "TransactionEvent", payload, n * SAMPLE_S, at_s, ClockSource.NTP)
        seq_no = 0 if kind == "Ended" else seq_no + 1
        number += kind == "Ended"


def event(
    like: dict[str, Any], session: str, seq_no: int, dated: str, energy_wh: int, rng: random.Random
) -> dict[str, Any]:
    """Mains and cars are never steady."""
    mv, ma = 230_000 + round(rng.gauss(0, 900)), 16_000 + round(rng.gauss(0, 120))
    news = (energy_wh, mv * ma // 1_000_000, ma, mv)
    (meter,) = like["meterValue"]
    values = [{**value, "value": new} for value, new in zip(meter["sampledValue"], news, strict=True)]
    info = {**like["transactionInfo"], "transactionId": f"{like['transactionInfo']['transactionId'][:-8]}{session}"}
    return {
        **like, "seqNo": seq_no, "timestamp": dated, "transactionInfo": info,
        "meterValue": [{"timestamp": dated, "sampledValue": values}],
    }  # fmt: skip
