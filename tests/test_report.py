"""A station's report: ordered, made without secrets, uploaded over whatever breaks, each status told once and true."""

import json
import ssl
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import report, uploader
from agent.commands import logs
from agent.effects import Upload
from agent.eventlog.entries import Pseudonyms
from agent.eventlog.replay import replay
from agent.events import MessageTriggered, UploadTold
from agent.settings import Layer, merge
from agent.uplink.codec import Batch, WireRecord, encode_batch, encode_record
from agent.uploader import Broken, Ended, Sending, Uploader
from tests.play import ANN, Play
from tests.test_eventlog import KEY, STORY, play_into, recorder
from tests.weblab import Authority, authority
from tools import devcloud
from tools.cloud.cloud import Cloud
from tools.cloud.receiving import Receiver

URL = "https://reports.example/S-1.tar.gz"


class Sent(Play):
    """Keeps what was wished of the uploader."""

    def _perform(self, effects: tuple[Any, ...]) -> None:
        super()._perform(effects)
        found = [effect for effect in effects if isinstance(effect, Upload)]
        self.uploads: list[Upload] = [*getattr(self, "uploads", []), *found]


def order(play: Play, request_id: int = 1, url: str = URL, kind: str = "DiagnosticsLog", **more: Any) -> dict[str, Any]:
    return play.command("GetLog", log={"remoteLocation": url}, logType=kind, requestId=request_id, **more)


def statuses(play: Play) -> list[tuple[str, int | None]]:
    return [(p["status"], p.get("requestId")) for p in play.payloads("LogStatusNotification")]


# -- the order --------------------------------------------------------------------------------------------------------


def test_an_order_is_accepted_with_a_name_and_followed_to_its_end() -> None:
    play = Sent()
    said = order(play, 7, retries=2, customData={"vendorId": "station-agent", "budgetB": 5000})
    assert said["status"] == "Accepted"
    assert said["filename"].endswith(".tar.gz")
    wanted = play.uploads[-1]
    assert (wanted.url, wanted.retries, wanted.budget_b) == (URL, 2, 5000)
    for status in ("Uploading", "Uploading", "Uploaded"):
        play.on(UploadTold(wanted.order, status))
    assert statuses(play) == [("Uploading", 7), ("Uploaded", 7)]
    play.on(UploadTold(wanted.order, "UploadFailure"))  # nobody asks any more
    assert len(statuses(play)) == 2
    assert play.facts["log"] is None


def test_a_second_order_cancels_the_first_and_says_so() -> None:
    play = Sent()
    order(play, 1)
    first = play.uploads[-1]
    play.on(UploadTold(first.order, "Uploading"))
    assert order(play, 2, URL + "2")["status"] == "AcceptedCanceled"
    assert statuses(play) == [("Uploading", 1), ("AcceptedCanceled", 1)]
    play.on(UploadTold(first.order, "Uploaded"))
    assert len(statuses(play)) == 2
    play.on(UploadTold(play.uploads[-1].order, "PermissionDenied", "the server answers 403"))
    assert statuses(play)[-1] == ("PermissionDenied", 2)
    assert order(play, 3)["status"] == "Accepted"


def test_the_same_order_again_goes_on() -> None:
    play = Sent()
    order(play, 1)
    count = len(play.uploads)
    assert order(play, 1)["status"] == "Accepted"
    assert len(play.uploads) == count


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "http://h/x"}, "InvalidURL"),
        ({"url": "https://u:p@h/x"}, "InvalidURL"),
        ({"kind": "DataCollectorLog"}, "UnsupportedParam"),
        ({"retries": 101}, "ValueTooHigh"),
        ({"retryInterval": -1}, "ValueOutOfRange"),
        ({"customData": {"vendorId": "station-agent", "budgetB": 0}}, "InvalidValue"),
    ],
)
def test_an_order_that_cannot_be_carried_out_changes_nothing(change: dict[str, Any], reason: str) -> None:
    play = Sent()
    said = order(play, 1, **change)
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", reason)
    assert play.station.log is None


def test_an_order_survives_a_power_cut_and_is_told_under_its_number() -> None:
    play = Sent()
    order(play, 9)
    fact = play.facts["log"]
    again = logs.restored(fact)
    assert again == play.station.log
    assert logs.restored({**fact, "request_id": "x"}) is None
    assert logs.restored("nonsense") is None
    after = Sent(facts=play.facts)
    assert after.uploads[0].order == play.uploads[-1].order


def test_whoever_asks_is_told_what_is_under_way_or_idle() -> None:
    play = Sent()
    play.on(MessageTriggered("t1", "LogStatusNotification"))
    order(play, 4)
    play.on(MessageTriggered("t2", "LogStatusNotification"))
    assert statuses(play) == [("Idle", None), ("Uploading", 4)]


# -- the archive ------------------------------------------------------------------------------------------------------


def archive(folder: Path) -> Path:
    log = recorder(folder / "events")
    play_into(log, STORY)
    log.stop()
    play = Play()
    play.plug(1).tap(ANN)
    file = folder / "report-c1.tar.gz"
    merged = merge({Layer.BOARD: {}})
    status = {"ports": [{"card": ANN}], "password": "x"}
    report.written(file, play.station, play.now, merged, status, "all is well", folder / "events", Pseudonyms(KEY))
    return file


def test_a_report_holds_what_is_asked_for_and_replays(tmp_path: Path) -> None:
    file = archive(tmp_path)
    assert "decided as then" in list(replay(file))[-1]
    with tarfile.open(file) as opened:
        names = {Path(name).name for name in opened.getnames()}
        texts = {Path(m.name).name: opened.extractfile(m).read() for m in opened.getmembers()}  # type: ignore[union-attr]
    assert names >= {"about.json", "settings.json", "status.json", "health.json", "doctor.txt", "00000001.events"}
    assert json.loads(texts["settings.json"])["port_limit_ma"]["source"]
    for text in texts.values():
        assert ANN.encode() not in text
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_report_takes_the_newest_events_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        (tmp_path / f"{number:08}.events").write_bytes(bytes(100))
    monkeypatch.setattr(report, "EVENTS_MAX_B", 250)
    assert [name for name, _ in report.logged(tmp_path)] == ["events/00000005.events", "events/00000004.events"]


# -- the way ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("pki"))


def context(pki: Authority) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(pki.ca)
    return made


def sending(pki: Authority, file: Path, port: int, **more: Any) -> Sending:
    wanted = Upload("c1", f"https://127.0.0.1:{port}/S-1.tar.gz", **more)
    return Sending(wanted, file, context(pki), threading.Event(), file.stat().st_size)


class Cut(Sending):
    """The line breaks after so many bytes."""

    left_b = 100_000

    def _spend(self, size_b: int) -> None:
        super()._spend(size_b)
        self.left_b -= size_b
        if self.left_b < 0:
            raise ConnectionResetError("cut")


def test_an_upload_that_breaks_goes_on_where_it_was_and_arrives_whole(tmp_path: Path, pki: Authority) -> None:
    file = tmp_path / "report"
    file.write_bytes(bytes(range(256)) * 1200)  # 307 kB
    receiver = Receiver(tmp_path / "in", pki.server)
    receiver.start()
    spent = 0
    wanted = Upload("c1", f"https://127.0.0.1:{receiver.port}/S-1.tar.gz")
    for number in range(10):
        part = Cut(wanted, file, context(pki), threading.Event(), file.stat().st_size)
        try:
            part.attempt(is_first=not number)
        except Broken:
            pass
        except Ended as ended:
            assert ended.status == "Uploaded"
            break
        finally:
            spent += part.spent_b
    receiver.stop()
    assert (tmp_path / "in" / "S-1.tar.gz").read_bytes() == file.read_bytes()
    assert number >= 2
    assert spent < 307_200 * 2  # not the whole again and again; what was on its way at a cut goes twice


def test_a_budget_ends_an_upload_and_a_stranger_gets_nothing(tmp_path: Path, pki: Authority) -> None:
    file = tmp_path / "report"
    file.write_bytes(bytes(100_000))
    receiver = Receiver(tmp_path / "in", pki.server)
    receiver.start()
    with pytest.raises(Ended) as spent:
        sending(pki, file, receiver.port, budget_b=50_000).attempt(is_first=True)
    receiver.stop()
    assert spent.value.status == "UploadFailure"
    assert "budget" in spent.value.why
    stranger = Receiver(tmp_path / "in2", pki.stranger)
    stranger.start()
    with pytest.raises(Ended, match="not believed"):
        sending(pki, file, stranger.port).attempt(is_first=True)
    stranger.stop()
    assert not list((tmp_path / "in2").iterdir())


def test_the_uploader_tells_each_step_and_leaves_no_file(
    tmp_path: Path, pki: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "RETRY_INTERVAL_S", 0.01)
    receiver = Receiver(tmp_path / "in", pki.server)
    receiver.start()
    told, progress = list[UploadTold](), list[str]()
    done = threading.Event()

    def post(event: UploadTold) -> None:
        told.append(event)
        progress.append(sends.progress)
        if event.status != "Uploading":
            done.set()

    def gather(file: Path) -> None:
        assert not sends.progress
        file.write_bytes(b"report")

    sends = Uploader(tmp_path, gather, lambda: context(pki), post)
    sends.wish(Upload("c1", f"https://127.0.0.1:{receiver.port}/S-1.tar.gz"))
    assert done.wait(30)
    receiver.stop()
    assert [each.status for each in told] == ["Uploading", "Uploaded"] and progress == ["0 of 6 bytes sent", ""]
    assert (tmp_path / "in" / "S-1.tar.gz").read_bytes() == b"report"
    assert not list(tmp_path.glob("report-*"))
    done.clear()
    sends.wish(Upload("c2", f"https://127.0.0.1:{receiver.port}/S-1.tar.gz", retries=1))  # nobody is there any more
    assert done.wait(30)
    assert [each.status for each in told[2:]] == ["Uploading", "Uploading", "UploadFailure"]


def test_an_upload_says_how_far_it_is_each_five_percent_and_not_each_piece(
    tmp_path: Path, pki: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "PIECE_B", 100)
    receiver = Receiver(tmp_path / "in", pki.server)
    receiver.start()
    file, said = tmp_path / "report.tar.gz", list[int]()
    file.write_bytes(bytes(9_990))
    way = sending(pki, file, receiver.port)
    way.on_sent = said.append
    with pytest.raises(Ended):
        way.attempt(is_first=True)
    receiver.stop()
    assert said == list(range(5, 100, 5))


def test_a_cloud_that_hears_of_a_problem_orders_the_report_once() -> None:
    ledger = devcloud.Ledger(":memory:")
    cloud = Cloud(ledger, Ed25519PrivateKey.from_private_bytes(bytes(32)), None, "https://reports.example/in/")
    event = {"variable": {"name": "ProblemReported"}}
    for stream, payload in enumerate([{"eventData": [event]}, {"eventData": [{"variable": {"name": "Problem"}}]}, {}]):
        record = WireRecord(bytes(8), 5, None, 0, "NotifyEvent", payload)
        batch = encode_batch(Batch(b"e" * 8, 1, (encode_record(record),)))
        for _ in range(2):  # the second is a repetition
            cloud.receive(f"u/S-1/{stream}", batch, 1_790_000_000_000)
    orders = [json.loads(row[0]) for row in ledger.db.execute("SELECT payload FROM command WHERE action = 'GetLog'")]
    assert [order["log"]["remoteLocation"] for order in orders] == [
        "https://reports.example/in/S-1-1790000000000.tar.gz"
    ]
    ledger.close()
