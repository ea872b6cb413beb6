"""A build into slot A, by the engine that will once write slot B; and a build of this checkout, by tools/flash.py."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.update import build
from agent.update.engine import ROOT_KEY, Engine
from agent.update.facts import DEVELOPMENT
from agent.update.keyring import DEV
from agent.update.refusal import Refused
from agent.update.rules import Station
from board.image.disk import ImageError, run
from tools.flashing.files import RING
from tools.flashing.keyfiles import load_public

FOLDER = "station-update"  # in /var/lib
PLATFORM, BOARD = "aarch64", "solo_virt"
STATION = Station(PLATFORM, BOARD, is_production=False, security_floor=0)


def put(root: Path, file: Path, root_pub: Path) -> None:
    """The build is in slot A, and is the default, as if a trial had found it healthy. One that a dev key has signed
    makes a station for development. ImageError."""
    root.mkdir()
    try:
        (root / ROOT_KEY).write_bytes(load_public(root_pub))
        with TemporaryDirectory() as nowhere, file.open("rb") as stream:  # no launcher has chosen anything yet
            engine = Engine(root, STATION, choice=Path(nowhere, "slot"))
            head = build.read_head(stream, engine.trust())
            places, began_b = build.pieces_of(head), len(head.raw)
            plan = engine.begin(build.slim(head, {(build.APP, PLATFORM), (build.CONTROLLER, BOARD)} & set(head.named)))
            for piece in plan.wanted:
                stream.seek(began_b + places[piece.digest][0])
                engine.put(piece.digest, stream.read(piece.stored_b))
            engine.finish()
            engine.activate()
            engine.confirm()
            if head.role == DEV:
                (root / DEVELOPMENT).touch()
    except (OSError, Refused) as error:
        raise ImageError(f"{file} cannot be put into slot A: {error}") from None


def tree(root: Path) -> Path:
    """What runs from the slot: Python's files and nothing else."""
    return root / "a" / "tree"


def development(out: Path, checkout: Path) -> tuple[Path, Path]:
    """A build of this checkout, and the root key that vouches for it. Keys are made once and kept. ImageError."""
    flash: list[str | Path] = [sys.executable, checkout / "tools" / "flash.py"]
    keys = out / "keys"
    ring, root_pub = keys / RING, keys / "root.pub.pem"
    if not ring.exists():
        run([*flash, "keys", "new", "--root", "--dir", keys])
        run([*flash, "keys", "new", "--role", "dev", "--alg", "eddsa", "--dir", keys])  # the same signature each time
        run([*flash, "keys", "ring", "--root", keys / "root.key.pem", "--dev", keys / "dev.pub.pem", "-o", ring])
    file = out / "station.build"
    of = ["--platform", PLATFORM, "--board", BOARD, "--with-changes"]
    run([*flash, "build", *of, "--key", keys / "dev.key.pem", "-o", file])
    return file, root_pub
