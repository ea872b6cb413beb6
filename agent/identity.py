"""The station's keys and certificates: the folder that holds them, and the hands of agent/renewal.py.

<state>/identity, 0700, each file 0600 and whole: a key and what belongs to it in one PEM, replaced by rename.

    current.pem   the pair that works
    trial.pem     the renewed pair, until a cloud has acknowledged under it
    request.pem   a key that waits for its certificate
    imported      which pair of the config file was taken over; another one there is taken over again

A power cut between any two file operations leaves a pair that works. Nothing here is ever logged but names.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from agent import renewal
from agent.certificates import (
    PEM_MAX_B,
    CertificateError,
    Pair,
    Request,
    certified,
    new_request,
    paired,
    public_key,
    read_chain,
    read_key,
    read_pair,
    read_pkcs7,
    read_request,
)
from agent.clock import earliest, wall
from agent.est import EstError, EstServer
from agent.events import ClockTold, Link, LinkChanged, MachineTold
from agent.files import DISK, Files, put
from agent.renewal import EnrolFailed, Facts, FilesChanged, FilesFailed, Validity, enrol_wait_max_s
from agent.reporting import RECONFIGURED
from agent.settings import Broker, ConfigError
from agent.station import Station
from agent.uplink.mqtt import Connected, Disconnected
from agent.uplink.signed import sign_as_station

SIGN_S = 30.0  # for the cloud to answer SignCertificate
SIGN_TAG = 0  # there is one such question at a time
STATION_CERTIFICATE = "ChargingStationCertificate"
INVALID_CERTIFICATE = "InvalidChargingStationCertificate"  # OCPP 2.1 security event


# -- files -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """What the folder holds. What cannot be read is None, and `problems` has a sentence about it."""

    current: Pair | None = None
    trial: Pair | None = None
    request: Request | None = None
    problems: tuple[str, ...] = ()

    @property
    def in_use(self) -> Pair | None:
        return self.trial or self.current

    @property
    def names(self) -> set[str]:
        return {pair.name for pair in (self.current, self.trial) if pair}


class Folder:
    """One writer at a time. Every method ends with all of it on the disk; OSError, and then it may be repeated."""

    def __init__(self, path: Path, files: Files = DISK) -> None:
        self.path, self._files = path, files
        self.current, self.trial, self.request = (path / name for name in ("current.pem", "trial.pem", "request.pem"))
        self._imported = path / "imported"

    def make(self) -> None:
        """Ours alone; nobody may have opened it to others meanwhile."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def load(self) -> Held:
        problems: list[str] = []

        def read(path: Path, form: Callable[[bytes], Any]) -> Any:
            try:
                return form(path.read_bytes())
            except FileNotFoundError:
                return None
            except (OSError, CertificateError) as error:
                problems.append(f"{path}: {error}")
                return None

        current, trial = read(self.current, read_pair), read(self.trial, read_pair)
        request = read(self.request, read_request)
        if request and request.public_key in {pair.public_key for pair in (current, trial) if pair}:
            request = None  # it has its certificate: the power was cut before the request was removed
        return Held(current, trial, request, tuple(problems))

    def begin(self, request: Request) -> None:
        """Replaces a request that was there."""
        self._put(self.request, request.pem)

    def certify(self, pair: Pair, *, is_first: bool) -> None:
        """The pair is on trial; the first of all has nothing to fall back to, so it is the current one."""
        self._put(self.current if is_first else self.trial, pair.pem)
        self._remove(self.request)

    def promote(self) -> None:
        """The old pair is gone in the instant in which the new one takes its place."""
        self._files.rename(self.trial, self.current)
        self._files.sync(self.path)

    def go_back(self) -> None:
        self._remove(self.trial)

    def imported(self) -> str:
        """The name of the pair that adopt() took last."""
        try:
            return self._imported.read_text("ascii").strip()
        except (OSError, ValueError):
            return ""

    def adopt(self, pair: Pair) -> None:
        """From the config file: what somebody put there by hand wins, once."""
        self._put(self.current, pair.pem)
        self._remove(self.trial)
        self._put(self._imported, pair.name.encode())

    def _put(self, path: Path, data: bytes) -> None:
        put(path, data, path.with_suffix(".new"), self._files)

    def _remove(self, path: Path) -> None:
        self._files.remove(path)
        self._files.sync(self.path)


def folder_of(state: Path) -> Folder:
    return Folder(state / "identity")


def open_identity(folder: Folder, broker: Broker | None) -> Held:
    """At start: what the folder holds, after the config's pair has been taken over if it is another one than last
    time. ConfigError, if that leaves the station without any."""
    try:
        folder.make()
        held = folder.load()
        if broker is None or not broker.cert:
            return held
        return imported(folder, held, broker)
    except OSError as error:
        raise ConfigError(f"{folder.path}: {error.strerror}: make it a folder of ours, or free space") from None


def imported(folder: Folder, held: Held, broker: Broker) -> Held:
    try:
        pair = paired(read_key(small(Path(broker.key))), read_chain(small(Path(broker.cert))))
    except (OSError, CertificateError) as error:
        why = f"[broker] {broker.cert} and {broker.key}: {error}: issue the station's certificate again"
        if held.in_use is None:
            raise ConfigError(why) from None
        return replace(held, problems=(*held.problems, why))
    if held.current is None or folder.imported() != pair.name:
        folder.adopt(pair)
        return folder.load()
    return held


def small(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PEM_MAX_B + 1)


def requested(folder: Folder, common_name: str) -> Held:
    """There is a request now. OSError."""
    held = folder.load()
    if held.request is None:
        folder.begin(new_request(common_name))
    return folder.load()


@dataclass(frozen=True, slots=True)
class Judge:
    """What a certificate must be to be ours."""

    common_name: str
    ca: Path
    earliest_s: float  # a time surely not after the true one
    wall_s: float | None

    def judged(self, held: Held, chain: Sequence[Certificate]) -> Pair:
        """One of our keys with this chain: the request's, or again one that had a certificate before. CertificateError,
        OSError: the CA's file."""
        leaves = {public_key(cert) for cert in chain}
        ours = [kept for kept in (held.request, held.trial, held.current) if kept]
        mine = next((kept for kept in ours if kept.public_key in leaves), None)
        if mine is None:
            raise CertificateError("the certificate belongs to another key")
        return certified(mine.pem, chain, self.common_name, self.ca.read_bytes(), self.earliest_s, self.wall_s)


def installed(folder: Folder, chain: Sequence[Certificate], judge: Judge) -> Held:
    """What is there already changes nothing, so a repetition is harmless. CertificateError, OSError."""
    held = folder.load()
    pair = judge.judged(held, chain)
    if pair.name not in held.names:
        folder.certify(pair, is_first=held.current is None)
    return folder.load()


def changed(folder: Folder, change: Callable[[], None]) -> Held:
    change()
    return folder.load()


def validity(pair: Pair | None) -> Validity | None:
    return Validity(pair.name, pair.not_before_s, pair.not_after_s) if pair else None


# -- what a running station does with it -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """Work on the files has ended; `then` knows what it was for."""

    result: Held | Exception
    then: Callable[[Held | Exception, float], None]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The EST server's answer, unread."""

    result: bytes | EstError
    tries: int


class Host(Protocol):
    """agent/shell.py."""

    station: Station

    def post(self, happening: Any) -> None: ...  # comes back through Identity.took(); on the loop's thread only
    def elsewhere(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None: ...
    def ask(self, action: str, payload: dict[str, Any], timeout_s: float, tag: int, now: float) -> None: ...
    def security_event(self, kind: str, why: str, now: float) -> None: ...
    def answer(self, command_id: str, response: dict[str, Any], now: float) -> None: ...
    def use(self, cert: Path, pair: str) -> None: ...
    def drop(self, connection: int, why: str) -> None: ...
    def log(self, line: str) -> None: ...


Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]  # like Host.elsewhere, for what may take a minute


class Identity:
    """Performs what agent/renewal.py decides, on the loop's thread; files and the EST server wait elsewhere."""

    def __init__(
        self, folder: Folder, held: Held, station_id: str, ca: Path, est: EstServer | None, aside: Aside,
        rng: random.Random,
    ) -> None:  # fmt: skip
        self.folder, self.held, self.est = folder, held, est
        self._station_id, self._ca, self._aside, self._rng = station_id, ca, aside, rng
        csr = held.request.csr if held.request else None
        self.facts = Facts(validity(held.current), validity(held.trial), csr, can_enrol=est is not None)
        self._host: Host
        self._due = 0.0

    def attach(self, host: Host) -> None:
        self._host = host

    # -- in

    def took(self, happening: object, now: float) -> bool:
        """Everything that happens passes here; True: it was for nobody else."""
        match happening:
            case Done():
                self._done(happening.result, now)
                happening.then(happening.result, now)
            case Enrolled():
                self._enrolled(happening, now)
            case Connected(connection=connection, pair=pair):
                self._handle(renewal.Connected(connection, pair), now)
                return False
            case Disconnected(pair=pair, cause=cause):
                is_trial = self._host.station.network.trying is not None  # then it is the broker that may be wrong
                self._handle(renewal.Disconnected(pair, cause.is_refusal and not is_trial), now)
                return False
            case LinkChanged(link=Link.UP):
                self._handle(renewal.Up(), now)
                return False
            case ClockTold():
                self._due = 0.0  # it may be later than we thought
                return False
            case _:
                return False
        return True

    def next_deadline(self) -> float:
        return self._due

    def due(self, now: float) -> None:
        self._handle(renewal.Tick(), now)

    def answered(self, payload: dict[str, Any] | None, now: float) -> None:
        """SignCertificateResponse. Whatever it says, the certificate comes as a command, or we ask again."""
        if payload is not None and payload.get("status") != "Accepted":
            self._host.log("the cloud signs no certificate for us now; we ask again")

    def signed(self, command_id: str, request: dict[str, Any], now: float) -> None:
        """OCPP CertificateSigned. Its result follows, once the files are on the disk."""

        def answer(result: Held | Exception, now: float) -> None:
            if isinstance(result, Held):
                self._host.log("a new certificate has come and is tried next")
                return self._host.answer(command_id, {"status": "Accepted"}, now)
            why = f"certificate refused: {result}"
            self._host.log(why)
            self._host.security_event(INVALID_CERTIFICATE, why, now)
            info = {"reasonCode": "InvalidCertificate", "additionalInfo": why[:1024]}
            return self._host.answer(command_id, {"status": "Rejected", "statusInfo": info}, now)

        def read() -> list[Certificate]:
            if request.get("certificateType", STATION_CERTIFICATE) != STATION_CERTIFICATE:
                raise CertificateError("this station has no use for a certificate of another type")
            return read_chain(request["certificateChain"].encode())

        self._install(read, answer, now)

    def by_hand(self, pem: str, now: float) -> None:
        """`station-agent certificate`, while the agent runs. CertificateError, OSError: nothing is changed."""
        chain = read_chain(pem.encode())
        self._judge(now).judged(self.held, chain)
        self._install(lambda: chain, lambda result, now: self._host.log(f"certificate by hand: {outcome(result)}"), now)

    def handlers(self, clock: Callable[[], float]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """What the command line may ask of the running agent (agent/control.py)."""

        def certificate(request: dict[str, Any]) -> dict[str, Any]:
            try:
                self.by_hand(str(request.get("pem", "")), clock())
            except (CertificateError, OSError) as error:
                raise ConfigError(f"certificate refused: {error}") from None
            return {"first": self.held.current is None}

        def csr(_: dict[str, Any]) -> dict[str, Any]:
            if self.held.request is None:
                self.wanted(clock())  # which makes one
            return {"csr": self.held.request.csr if self.held.request else ""}

        return {"certificate": certificate, "csr": csr}

    def seal(self, content: bytes) -> bytes | None:
        """COSE_Sign1 under the key that this station has made; None where it has none that can (ECDSA P-256)."""
        pair = self.held.in_use
        key = read_key(pair.pem) if pair else None
        if pair is None or not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            return None
        return sign_as_station(content, key, [cert.public_bytes(Encoding.DER) for cert in read_chain(pair.pem)])

    def wanted(self, now: float) -> None:
        """OCPP TriggerMessage SignChargingStationCertificate."""
        self._handle(renewal.RenewalWanted(), now)

    def registered(self, now: float) -> None:
        """The cloud has accepted the station."""
        self._handle(renewal.Registered(), now)

    # -- out

    def _handle(self, event: renewal.Event, now: float) -> None:
        earliest_s = earliest(self._host.station.clock, now)
        self.facts, actions = renewal.handle(self.facts, event, now, earliest_s)
        self._due = renewal.next_deadline(self.facts, now, earliest_s)
        for action in actions:
            self._perform(action, now)

    def _perform(self, action: renewal.Action, now: float) -> None:
        match action:
            case renewal.MakeRequest():
                self._change(lambda: requested(self.folder, self._station_id))
            case renewal.Ask(csr=csr):
                self._host.log("this station asks the cloud for a new certificate")
                request = {"csr": csr, "certificateType": STATION_CERTIFICATE}
                self._host.ask("SignCertificate", request, SIGN_S, SIGN_TAG, now)
            case renewal.Enrol(csr=csr, tries=tries):
                self._enrol(csr, tries)
            case renewal.Use(is_trial=is_trial):
                if pair := self.held.trial if is_trial else self.held.current:
                    self._host.use(self.folder.trial if is_trial else self.folder.current, pair.name)
            case renewal.Reconnect(connection=connection):
                self._host.drop(connection, "to try the new certificate")
            case renewal.Promote():
                self._change(lambda: changed(self.folder, self.folder.promote), "the renewed certificate is in use")
            case renewal.GoBack():
                self._change(lambda: changed(self.folder, self.folder.go_back))
            case renewal.Report(kind=kind, why=why):
                self._host.log(why)
                self._host.security_event(kind, why, now)

    def _enrol(self, csr: str, tries: int) -> None:
        est, pair = self.est, self.folder.current
        assert est

        def job() -> Enrolled:
            try:
                return Enrolled(est.reenroll(pair, csr), tries)
            except EstError as error:
                return Enrolled(error, tries)

        self._host.log("this station is shut out: it asks the EST server for a new certificate")
        self._aside(job, self._host.post)

    def _enrolled(self, answer: Enrolled, now: float) -> None:
        if isinstance(answer.result, EstError):
            self._enrol_again(answer.result, answer.tries, answer.result.retry_after_s, now)
            return
        body = answer.result

        def then(result: Held | Exception, now: float) -> None:
            if isinstance(result, Exception):
                self._host.security_event(INVALID_CERTIFICATE, f"EST server: {result}", now)
                self._enrol_again(result, answer.tries, 0.0, now)

        self._install(lambda: read_pkcs7(body), then, now)

    def _enrol_again(self, why: Exception, tries: int, least_s: float, now: float) -> None:
        wait_s = max(least_s, self._rng.uniform(0.0, enrol_wait_max_s(tries)))
        self._host.log(f"no certificate from the EST server, again in {wait_s:.0f} s: {why}")
        self._handle(EnrolFailed(wait_s), now)

    def _judge(self, now: float) -> Judge:
        clock = self._host.station.clock
        return Judge(self._station_id, self._ca, earliest(clock, now), wall(clock, now))

    def _install(
        self, read: Callable[[], list[Certificate]], then: Callable[[Held | Exception, float], None], now: float
    ) -> None:
        judge = self._judge(now)
        self._work(lambda: installed(self.folder, read(), judge), then)

    def _change(self, job: Callable[[], Held], said: str = "") -> None:
        def then(result: Held | Exception, now: float) -> None:
            if isinstance(result, Exception):
                self._host.log(f"{self.folder.path}: {result}")
                self._handle(FilesFailed(), now)
            elif said:
                self._host.log(said)
                self._host.security_event(RECONFIGURED, said, now)

        self._work(job, then)

    def _work(self, job: Callable[[], Held], then: Callable[[Held | Exception, float], None]) -> None:
        def done() -> Done:
            try:
                return Done(job(), then)
            except (OSError, CertificateError) as error:
                return Done(error, then)

        self._host.elsewhere(done, self._host.post)

    def _done(self, result: Held | Exception, now: float) -> None:
        if isinstance(result, Held):
            is_new, self.held = not result.names <= self.held.names, result
            csr = result.request.csr if result.request else None
            machine, pair = self._host.station.machine, self.held.in_use
            if pair and pair.not_after_s != machine.certificate_expiry_s:
                self._host.post(MachineTold(replace(machine, certificate_expiry_s=pair.not_after_s)))
            self._handle(FilesChanged(validity(result.current), validity(result.trial), csr, is_new), now)


def outcome(result: Held | Exception) -> str:
    return str(result) if isinstance(result, Exception) else "installed"
