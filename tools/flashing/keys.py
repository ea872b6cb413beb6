"""flash.py keys: new keys, and the keyring that says whose builds count."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.update import cose, keyring
from agent.update.refusal import Refused
from tools.flashing import elsewhere, files, keyfiles
from tools.flashing.cli import Out

FOLDER = Path("keys")
PASSWORD_MIN = 8
ALGORITHM_OF = {cose.ES256: "ES256", cose.EDDSA: "EdDSA"}

HELP = """\
The root key signs the keyring and nothing else: keep it away from the network. The keyring lists the keys that sign
builds, each with its role: dev builds never run on a station in production. A station learns the root's public key when
it is provisioned, and each newer keyring from the build that brings it. A key that the newest keyring lacks is revoked.

  flash.py keys new --root
  flash.py keys new --role prod
  flash.py keys new --role dev
  flash.py keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --dev keys/dev.pub.pem"""


NEW = """\
Makes a key. NAME.key.pem is for its owner alone, PKCS 8, encrypted with --password (STATION_KEY_PASSWORD answers where
nobody can); NAME.pub.pem is for everybody. None is ever overwritten.

  flash.py keys new --root
  flash.py keys new --role prod --password
  flash.py keys new --role prod --name prod-2027"""
RING = """\
Signs the list of the keys that count, with the root key. A key that is not in the list is revoked at each station which
gets a build with this keyring, or a later one. Each new keyring has a higher version than the file that it replaces.

  flash.py keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --dev keys/dev.pub.pem"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "keys", help="make keys, and the keyring that the root key signs", description=HELP,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="keys", metavar="new | ring | show", required=True)

    new = commands.add_parser(
        "new", help="make a key: NAME.key.pem (keep it) and NAME.pub.pem (give it away)", description=NEW
    )
    which = new.add_mutually_exclusive_group(required=True)
    which.add_argument("--root", action="store_true", help="the key that signs keyrings")
    which.add_argument("--role", choices=keyring.ROLES, help="a key that signs builds")
    new.add_argument("--name", help="of the files; default: root, prod or dev")
    new.add_argument("--dir", type=Path, default=FOLDER, metavar="DIR", help=f"default: {FOLDER}")
    new.add_argument("--alg", choices=keyfiles.ALGORITHMS, default="es256", help="default: es256, as most hardware has")
    new.add_argument("--password", action="store_true", help="ask for one, and encrypt the key with it")

    ring = commands.add_parser(
        "ring", help="sign a keyring; its version is one more than that of the file it replaces", description=RING
    )
    ring.add_argument("--prod", type=Path, action="append", default=[], metavar="PUB", help="a key for production")
    ring.add_argument("--dev", type=Path, action="append", default=[], metavar="PUB", help="a key for development")
    ring.add_argument("--version", type=int, metavar="N", help="default: one more than before")
    ring.add_argument("-o", "--output", type=Path, default=FOLDER / files.RING, metavar="FILE",
                      help=f"default: {FOLDER / files.RING}")  # fmt: skip
    elsewhere.add(ring, "--root", "the root's private key")

    show = commands.add_parser(
        "show", help="say what is in keys and keyrings", description="Says what is in keys and keyrings; verifies none."
    )
    show.add_argument("file", type=Path, nargs="+")


def run(args: argparse.Namespace, out: Out) -> int:
    commands: dict[str, Callable[[argparse.Namespace, Out], None]] = {"new": new, "ring": ring, "show": show}
    commands[args.keys](args, out)
    return 0


def new(args: argparse.Namespace, out: Out) -> None:
    name = args.name or ("root" if args.root else args.role)
    if Path(name).name != name:
        raise Refused("usage", f"{name} is no name: type one without folders, and the folder with --dir")
    private, public = (args.dir / f"{name}.{kind}.pem" for kind in ("key", "pub"))
    signer = keyfiles.new(keyfiles.ALGORITHMS[args.alg])
    keyfiles.save(signer, private, public, new_password() if args.password else "")
    out.say(f"{private}: keep it secret\n{public}: {describe(signer.public)}")
    out.event("key", private=private, public=public, kid=signer.kid, alg=ALGORITHM_OF[signer.alg])


def new_password() -> str:
    password = files.ask_password("new password: ")
    if len(password) < PASSWORD_MIN:
        raise Refused("usage", f"a password has at least {PASSWORD_MIN} characters: type a longer one")
    if files.ask_password("again: ") != password:
        raise Refused("usage", "the two passwords differ: type the command again")
    return password


def ring(args: argparse.Namespace, out: Out) -> None:
    rows = [(role, keyfiles.load_public(path)) for role in keyring.ROLES for path in getattr(args, role)]
    if not rows:
        raise Refused("usage", "a keyring without keys would lock all stations: type --prod or --dev with a .pub.pem")
    if len({public for _, public in rows}) < len(rows):
        raise Refused("usage", "one key is named twice: give it one role")
    version = args.version or version_of(args.output) + 1
    if not 1 <= version <= keyring.VERSION_MAX:
        raise Refused("usage", f"a keyring's version is a number from 1 to {keyring.VERSION_MAX}: leave --version out")
    payload = keyring.payload(version, [(role, keyfiles.alg_of(public), public) for role, public in rows])
    signed = elsewhere.signed(args, args.root, lambda alg, kid: keyring.to_be_signed(payload, alg, kid), out)
    if signed is None:
        return
    data = keyring.attach(payload, *signed)
    files.write(args.output, data)
    out.say(f"{args.output}: version {version}, {len(rows)} keys")
    out.event("keyring", path=args.output, version=version, keys=len(rows))


def version_of(path: Path) -> int:
    """0 where there is no keyring yet."""
    return keyring.load(files.read(path, keyring.KEYRING_MAX_B), None).version if path.exists() else 0


def show(args: argparse.Namespace, out: Out) -> None:
    for path in args.file:
        data = files.read(path, keyring.KEYRING_MAX_B)
        if data.startswith(cose.TAG):
            found = keyring.load(data, None)
            out.say(f"{path}: keyring {found.version}, not verified here")
            for key in found.keys:
                out.say(f"  {key.role:5}{describe(key.public)}")
            keys = [{"role": key.role, "kid": key.kid, "alg": ALGORITHM_OF[key.alg]} for key in found.keys]
            out.event("keyring", path=path, version=found.version, keys=keys)
        else:
            is_private = b"PRIVATE KEY" in data
            public = keyfiles.load(path, files.ask_password).public if is_private else keyfiles.load_public(path)
            out.say(f"{path}: {describe(public)}{', with its private half' if is_private else ''}")
            out.event("key", path=path, kid=cose.kid_of(public), alg=ALGORITHM_OF[keyfiles.alg_of(public)])


def describe(public: bytes) -> str:
    return f"{ALGORITHM_OF[keyfiles.alg_of(public)]}, key id {cose.kid_of(public).hex()}"
