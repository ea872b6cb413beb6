"""A flash through Debian's own sshd, with the line in authorized_keys that docs/flashing.md writes: it gets through,
goes on after its ssh was killed, and its key can do nothing else."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from getpass import getuser
from pathlib import Path

import pytest

from agent.update.build import load_head
from agent.update.line import BODY_MAX, WINDOW
from agent.update.protocol import numbered
from agent.update.refusal import Refused
from tests.flashsite import WAIT_S, Site
from tests.flashstation import made
from tools.flashing import driver, lines, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address
from tools.flashing.steps import Flashed, Wish
from tools.flashing.talk import Steps, Talk

SSHD = "/usr/sbin/sshd"  # it starts itself anew, and wants its whole path
ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.long,
    pytest.mark.needs("/usr/sbin/sshd", "openssh-server"),
    pytest.mark.needs("ssh", "openssh-client"),
]


class Sshd:
    """On a port of its own, for one key, as the user who runs the tests."""

    def __init__(self, folder: Path, forced: str) -> None:
        self.folder, self.user = folder, getuser()
        for name in ("host", "flasher", "stranger"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        public = (folder / "flasher.pub").read_text()
        (folder / "authorized_keys").write_text(f'restrict,command="{forced}" {public}')
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder / 'host'}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nUsePAM no\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it locks itself in
        self._log = (folder / "log").open("wb")
        words = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        self._process = subprocess.Popen(words, stderr=self._log, stdin=subprocess.DEVNULL)
        for _ in range(200):
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), timeout=1)):
                return
            assert self._process.poll() is None, (folder / "log").read_text()
            threading.Event().wait(0.05)
        raise AssertionError("sshd does not listen")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._log.close()

    @property
    def address(self) -> Address:
        return Address("ssh", f"{self.user}@127.0.0.1", self.port)

    def options(self, key: str = "flasher") -> list[str]:
        """Of an ssh that looks into nobody's own settings."""
        pairs = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", f"UserKnownHostsFile={self.folder / 'known'}"]
        return ["-F", "none", "-i", str(self.folder / key), *(word for pair in pairs for word in ("-o", pair))]

    def ssh(self, *words: str, key: str = "flasher") -> subprocess.CompletedProcess[str]:
        """What somebody gets who has the key and types something else."""
        command = ["ssh", "-o", "BatchMode=yes", *self.options(key), "-p", str(self.port), *words]
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


@pytest.fixture
def sshd(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    with closing(Sshd(folder, forced(site))) as sshd:
        monkeypatch.setenv("STATION_SSH", shlex.join([*lines.SSH, *sshd.options()]))
        yield sshd


def forced(site: Site) -> str:
    """The page's own command, with the paths of this checkout and of this station."""
    page = (ROOT / "docs" / "flashing.md").read_text()
    found = re.search(r'^ +restrict,command="([^"]+)" ssh-ed25519', page, re.MULTILINE)
    assert found is not None
    here = {
        "/usr/bin/python3": sys.executable, "/usr/lib/station-agent/rescue": str(ROOT),
        "/var/lib/station-update": str(site.root), "/run/station-update/slot": str(site.choice),
    }  # fmt: skip
    command = found[1]
    for there, path in here.items():
        assert there in command
        command = command.replace(there, path)
    return f"{command} --socket {site.socket}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildFile]:
    path = made(tmp_path_factory.mktemp("builds"), files=60, size_b=20_000, platforms=("x86_64",))
    with closing(BuildFile(path)) as file:
        yield file


def flash(to: Address, file: BuildFile) -> Flashed:
    end = driver.converse(to, lambda talk: steps.flashed(talk, Wish(file, waits=False), lambda *_: None))
    assert isinstance(end, Flashed)
    return end


@pytest.mark.promise("S8")
def test_a_flash_through_sshd_goes_on_after_its_ssh_was_killed(site: Site, sshd: Sshd, file: BuildFile) -> None:
    sent_b: list[int] = []

    def half(talk: Talk) -> Steps:
        for _ in steps.flashed(talk, Wish(file, waits=False), lambda *_: None):
            if talk.sender and talk.sends == "pieces" and talk.sender.acked_b > 200_000 and not sent_b:
                sent_b.append(talk.sender.sent_b)
                os.kill(ssh_of(os.getpid()), signal.SIGKILL)
            yield

    with pytest.raises(Refused) as lost:
        driver.converse(sshd.address, half)
    assert lost.value.code == "link" and sent_b
    end = flash(sshd.address, file)
    whole_b = sum(piece.stored_b for piece in numbered(load_head(file.slim("x86_64", "duo_sim"), None)))
    assert end.result == "activated" and end.sent_b < whole_b
    assert sent_b[0] + end.sent_b <= whole_b + WINDOW * BODY_MAX


def ssh_of(parent: int) -> int:
    """The ssh that this process has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = path.read_text().partition(") ")
            if name.endswith("(ssh") and int(rest.split()[1]) == parent:
                return int(path.parent.name)
    raise AssertionError("no ssh")


def test_the_flashers_key_can_do_nothing_else(site: Site, sshd: Sshd, tmp_path: Path) -> None:
    """No command, no shell, no file, no port, no other key."""
    mark = tmp_path / "mark"
    for how, words in (((), [f"touch {mark}"]), (("-tt",), [f"touch {mark}"]), (("-s",), ["sftp"]), ((), [])):
        done = sshd.ssh(*how, f"{sshd.user}@127.0.0.1", *words)
        assert not mark.exists() and not done.stdout, done
    with closing(socket.create_server(("127.0.0.1", 0))) as target:
        target.settimeout(1.0)
        to = f"127.0.0.1:{target.getsockname()[1]}"
        assert "administratively prohibited" in sshd.ssh("-W", to, f"{sshd.user}@127.0.0.1").stderr
        with pytest.raises(TimeoutError):
            target.accept()
    failed = sshd.ssh("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", f"{sshd.user}@127.0.0.1")
    assert failed.returncode and "forwarding failed" in failed.stderr
    stranger = sshd.ssh(f"{sshd.user}@127.0.0.1", "true", key="stranger")
    assert stranger.returncode == 255 and "Permission denied" in stranger.stderr


def test_a_stranger_is_told_that_nobody_answers(sshd: Sshd, file: BuildFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATION_SSH", shlex.join([*lines.SSH, *sshd.options("stranger")]))
    with pytest.raises(Refused) as refused:
        flash(sshd.address, file)
    assert refused.value.code == "no-device" and "Permission denied" in refused.value.sentence
