"""What Linux tells about the machine."""

from pathlib import Path

from agent.board import load
from agent.machine import machine_of, neighbour

BOARD = load(Path(__file__).parent.parent / "board" / "duo_sim.toml")
ROUTES = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0
eth0 0001A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0
"""


def test_the_addresses_of_its_hardware_and_its_gateway(tmp_path: Path) -> None:
    for name, mac in {"eth0": "02:00:00:00:00:01", "wwan0": "00:00:00:00:00:00", "lo": "00:00:00:00:00:00"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(f"{mac}\n")
        if name != "lo":
            (tmp_path / name / "device").mkdir()
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    machine = machine_of(BOARD, tmp_path, routes)
    assert (machine.macs, machine.gateway) == (("02:00:00:00:00:01",), "192.168.1.1")
    assert machine.model and machine.firmware_version


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_bytes(b"x 00000000 zz 1\n\xff 00000000\n")
    machine = machine_of(BOARD, tmp_path / "nothing", routes)
    assert (machine.macs, machine.gateway, machine.imei) == ((), "", "")


def test_a_neighbour_that_did_not_answer_is_told_from_one_that_nobody_asked(tmp_path: Path) -> None:
    (tmp_path / "arp").write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "192.168.77.1     0x1         0x2         02:00:00:00:00:01     *        eth0\n"
        "192.168.77.9     0x1         0x0         00:00:00:00:00:00     *        eth0\n"
    )
    seen = [neighbour(address, tmp_path / "arp") for address in ("192.168.77.1", "192.168.77.9", "192.168.77.5")]
    assert seen == [True, False, None] and neighbour("192.168.77.1", tmp_path / "none") is None
