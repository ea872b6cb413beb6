"""flash.py provision: makes a bare station one of yours."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.update import cose, line
from agent.update import provision as device
from agent.update.provision import Wanted
from agent.update.refusal import Refused
from tools.flashing import files, keyfiles, steps, target
from tools.flashing.cli import Out
from tools.flashing.talk import Steps, Talk

FILE_MAX_B = 32_768
HELP = f"""\
Gives a station its serial number, its broker, and whom it believes: the CA of broker and stations, the operator's keys
(commands, lists), the root key (builds). The station makes its own key, which never leaves it; its request comes back
here, is signed by your CA, and the certificate goes in.

The CA is either a folder that devcloud ca init has made (--pki), or elsewhere: --csr FILE writes the request and ends,
and the same command with --certificate FILE installs what the CA has answered.

A bare station takes its first provisioning from whoever is there. After that its serial number and its root key stay;
anything else is changed only by who has a key that builds are signed with (--key). The same command again changes
nothing, or, with --renew, gives it a new key and certificate. Records, lists and settings stay in every case.

{target.WHERE}"""

EXAMPLES = """\
examples:
  flash.py provision --serial SA-0001 --broker broker.example.net:8883 --pki pki --root keys/root.pub.pem
  flash.py provision --serial SA-0001 --broker broker.example.net:8883 --ca ca.pem --operator ops=operator.pub \\
      --root keys/root.pub.pem --csr SA-0001.csr"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "provision", help="give a bare station its identity", description=HELP, epilog=EXAMPLES,
    )  # fmt: skip
    option = parser.add_argument
    option("--broker", required=True, metavar="HOST:PORT", help="where the station reports to")
    option("--root", required=True, type=Path, metavar="PUB", help="the public key that keyrings are signed with")
    option("--pki", type=Path, metavar="FOLDER", help="a CA of devcloud's: signs, and gives --ca and --operator")
    option("--ca", type=Path, metavar="PEM", help="the CA of broker and stations; default: that of --pki")
    option("--operator", action="append", default=[], metavar="ID=PUB", help="a key that commands are signed with")
    option("--enrol", default="", metavar="URL", help="an EST server, for a station that slept past its certificate")
    option("--development", action="store_true", help="the station takes dev builds, until it is provisioned without")
    option("--csr", type=Path, metavar="FILE", help="write the station's request into it and end")
    option("--certificate", type=Path, metavar="FILE", help="install this one")
    option("--key", type=Path, metavar="FILE", help="a prod key: signs a change of a station that is provisioned")
    option("--renew", action="store_true", help="a new key and certificate, though nothing else is new")
    target.add(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    if not args.serial:
        raise Refused("usage", "a station is given its serial number: type --serial SA-0001")
    if sum(each is not None for each in (args.pki, args.csr, args.certificate)) != 1:
        raise Refused("usage", "name one of --pki, --csr and --certificate: who signs the certificate, and where it is")
    wanted = wish(args)
    sign = signer(args)
    to, made = target.one(args, out, lambda talk, tell: provisioned(talk, wanted, args, sign, tell))
    if made is None:
        out.say(f"{to}: its request is in {args.csr}; type the same with --certificate instead, once it is signed")
    return 0


def wish(args: argparse.Namespace) -> Wanted:
    """What was typed, checked as the station will. Refused."""
    host, _, port = args.broker.rpartition(":")
    if args.pki and not args.pki.is_dir():
        raise Refused("usage", f"{args.pki} is no folder with a CA: type tools/devcloud.py ca init {args.pki}")
    ca = args.ca or (args.pki / "ca.pem" if args.pki else None)
    if ca is None:
        raise Refused("usage", "whom are broker and stations signed by? type --ca ca.pem")
    named = args.operator or ([f"operator={args.pki / 'operator.pub'}"] if args.pki else [])
    operator = {}
    for each in named:
        kid, _, file = each.partition("=")
        operator[kid] = files.read(Path(file or kid), FILE_MAX_B)
    return device.read(
        {
            "serial": args.serial, "host": host, "port": int(port) if port.isdigit() else 0,
            "ca": files.read(ca, FILE_MAX_B), "enrol": args.enrol, "operator": operator,
            "root": keyfiles.load_public(args.root), "is_production": not args.development,
        }
    )  # fmt: skip


def signer(args: argparse.Namespace) -> Callable[[bytes], bytes] | None:
    """Signs for a station that is provisioned; asks for the key's password now, not in the middle."""
    if args.key is None:
        return None
    key = keyfiles.load(args.key, files.ask_password)

    def sign(message: bytes) -> bytes:
        protected = cose.header(key.alg, key.kid)
        return cose.dump(protected, None, key.sign(cose.to_be_signed(protected, message)))

    return sign


def provisioned(
    talk: Talk, wanted: Wanted, args: argparse.Namespace, sign: Callable[[bytes], bytes] | None, tell: steps.Tell
) -> Steps:
    """What the station says of its certificate; None where only its request was wanted. Refused."""
    identity = yield from steps.identified(talk, tell)
    if identity.get("serial") not in ("", device.NEVER, wanted.serial):
        who = identity.get("serial")
        raise Refused("wrong-device", f"this is {who}, and stays it with its records: choose another --port")
    answer = yield from _asked(talk, device.document(wanted, step="request"))
    csr, challenge = answer.get("csr"), answer.get("challenge")
    if not isinstance(csr, bytes) or not isinstance(challenge, bytes):
        raise Refused("link", "the device's answer was not understood: use a newer tool")
    tell("stage", {"stage": "request"})
    if answer.get("is_same") is True and not args.renew and not args.certificate:
        tell("provisioned", {"serial": wanted.serial, "certificate": "", "changed": False})
        yield from steps.bye(talk)
        return {}
    if args.csr:
        save(args.csr, csr)
        yield from steps.bye(talk)
        return None
    chain = files.read(args.certificate, FILE_MAX_B) if args.certificate else issued(args.pki, csr)
    more: dict[str, Any] = {"chain": chain}
    if answer.get("needs_signature") is True:
        if sign is None:
            raise Refused("key", "the station is provisioned already: sign the change, type --key prod.key.pem")
        more["signature"] = sign(device.to_be_signed(challenge, wanted))
    done = yield from _asked(talk, device.document(wanted, step="install", **more))
    tell("stage", {"stage": "certified"})
    name = str(done.get("certificate", ""))
    tell("provisioned", {"serial": wanted.serial, "certificate": name, "changed": True})
    yield from steps.bye(talk)
    return done


def _asked(talk: Talk, document: bytes) -> Steps:
    from hashlib import sha256

    yield from talk.send_bytes("document", document)
    answer: Mapping[str, Any] = yield from talk.ask(line.PROVISION, digest=sha256(document).digest())
    return answer


def issued(pki: Path, csr: bytes) -> bytes:
    """By a CA of devcloud's."""
    from tempfile import NamedTemporaryFile

    from tools.cloud.errors import OperatorError
    from tools.cloud.pki import ca_sign

    with NamedTemporaryFile() as file:
        file.write(csr)
        file.flush()
        try:
            return ca_sign(pki, Path(file.name))
        except OperatorError as error:
            raise Refused("usage", str(error)) from None


def save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Refused("usage", f"{path} cannot be written ({error.strerror}): name another file") from None
