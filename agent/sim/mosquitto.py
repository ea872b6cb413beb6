"""A real broker as a child process, for the demo and the tests: mosquitto on loopback, mutual TLS 1.3."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

CONFIG = """\
listener {port} {address}
cafile {cafile}
certfile {certfile}
keyfile {keyfile}
require_certificate true
use_identity_as_username true
tls_version tlsv1.3
allow_anonymous false
acl_file {folder}/acl
persistence true
persistence_location {folder}/
max_queued_messages 10000
message_size_limit 100000
log_dest file {folder}/mosquitto.log
log_type error
log_type warning
log_type notice
connection_messages true
sys_interval 0
"""

# A station speaks for itself only; the user name is the CN of its certificate.
ACL = """\
user {cloud}
topic read u/#
topic write d/#

pattern write u/%u/+
pattern read d/%u/+
"""

TRY_S = 0.05
PORTS_TRIED = 5


class BrokerError(Exception):
    """The broker does not start; the message says why."""


class Mosquitto:
    """One broker with its own folder: what it persists there survives stop() and start(), as does its port.

    `cafile` signs every client; `cloud` is the CN that may read and write for all stations.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cafile: Path,
        certfile: Path,
        keyfile: Path,
        port: int | None = None,
        cloud: str = "devcloud",
        address: str = "127.0.0.1",
    ) -> None:
        self.folder = folder.resolve()
        self.files = {"cafile": cafile.resolve(), "certfile": certfile.resolve(), "keyfile": keyfile.resolve()}
        self.cloud, self.address = cloud, address
        self._fixed = port is not None
        self.port = port if port is not None else free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 10.0) -> None:
        """Returns when it accepts connections. Raises BrokerError."""
        assert not self.running
        if (program := find_program()) is None:
            raise BrokerError("mosquitto is missing: apt-get install mosquitto")
        for _ in range(1 if self._fixed else PORTS_TRIED):
            config = self._write_files()
            silent = subprocess.DEVNULL
            command = [program, "-c", str(config)]
            self._process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent)
            if self._accepts(self._process, timeout_s):
                self._fixed = True                          # clients know it now; a restart must not move
                return
            self.kill()
            if not self._fixed:
                self.port = free_port()                     # somebody else was quicker to take it
        raise BrokerError(f"mosquitto does not start on port {self.port}:\n{self.log()[-500:]}")

    def stop(self, timeout_s: float = 10.0) -> None:
        """As the operator stops it: what is queued is saved."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """As a power cut stops it: what it had not saved is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """What it has logged since its folder was made."""
        path = self.folder / "mosquitto.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _write_files(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "mosquitto.conf"
        text = CONFIG.format(port=self.port, address=self.address, folder=self.folder, **self.files)
        if os.geteuid() == 0:
            text += "user root\n"                           # else it becomes `mosquitto`, who may not read our keys
        config.write_text(text)
        acl = self.folder / "acl"
        acl.write_text(ACL.format(cloud=self.cloud))
        acl.chmod(0o600)
        return config

    def _accepts(self, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        for _ in range(max(1, int(timeout_s / TRY_S))):
            try:
                process.wait(TRY_S)                         # the pause between two tries, and its early death
                return False
            except subprocess.TimeoutExpired:
                if connects(self.port) and process.poll() is None:
                    return True
        return False


def find_program() -> str | None:
    """Debian keeps sbin out of a user's PATH."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
