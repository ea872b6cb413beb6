"""`station-agent run` brings its report: a real process, mosquitto, the reference cloud, its receiving end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cli
from tests.process import STATION_ID, until
from tests.test_identity_run import Site
from tools import devcloud
from tools.cloud.receiving import Receiver


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.long
@pytest.mark.needs("mosquitto", "mosquitto")
def test_a_report_that_the_cloud_orders_arrives_and_replays_on_another_machine(site: Site) -> None:
    devcloud.ca_station(site.pki, STATION_ID)
    mine = f'cert = "pki/stations/{STATION_ID}.pem"\nkey = "pki/stations/{STATION_ID}.key"\n[operator]'
    site.config.write_text(site.config.read_text().replace("[operator]", mine))
    receiver = Receiver(site.folder / "in", site.pki / "broker.pem", site.pki / "broker.key")
    receiver.start()
    agent, cloud = site.agent(), site.cloud
    url = f"https://localhost:{receiver.port}/S-1.tar.gz"
    order = {"log": {"remoteLocation": url}, "logType": "DiagnosticsLog", "requestId": 5}
    until(agent.status)
    assert cloud.command("GetLog", order)["response"]["status"] == "Accepted"

    def statuses() -> list[tuple[str, int]]:
        records = cloud.ledger.records(STATION_ID, "LogStatusNotification")
        return [(record.payload["status"], record.payload["requestId"]) for _, record in records]

    cloud.until(lambda: ("Uploaded", 5) in statuses())
    receiver.stop()
    assert statuses() == [("Uploading", 5), ("Uploaded", 5)]
    assert cli.main(["replay", str(site.folder / "in" / "S-1.tar.gz")]) == 0
    agent.end()
    assert cli.main(["replay", str(site.folder / "state" / "events")]) == 0
