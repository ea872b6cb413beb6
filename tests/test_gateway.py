"""A gateway forwards for its leaves: what the kernel lets through, what it counts, and what is left afterwards.

The rules are tried in the kernel itself, between machines made of network namespaces.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from agent.gateway import leaves, rules
from agent.gateway.leaves import FILE_MAX, Leaf, Told, Traffic, added, counted, hostnames, listed, names_of, read, write
from agent.gateway.service import NftError, Service, main
from agent.settings import ConfigError, Gateway, read_config
from tests.netns import Machine, cable, machines
from tests.process import until

GATEWAY = Gateway("lan0", "192.168.77.0/24", names={"SA-0002": "192.168.77.2"})
nftables = pytest.mark.needs("nft", "nftables")

# -- the config file ---------------------------------------------------------------------------------------------------

TABLE = '[gateway]\nleaves_on = "lan0"\nnetwork = "192.168.77.0/24"\n'


def test_a_gateway_needs_to_be_told_where_its_leaves_are_and_no_more() -> None:
    gateway = read_config(TABLE, "/etc/c.toml").gateway
    assert gateway == Gateway("lan0", "192.168.77.0/24") and gateway.uplinks == ("ppp*", "wwan*")
    config = read_config('[modem]\ngateway = "SA-0001"\n', "/etc/c.toml")
    assert config.modem and config.modem.gateway == "SA-0001"


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('uplinks = ["lan*"]', "name the modem's interface"),
        ('uplinks = ["a b"]', "like"),
        ("uplinks = []", "one to eight"),
        ("tcp = [0]", "1 to 65535"),
        ("leaf = 3", "did you mean leases?"),
        ('[gateway.names]\nSA-2 = "10.0.0.1"', "type one of them"),
        ('[gateway.names]\nSA-2 = "x"', "type one of them"),
        ('[modem]\ngateway = "SA-1"', "remove"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_type(line: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint.replace("?", r"\?")):
        read_config(TABLE + line, "/etc/c.toml")


@pytest.mark.parametrize("network", ["1.2.3.0/24", "192.168.77.1/24", "10.0.0.0/8", "192.168.77.0/31", "999.1.1.0/24"])
def test_leaves_live_in_a_private_network_of_a_reasonable_size(network: str) -> None:
    with pytest.raises(ConfigError, match="network"):
        read_config(TABLE.replace("192.168.77.0/24", network), "/etc/c.toml")


# -- the rules ---------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,13}", fullmatch=True)
GATEWAYS = st.builds(
    Gateway,
    leaves_on=st.just("lan0"),
    network=st.sampled_from(["192.168.77.0/24", "10.1.0.0/16", "172.16.5.4/30"]),
    uplinks=st.lists(
        st.tuples(NAMES, st.sampled_from(["", "*"])).map("".join).filter(lambda name: not "lan0".startswith(name[:-1])),
        min_size=1, max_size=8,
    ).map(tuple),
    tcp=st.lists(st.integers(1, 65_535), max_size=16).map(tuple),
    udp=st.lists(st.integers(1, 65_535), max_size=16).map(tuple),
)  # fmt: skip


@nftables
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GATEWAYS)
def test_nft_takes_the_rules_of_every_gateway(gateway: Gateway) -> None:
    command = ["unshare", "-Urn", "nft", "-c", "-f", "-"]
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        command, input=rules.script(gateway), capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, ""), rules.script(gateway)


@settings(max_examples=30)
@given(st.lists(st.tuples(NAMES, st.sampled_from(["", "*"])).map("".join), max_size=8), NAMES)
def test_interfaces_that_overlap_are_named_once_and_match_the_same(patterns: list[str], name: str) -> None:
    def is_one(of: list[str]) -> bool:
        return any(name == each or (each[-1] == "*" and name.startswith(each[:-1])) for each in of)

    kept = rules.covering(patterns)
    assert is_one(kept) is is_one(patterns)
    assert not any(a != b and b[-1] == "*" and a.rstrip("*").startswith(b[:-1]) for a in kept for b in kept)


# -- the counts --------------------------------------------------------------------------------------------------------

COUNTS = st.builds(Traffic, *[st.integers(0, 1 << 60)] * 4)


@settings(max_examples=30)
@given(COUNTS, COUNTS, COUNTS)
def test_totals_only_grow_whatever_becomes_of_the_counters(total: Traffic, before: Traffic, now: Traffic) -> None:
    after = added(total, before, now)
    for name in Traffic.__struct_fields__:
        assert getattr(after, name) >= getattr(total, name) + min(getattr(now, name), 0)
        if getattr(now, name) >= getattr(before, name):
            assert getattr(after, name) - getattr(total, name) == getattr(now, name) - getattr(before, name)


def test_a_table_made_anew_loses_nothing_that_was_counted() -> None:
    told = counted(Told("a"), {"192.168.77.2": Traffic(1, 100, 1, 900)}, {})
    told = structs.replace(told, seen={})
    told = counted(told, {"192.168.77.2": Traffic(1, 120, 1, 950)}, {"192.168.77.2": "SA-0002"})
    assert told.leaves == (Leaf("192.168.77.2", "SA-0002", Traffic(2, 220, 2, 1850)),)
    assert counted(told, told.seen, {"192.168.77.2": "SA-0002"}) == told


@pytest.mark.promise("S10")
def test_of_too_many_leaves_the_one_that_was_silent_longest_is_forgotten() -> None:
    told, now = Told(), dict[str, Traffic]()
    for number in range(leaves.TOTALS_MAX + 5):
        now = dict([*now.items(), (f"10.0.1.{number}", Traffic(1, number + 1))][-rules.LEAVES_MAX :])  # the kernel's
        told = counted(told, now, {})
    assert len(told.leaves) == leaves.TOTALS_MAX
    assert told.leaves[0].address == "10.0.1.5"


@settings(max_examples=30)
@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(st.sampled_from(["nftables", "set", "name", "elem", "counter", "val"]), inner)
).map(json.dumps))  # fmt: skip
def test_what_is_no_list_of_nfts_is_said_to_be_none(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(listed(text), dict)


@settings(max_examples=30)
@given(st.binary(max_size=100))
def test_a_file_of_somebody_else_is_not_believed(data: bytes) -> None:
    told = read(data)
    assert told is None or read(write(told)) == told


def test_a_leaf_is_called_by_the_config_file_else_by_its_lease() -> None:
    lines = [
        "1790000000 02:00:00:00:00:02 192.168.77.2 impostor *",
        "1790000000 02:00:00:00:00:03 192.168.77.3 SA-0003 01:02",
        "1790000000 02:00:00:00:00:04 192.168.77.4 * *",
        "1790000000 02:00:00:00:00:05 nonsense SA-0005 *",
        "1790000000 02:00:00:00:00:06 192.168.77.6 <script> *",
        "duid 00:01",
    ]
    assert names_of(GATEWAY, "\n".join(lines)) == {"192.168.77.2": "SA-0002", "192.168.77.3": "SA-0003"}
    assert not list(hostnames(["", "a b"]))


# -- the service, without a kernel -------------------------------------------------------------------------------------


class Kernel:
    """nft(8) and what it changes."""

    def __init__(self) -> None:
        self.table: str | None = None
        self.elements: dict[str, int] = {}
        self.problem = ""

    def nft(self, arguments: object, input_: str) -> str:
        if self.problem:
            raise NftError(self.problem)
        if input_ == rules.REMOVED:
            self.table = None
        elif input_:
            self.table, self.elements = input_, {}
        elif self.table is None:
            raise NftError("nft: Error: No such file or directory")
        found = [
            {"elem": {"val": address, "counter": {"packets": 1, "bytes": size_b}}}
            for address, size_b in self.elements.items()
        ]
        return json.dumps({"nftables": [{"set": {"name": "sent", "elem": found}}]})


@dataclass
class Bench:
    kernel: Kernel
    told: Path
    forward: Path

    def service(self, gateway: Gateway = GATEWAY) -> Service:
        return Service(gateway, self.told, self.kernel.nft, self.forward)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "ip_forward").write_text("0\n")
    return Bench(Kernel(), tmp_path / "told.json", tmp_path / "ip_forward")


def test_after_a_kill_the_next_run_goes_on_counting_and_still_knows_what_to_put_back(bench: Bench) -> None:
    first = bench.service()
    first.look()
    bench.kernel.elements["192.168.77.2"] = 500
    first.look()
    bench.kernel.elements["192.168.77.2"] = 800  # and it is killed
    again = bench.service()
    again.look()
    assert again.told.since == first.told.since
    assert [leaf.traffic.sent_b for leaf in again.told.leaves] == [800]
    assert bench.forward.read_text() == "1"
    again.end()
    assert bench.forward.read_text() == "0" and bench.kernel.table is None and not bench.told.exists()


def test_what_others_have_set_is_left_as_it_was(bench: Bench) -> None:
    bench.forward.write_text("1\n")
    service = bench.service()
    service.look()
    service.end()
    assert bench.forward.read_text() == "1\n"


def test_it_never_forwards_without_its_rules(bench: Bench) -> None:
    bench.kernel.problem = "nft: Operation not permitted"
    service = bench.service()
    service.look()
    assert bench.forward.read_text() == "0\n" and "not permitted" in service.told.problem
    bench.kernel.problem = ""
    service.look()
    assert bench.forward.read_text() == "1" and not service.told.problem and bench.kernel.table


def test_other_rules_replace_the_old_ones_and_keep_the_counts(bench: Bench) -> None:
    bench.service().look()
    bench.kernel.elements["192.168.77.2"] = 500
    other = bench.service(structs.replace(GATEWAY, tcp=(443,)))
    other.look()
    assert bench.kernel.table and "8883" not in bench.kernel.table
    bench.kernel.elements["192.168.77.2"] = 700  # of the new table
    other.look()
    assert [leaf.traffic.sent_b for leaf in other.told.leaves] == [1_200]


def test_rules_that_somebody_has_removed_are_applied_again(bench: Bench) -> None:
    service = bench.service()
    service.look()
    bench.kernel.table = None
    bench.forward.write_text("0")
    service.look()
    assert bench.kernel.table and bench.forward.read_text() == "1"


def test_a_station_that_is_no_gateway_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("")
    assert main(["--config", str(tmp_path / "c.toml"), "--told", str(tmp_path / "t")]) == 0
    assert "forwards for nobody" in capsys.readouterr().out
    assert main(["--config", str(tmp_path / "none.toml")]) == 2


def test_a_huge_file_of_leases_is_not_read_to_its_end(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("x " * FILE_MAX)
    service = bench.service(structs.replace(GATEWAY, leases=str(tmp_path / "leases")))
    service.look()
    assert not service.told.problem


# -- in the kernel -----------------------------------------------------------------------------------------------------

ECHO = """
import socket, ssl, sys, threading
def serve(port, context):
    listener = socket.create_server(("", port))
    while True:
        talk, _ = listener.accept()
        threading.Thread(target=echo, args=(talk, context), daemon=True).start()
def echo(talk, context):
    try:
        with (context.wrap_socket(talk, server_side=True) if context else talk) as talk:
            while data := talk.recv(65536):
                talk.sendall(data)
    except OSError:
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
for port in (8883, 22, 80):
    threading.Thread(target=serve, args=(port, context if port == 8883 else None), daemon=True).start()
print(flush=True)
sys.stdin.read()
"""
TALK = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
with context.wrap_socket(socket.create_connection(("198.51.100.1", 8883), 5), server_hostname="echo") as talk:
    talk.sendall(b"x" * int(sys.argv[2]))
    got = 0
    while got < int(sys.argv[2]):
        got += len(talk.recv(65536))
    print(got, talk.version())
"""
LISTEN = """
import socket, sys
with socket.create_server(("", 22)):
    print(flush=True)
    sys.stdin.read()
"""
REACHED = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), (sys.argv[4], 0)).close()
    print("yes")
except OSError as error:
    print("no", error)
"""


@dataclass
class Site:
    """A leaf at 192.168.77.2, its gateway with a modem's interface `ppp0`, and an echo in the Internet behind it."""

    gateway: Machine
    leaf: Machine
    internet: Machine
    folder: Path
    config: Path
    told: Path

    def begin(self) -> "subprocess.Popen[bytes]":
        command = ["-m", "agent.gateway.service", "--config", str(self.config), "--told", str(self.told)]
        run = self.gateway.start(sys.executable, *command, "--every", "0.1")
        until(lambda: self.heard() and self.forwards() == "1")
        return run

    def heard(self) -> Told | None:
        return read(self.told.read_bytes()) if self.told.exists() else None

    def forwards(self) -> str:
        return self.gateway.run("cat", "/proc/sys/net/ipv4/ip_forward").strip()

    def tables(self) -> str:
        return self.gateway.run("nft", "list", "tables")

    def talk(self, size_b: int) -> list[str]:
        return self.leaf.python(TALK, str(self.folder / "echo.pem"), str(size_b)).split()

    def reaches(self, machine: Machine, address: str, port: int, wait_s: float = 0.3, source: str = "") -> bool:
        return machine.python(REACHED, address, str(port), str(wait_s), source).startswith("yes")

    def modem(self, name: str) -> None:
        """The modem's interface is there, under this name, and leads out."""
        cable(self.gateway, name, self.internet, "modem")
        self.gateway.shell(f"ip addr add 203.0.113.9/24 dev {name}; ip route replace default via 203.0.113.1")
        self.internet.shell("ip addr replace 203.0.113.1/24 dev modem")

    def bytes_of(self, address: str = "192.168.77.2") -> int:
        told = self.heard()
        return next((leaf.traffic.all_b for leaf in told.leaves if leaf.address == address), 0) if told else 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
         "echo.key", "-out", "echo.crt", "-subj", "/CN=echo", "-addext", "subjectAltName=DNS:echo", "-days", "2"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "echo.pem").write_bytes((tmp_path / "echo.crt").read_bytes() + (tmp_path / "echo.key").read_bytes())
    (tmp_path / "config.toml").write_text(TABLE + '[gateway.names]\nSA-0002 = "192.168.77.2"\n')
    with machines(3) as (gateway, leaf, internet):
        site = Site(gateway, leaf, internet, tmp_path, tmp_path / "config.toml", tmp_path / "told.json")
        cable(gateway, "lan0", leaf, "eth0")
        gateway.run("ip", "addr", "add", "192.168.77.1/24", "dev", "lan0")
        leaf.shell("ip addr add 192.168.77.2/24 dev eth0; ip route add default via 192.168.77.1")
        internet.run("ip", "addr", "add", "198.51.100.1/32", "dev", "lo")
        site.modem("ppp0")
        pem = str(tmp_path / "echo.pem")
        echo = internet.start(sys.executable, "-c", ECHO, pem, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with echo:
            assert echo.stdin and echo.stdout and echo.stdout.readline()
            yield site
            echo.stdin.close()


def ended(run: "subprocess.Popen[bytes]", how: int = signal.SIGTERM) -> int:
    """nsenter replaces itself: the process is the service."""
    run.send_signal(how)
    return run.wait(20)


@nftables
def test_a_leaf_reaches_its_broker_through_the_gateway_is_counted_and_nothing_is_left(site: Site) -> None:
    assert not site.reaches(site.leaf, "198.51.100.1", 8883)
    run = site.begin()
    try:
        assert site.talk(100_000) == ["100000", "TLSv1.3"], "end to end: the certificate is the echo's own"
        until(lambda: site.bytes_of() > 200_000)
        told = site.heard()
        assert told and [leaf.name for leaf in told.leaves] == ["SA-0002"]
        assert site.bytes_of() < 250_000
        assert not site.reaches(site.leaf, "198.51.100.1", 22), "only what a station needs"
        # The way back is known, and yet nobody gets in.
        site.internet.run("ip", "route", "add", "192.168.77.0/24", "via", "203.0.113.9")
        with site.leaf.start(sys.executable, "-c", LISTEN, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
            assert listener.stdin and listener.stdout and listener.stdout.readline()
            assert site.reaches(site.gateway, "192.168.77.2", 22)
            assert not site.reaches(site.internet, "192.168.77.2", 22)
            listener.stdin.close()
        # The modem is plugged out and in, and has another name: nobody has to say so.
        site.gateway.run("ip", "link", "del", "ppp0")
        site.modem("ppp1")
        assert site.talk(1_000) == ["1000", "TLSv1.3"]
    finally:
        status = ended(run)
    assert status == 0
    assert (site.tables(), site.forwards(), site.told.exists()) == ("", "0", False)


@nftables
@pytest.mark.long
def test_after_a_kill_leaves_go_on_and_the_next_run_counts_on_and_cleans_up(site: Site) -> None:
    run = site.begin()
    site.talk(10_000)
    until(lambda: site.bytes_of() > 20_000)
    ended(run, signal.SIGKILL)
    before_b = site.bytes_of()
    assert site.talk(10_000)[0] == "10000", "the rules are the kernel's"
    run = site.begin()
    until(lambda: site.bytes_of() > before_b + 20_000)
    assert ended(run) == 0
    assert (site.tables(), site.forwards()) == ("", "0")


@nftables
@pytest.mark.long
def test_more_leaves_than_there_is_room_for_are_not_let_through_and_count_for_nobody(site: Site) -> None:
    run = site.begin()
    try:
        most = rules.LEAVES_MAX
        addresses = [f"192.168.77.{number}" for number in range(10, 10 + most + 3)]
        site.leaf.shell("\n".join(f"ip addr add {each}/24 dev eth0" for each in addresses))
        reached = [site.reaches(site.leaf, "198.51.100.1", 8883, 1.0, each) for each in addresses]
        assert reached == [True] * most + [False] * 3
        assert not site.reaches(site.leaf, "198.51.100.1", 8883, 0.3, "192.168.77.2")
        told = site.heard()
        assert told and len(told.leaves) <= most
    finally:
        ended(run)
