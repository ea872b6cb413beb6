"""`station-agent modem status | watch | at | diagnose`: what is asked of the running agent, and what is printed."""

import json
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any

import msgspec

from agent.clock import BUILD_S
from agent.doctor import Patient, connected, resolved, shaken
from agent.modem import diagnosis, signal_verdict
from agent.modem.desk import told_of
from agent.modem.diagnosis import Facts, Found, Reach
from agent.modem.signal_verdict import Levels

Ask = Callable[[Mapping[str, Any]], dict[str, Any]]  # the agent's answer to a request; or ConfigError
PAUSE_S = 1.0  # between two readings of the signal

OURS = ("the broker refuses", "the broker hangs up")  # what doctor says of a broker that will not have us


def request(do: str, **more: object) -> dict[str, Any]:
    return {"command": "modem", "do": do, **more}


# -- watch ------------------------------------------------------------------------------------------------------------


def watched(
    ask: Ask, clock: Callable[[], float], for_s: float, pause: Callable[[float], object]
) -> Iterator[dict[str, Any]]:
    """Readings for so long, each with the best so far."""
    best: Levels | None = None
    end = clock() + for_s
    while clock() < end:
        reading = ask(request("signal"))
        if not reading["stale"]:
            best = signal_verdict.best(best, levels_of(reading))
        yield {**reading, "best": None if best is None else msgspec.structs.asdict(best)}
        pause(PAUSE_S)


def rest(seconds: float) -> None:
    Event().wait(seconds)


def levels_of(reading: Mapping[str, Any]) -> Levels:
    return msgspec.convert({name: reading.get(name) for name in Levels.__struct_fields__}, Levels)


def watch_line(reading: Mapping[str, Any]) -> str:
    """One reading: the verdict first, since that is what one turns the antenna by."""
    where = " ".join(filter(None, (reading["operator"], reading["generation"])))
    best = reading["best"] and levels_of(reading["best"])
    parts = [f"{reading['verdict'].upper():9}", signal_verdict.text(levels_of(reading)), where or reading["state"]]
    if best:
        parts.append(f"best {signal_verdict.judged(best).by or 'none'}")
    parts.append(f"not new: {reading['stale']}" if reading["stale"] else reading["advice"])
    return "  ".join(parts)


# -- at ---------------------------------------------------------------------------------------------------------------


def at_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Each line with its kind and what it means, and how it ended."""
    for line in answer["lines"]:
        fields = {name: value for name, value in line.items() if name not in ("kind", "text", "prefix")}
        yield f"{line['kind']:8} {line['text']}" + (f"   {json.dumps(fields, ensure_ascii=False)}" if fields else "")
    final = answer["final"]
    if final is None:
        yield "         it was not answered to its end"
        return
    code, name = final.get("code"), final.get("name")
    said = " ".join(str(each) for each in (final["final"], code, name) if each is not None)
    yield f"{'final':8} {said}" + ("" if answer["sure"] else "   (not sure: something beside it did not fit)")


# -- diagnose ---------------------------------------------------------------------------------------------------------


def diagnosed(answer: Mapping[str, Any], reach: Callable[[], Reach]) -> Found:
    """`reach` is only tried while the broker is silent."""
    told, is_acknowledged = told_of(answer["told"]), bool(answer["acknowledged"])
    is_tried = not is_acknowledged and told.beneath in diagnosis.UP
    return diagnosis.found(Facts(told, is_acknowledged, reach() if is_tried else Reach()))


def reached(patient: Patient) -> Reach:
    """Step by step towards the broker, from this machine; what lies behind a step that fails is not tried."""
    broker = patient.broker
    clock = "" if patient.now_s >= BUILD_S else "the system's clock is before this software was made"
    if broker is None:
        return Reach(clock=clock)
    addresses = resolved(broker.host, broker.port, patient.timeout_s)
    if not addresses:
        return Reach(dns=f"{broker.host} has no address", clock=clock)
    talk, why = connected(addresses, patient.timeout_s)
    if talk is None:
        return Reach(dns="", tcp=f"{broker.host} port {broker.port} does not answer: {why}", clock=clock)
    with talk:
        refusal = shaken(talk, broker, patient.pair_file)
    said = refusal[0] if refusal else ""
    is_theirs = said.startswith(OURS)
    return Reach(dns="", tcp="", tls="" if is_theirs else said, broker=said if is_theirs else "", clock=clock)


def diagnosis_text(found: Found) -> str:
    return f"{found.cause}\n  because  {found.evidence}" + (f"\n  next     {found.next}" if found.next else "")
