"""The station's image in QEMU: power, its plug, a root shell on its console, and the other ends of its serial lines."""

import re
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.loop import monotonic
from board.image import virt
from board.image.disk import DATA, fill
from tests.pki import Ca
from tests.process import until

HOST = "10.0.2.2"  # this machine, as QEMU's own network shows it to the station
PTY = re.compile(r"char device redirected to (/dev/pts/\d+) \(label (\w+)\)")
SHELL = "root shell of the station"  # board/image/root: station-console.service
BOOT_S, SAY_S = 600.0, 120.0
LOG_MAX = 400


class Station:
    """The disk outlives each power-on. `lines`: QEMU's words for the other ends, by name (board/image/virt.py)."""

    def __init__(self, made: Path, folder: Path, data: Path, lines: dict[str, str]) -> None:
        """`made`: what make image has left; `data`: /var/lib as this station has it from the factory."""
        self.folder, self.lines = folder, lines
        self.log: list[str] = []
        self.ptys: dict[str, str] = {}  # by name, of this power-on
        self._asked = 0
        self._answers: dict[int, list[str]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._listener = threading.Thread()
        self._powered_at = 0.0
        for each in ("vmlinuz", "initrd", "virt.dtb"):
            (folder / each).symlink_to(made / each)
        subprocess.run(["cp", "--sparse=always", made / "station.img", folder], check=True)
        fill(folder / "station.img", DATA, data)

    @property
    def up_s(self) -> float:
        return monotonic() - self._powered_at

    def power_on(self) -> None:
        assert self._process is None
        command = virt.command(self.folder, self.lines, kernel=virt.SHELL)
        self.ptys.clear()
        self.log.clear()
        self._powered_at = monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", bufsize=1,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()

    def pull_the_plug(self) -> None:
        """What the station had not written to its disk is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._listener.join()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe
                with suppress(BrokenPipeError):  # what it will not hear any more
                    pipe.close()
            self._process = None

    def line(self, name: str) -> str:
        """The device on this machine that leads to this serial line of the station."""
        until(lambda: name in self.ptys)
        return self.ptys[name]

    def shell(self, command: str, timeout_s: float = SAY_S) -> str:
        """What root's shell on the console answers."""
        assert self._process and self._process.stdin
        self._asked += 1
        number = self._asked
        self._answers[number] = []
        # A mark before and after; in two words here, so that an echo is no mark.
        self._process.stdin.write(f"echo BEG''IN {number}; {command}; echo EN''D {number}\n")
        self._process.stdin.flush()
        until(lambda: self._answers[number][-1:] == [f"END {number}"], timeout_s)
        return "\n".join(self._answers[number][:-1])

    def boot(self) -> float:
        """Power on, until the shell answers: how long that took."""
        self.power_on()
        try:  # nothing is typed before: QEMU's UART may be deaf for ever after what comes while the kernel sets it up
            until(lambda: any(SHELL in line for line in self.log), BOOT_S)
        except AssertionError:
            raise AssertionError("no shell\n" + "\n".join(self.log[-60:])) from None
        self.shell("stty -echo")
        return self.up_s

    def cpu_s(self, unit: str) -> float:
        """Of all its processes since systemd started it."""
        return int(self.shell(f"systemctl show -P CPUUsageNSec {unit}")) / 1e9

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        answering = 0
        for line in process.stdout:
            line = line.rstrip("\r\n")
            self.log.append(line)
            del self.log[:-LOG_MAX]
            if found := PTY.search(line):
                self.ptys[found[2]] = found[1]
            elif found := re.search(r"BEGIN (\d+)$", line):
                answering = int(found[1])
            elif answering:
                self._answers[answering].append(line)
                if line == f"END {answering}":
                    answering = 0


def certify_host(pki: Path) -> None:
    """The broker's certificate, by the names that cloud and station find it; the CA is that of devcloud.ca_init."""
    ca, key = Ca(pki), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address(HOST))]
    builder = (
        x509.CertificateBuilder(ca.cert.subject, name, key.public_key(), x509.random_serial_number(), start, end)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), False)
    )
    (pki / "broker.pem").write_bytes(builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    form = PrivateFormat.PKCS8
    (pki / "broker.key").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
