"""The live view, drawn as text: all of it in 80 x 24, whatever there is to show."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from tests.test_devcloud import (
    BOOT,
    EPOCH,
    NO_LIST,
    START_MS,
    accepted,
    batch,
    event,
    hello,
    opened,
    record,
    run,
    status,
)
from tools.cloud import view
from tools.cloud.cloud import Cloud
from tools.cloud.drivers import Driver
from tools.cloud.ledger import Ledger
from tools.cloud.wire import KEYS


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud(Ledger(":memory:"), Ed25519PrivateKey.generate())
    yield cloud
    cloud.ledger.close()


def text(cloud: Cloud, now_ms: int = START_MS + 600_000, width: int = 80, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, record=True, color_system=None)
    console.print(view.drawn(view.look(cloud.ledger, now_ms, view.all_violations(cloud.ledger)), height))
    return console.export_text()


def busy_station(cloud: Cloud, name: str) -> None:
    """One that says a bit of everything."""

    def say(channel: str, content: bytes) -> None:
        list(cloud.receive(f"u/{name}/{channel}", content, START_MS))

    say("h", hello())
    about = {"model": "duo", "vendorName": "v", "firmwareVersion": "1.2"}
    say("v", cbor2.dumps([1, "BootNotification", KEYS.encode({"reason": "PowerUp", "chargingStation": about})]))
    ports = (status("Occupied"), status() | {"evseId": 2})
    say("1", batch(1, *(record("StatusNotification", port) for port in ports)))
    token: dict[str, Any] = {"idToken": {"idToken": "04A2B3C4", "type": "ISO14443"}, "evse": {"id": 1}}
    events = [event("Started", 0, 1000, **token), event("Updated", 1, 2500, **token)]
    say("0", batch(1, *(record("TransactionEvent", one) for one in events)))
    port = [1, 2, 16_000, 2500, 3_650, [16_000, 0, 0], [230_000, 0, 0]]
    cloud.receive(f"u/{name}/l", cbor2.dumps([90_500, START_MS, [port]]), START_MS + 590_000)


def test_the_view_shows_who_is_there_what_runs_and_what_was_said(cloud: Cloud) -> None:
    cloud.ledger.drivers.put([Driver("04A2B3C4")], START_MS)
    busy_station(cloud, "S-0001")
    shown = text(cloud)
    station, running = (next(line for line in shown.splitlines() if word in line) for word in (" duo 1.2 ", "04A2B3C4"))
    assert station.split() == ["S-0001", "on", "10", "s", "?", "10", "m", "duo", "1.2", "1", "busy", "2", "free"]
    assert running.split() == ["S-0001", "1", "04A2B3C4", "10", "m", "1500", "Wh", "3650", "W"]
    assert "1 of 1 stations online, 1 sessions, 1500 Wh" in shown and "nothing is wrong" in shown
    assert "TransactionEvent" in shown and "10 m" in shown
    asked = cloud.receive("u/S-0001/v", NO_LIST, START_MS)
    message = next(m for m in asked if m.topic == "d/S-0001/c" and opened(cloud, m)[3] == "SendLocalList")
    list(cloud.receive("u/S-0001/2", batch(1, accepted(opened(cloud, message)[1])), START_MS))
    cloud.receive("u/S-0001/w", cbor2.dumps([EPOCH, BOOT, 1]), START_MS)
    station = next(line for line in text(cloud).splitlines() if " duo 1.2 " in line)
    assert station.split()[:8] == ["S-0001", "off", "10", "m", "1", "10", "m", "duo"]


def test_the_view_shows_who_waits_and_which_list_a_station_has_confirmed_and_what_it_lacks(cloud: Cloud) -> None:
    assert "no list of drivers yet" in text(cloud)
    drivers = cloud.ledger.drivers
    drivers.put([Driver("04A2B3C4"), Driver("04A2B3C5")], START_MS)
    busy_station(cloud, "S-0001")
    _, message = cloud.receive("u/S-0001/v", NO_LIST, START_MS)
    list(cloud.receive("u/S-0001/2", batch(1, accepted(opened(cloud, message)[1])), START_MS + 60_000))
    drivers.request(Driver("04FF"), START_MS + 120_000)
    drivers.remove(["04A2B3C4"], START_MS + 300_000)
    assert "list 3: 1 drivers, 1 pending, 1 removed" in text(cloud)
    station = next(line for line in text(cloud).splitlines() if " duo 1.2 " in line)
    assert station.split()[4:9] == ["1", "9", "m", "8", "m"]                    # it lacks what was asked first
    generation, _ = drivers.version() or (0, 0)
    cloud.ledger.db.execute("UPDATE station SET listed = ?", (f"[{generation}, 4]",))
    assert "WRONG: list_newer_than_ours 1" in text(cloud)


def test_whatever_there_is_it_fits_eighty_by_twenty_four_and_what_is_wrong_is_seen(cloud: Cloud) -> None:
    assert len(text(cloud).splitlines()) <= 24
    for n in range(60):
        busy_station(cloud, f"STATION-WITH-A-VERY-LONG-NAME-{n:04d}")
    cloud.ledger.count("S-0001", "undecodable", START_MS)
    for width, height in ((80, 24), (132, 50)):
        lines = text(cloud, width=width, height=height).splitlines()
        assert len(lines) <= height and max(map(len, lines)) <= width
        assert "WRONG: undecodable 1" in lines[-1] and "station (+" in lines[2]
    (running,) = [line for line in lines if line.startswith("running (+")]
    assert running


def test_into_a_file_the_view_is_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch", "--db", tmp_path / "none.db") == 2
    Ledger(tmp_path / "cloud.db").close()
    assert run("watch", "--db", tmp_path / "cloud.db") == 0
    assert "nothing is wrong" in capsys.readouterr().out
