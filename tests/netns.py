"""Network namespaces of our own: a leaf, a gateway and the Internet as three machines that are cables apart.

They belong to a user namespace, so no root is needed, and nothing of this machine is touched: they end with the
processes that hold them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LONG

ROOT = Path(__file__).parent.parent
HOLD = ["cat"]  # until its input ends
SBIN = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


class Machine:
    """One namespace: what is run in it sees its interfaces, its rules, its /proc/sys/net."""

    def __init__(self, holder: "subprocess.Popen[bytes]") -> None:
        self.pid = holder.pid

    def command(self, *command: str) -> list[str]:
        return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.pid), *command]

    def run(self, *command: str, input_: str = "") -> str:
        done = subprocess.run(
            self.command(*command), input=input_, capture_output=True, text=True, check=False, timeout=30,
            env=os.environ | SBIN,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def shell(self, lines: str) -> str:
        return self.run("sh", "-ec", lines)

    def start(self, *command: str, **more: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self.command(*command), cwd=ROOT, env=os.environ | SBIN, **more)

    def python(self, code: str, *arguments: str) -> str:
        return self.run(sys.executable, "-c", code, *arguments)


def held(stack: ExitStack, prefix: Sequence[str], unshare: Sequence[str]) -> Machine:
    """A namespace, and who keeps it alive; it says a word once it is there."""
    said = [*prefix, "unshare", *unshare, "sh", "-c", "echo; exec cat"]
    holder = stack.enter_context(
        subprocess.Popen(said, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    )
    assert holder.stdin and holder.stdout
    stack.callback(holder.stdin.close)
    if not holder.stdout.readline():
        why = "this kernel lets nobody make namespaces of his own"
        pytest.fail(why) if LONG else pytest.skip(why)
    return Machine(holder)


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        first = held(stack, [], ["-Urn"])
        more = [held(stack, first.command(), ["-n"]) for _ in range(count - 1)]
        for machine in (first, *more):
            machine.run("ip", "link", "set", "lo", "up")
        yield [first, *more]


def cable(one: Machine, name: str, other: Machine, other_name: str) -> None:
    one.run("ip", "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", str(other.pid))
    for machine, end in ((one, name), (other, other_name)):
        machine.run("ip", "link", "set", end, "up")
