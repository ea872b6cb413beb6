"""The receiver: takes a new image from the line into the slot that does not run (docs/flash-protocol.md, as a chip).

Part of the immutable boot part; MicroPython subset. `home` is the chip (`home_unix.py`, `home_rp2.py`):
    board, kind, is_production      what it is; `kind` is the chip's name
    slot(number)                    the slot's bytes, where they lie in flash: a memoryview
    erase(number, sector), write(number, at, data)
    read(name), save(name, data)    files; `save` replaces a file whole, or raises OSError
    inflater(data)                  a stream that reads what a raw deflate stream holds; ValueError, OSError, EOFError
    feed()                          the watchdog
    send(data)                      all of it
    receive()                       what came over the line; None or b"" if nothing did
    now_ms()                        may start anew at CLOCK_MASK
    word(), set_word(word)          `slots.py`
    reset()
Whoever drives `serve` waits at each of its yields until something came, or 10 ms, with outputs that stay safe.
What the flasher sends as "head" is the index of the component: the signed list of its pieces (agent/update/index.py).
A piece is one sector. Each is checked before it is written, and the whole is read back before it may boot.
"""

import gc
import sys
from binascii import hexlify
from hashlib import sha256

import cbor2

from board.controller import slots
from board.controller.slip import BODY_MAX, Deframer, frame
from board.controller.slots import FILE, HEAD_B, NAMES, NONE, SECTOR_B, SLOT_B

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Piece = tuple[bytes, int, int, list[int]]  # SHA-256, size, stored size, the sectors that hold it

HELLO, SEND, DATA, PLAN, WANTED, FINISH, ACTIVATE, STATUS, ROLLBACK = 1, 2, 3, 4, 5, 6, 7, 8, 9
PING, BYE = 0x0E, 0x0F
ANSWER = 0x40  # a success is the request's number plus this
WORKING, REFUSED = 0x7E, 0x7F
VERSION = 1
WINDOW = 5  # frames of BODY_MAX: what a small heap has room for
HEAD_MAX_B = 2_048
WORKING_EACH = 8  # sectors are erased between two WORKING: 0.4 s, at worst 3
SILENCE_MS = 60_000  # a flasher that has fallen silent is not waited for any longer
BYE_MS = 200  # for its repetition
CLOCK_MASK = 0x3FFF_FFFF
HOLE_B = 6_144  # an inflater with a window of 4 KiB
PART_B = 512  # of a piece, as it is inflated
SEQS = 0xFFFF


def _collect() -> None:
    if sys.implementation.name == "micropython":  # a host has memory, and other things to do
        gc.collect()


class Refused(Exception):
    def __init__(self, code: str, sentence: str) -> None:
        self.code, self.sentence = code, sentence


class Room:
    """The large pieces of a small heap, taken while it still has them in one piece. `hole` is given back for as long as
    something is inflated: its window goes there."""

    def __init__(self) -> None:
        self.piece = bytearray(SECTOR_B)  # as it is stored
        self.part = bytearray(PART_B)  # of what will lie there
        self.frames = [bytearray(BODY_MAX) for _ in range(WINDOW - 1)]  # that come before one that is missing
        self._hole: bytearray | None = None
        self.dig()

    def dig(self) -> None:
        self._hole = None
        _collect()
        try:
            self._hole = bytearray(HOLE_B)
        except MemoryError:  # something that is not free yet lies in it: the next time
            pass

    def fill(self) -> None:
        self._hole = None
        _collect()


class Target:
    """The slot that is written, by the index of what it shall hold."""

    def __init__(self, home: "Any", index: bytes, room: "Room | None" = None) -> None:
        self._home = home
        self._room = room or Room()
        self.digest = sha256(index).digest()
        self.pieces = pieces_of(index, home.board)
        self.state = slots.load(home.read(FILE))
        self._heads = [slots.intact(home.slot(number), home.board, home.feed) for number in (slots.A, slots.B)]
        is_intact = self._heads[0] is not None, self._heads[1] is not None
        self.opened = slots.opened(self.state, is_intact)
        self.slot = slots.target(self.state, is_intact)
        kept = 1 - self.slot
        if self._holds(kept) and is_intact[kept]:  # it is what boots anyway
            self.slot = kept
        view = home.slot(self.slot)
        self.is_wanted = [not lies(view, piece) for piece in self.pieces]

    @property
    def wanted(self) -> "list[int]":
        return [number for number in range(len(self.pieces)) if self.is_wanted[number]]

    def wanted_b(self) -> int:
        return sum([self.pieces[number][2] for number in self.wanted])

    def open(self, working: "Callable[[], None]") -> None:
        """The slot is no slot any more: its trial is over, and what is wanted is erased."""
        if self.opened != self.state:
            self._home.save(FILE, slots.dump(self.opened))
            self.state = self.opened
        for number in self.wanted:
            if number % WORKING_EACH == 0:
                working()
            for sector in self.pieces[number][3]:
                self._home.feed()
                self._home.erase(self.slot, sector)

    def put(self, number: int, stored: "bytes | memoryview") -> None:
        """One piece, as it is stored in the build. It is inflated twice: to be checked, then to be written; a small
        heap has no room for it in between."""
        digest, size_b, stored_b, sectors = self.pieces[number]
        found, found_b = sha256(), 0
        for part in self._parts(stored, size_b, stored_b):
            found.update(part)
            found_b += len(part)
        if found_b != size_b or found.digest() != digest:
            raise Refused("hash", "piece %d is not what the build's index says: make the build anew" % number)
        at = 0
        for part in self._parts(stored, size_b, stored_b):
            for sector in sectors:
                self._home.write(self.slot, sector * SECTOR_B + at, part)
            at += len(part)
        if not lies(self._home.slot(self.slot), self.pieces[number]):
            raise Refused("verify", "a sector does not keep what is written to it: replace the controller")
        self.is_wanted[number] = False

    def _parts(self, stored: "bytes | memoryview", size_b: int, stored_b: int) -> "Iterator[bytes | memoryview]":
        """The piece as it will lie: as much as there is of it; all that is there beyond it is nobody's."""
        if stored_b == size_b:
            yield stored
            return
        room = memoryview(self._room.part)
        self._room.fill()
        try:
            stream = self._home.inflater(stored)
            while size_b:
                count = stream.readinto(room[: min(PART_B, size_b)])
                if not count:
                    return
                size_b -= count
                yield room[:count]
        except (ValueError, OSError, EOFError):
            return
        finally:
            stream = None
            self._room.dig()

    def finish(self) -> None:
        """Everything is there, and an image of this board."""
        if not self._holds(self.slot):
            raise Refused("verify", "the slot does not hold the whole build yet: flash again")
        head = slots.intact(self._home.slot(self.slot), self._home.board, self._home.feed)
        if head is None or head[0] != self._size_b():
            raise Refused("verify", "what the build holds is no firmware for %s: flash another" % self._home.board)

    def activate(self) -> None:
        self._home.save(FILE, slots.dump(slots.on_trial(self.opened, self.slot)))

    def _size_b(self) -> int:
        return sum([piece[1] * len(piece[3]) for piece in self.pieces])

    def _holds(self, slot: int) -> bool:
        view = self._home.slot(slot)
        for piece in self.pieces:
            self._home.feed()
            if not lies(view, piece):
                return False
        return True


def lies(view: "Any", piece: "Piece") -> bool:
    for sector in piece[3]:
        at = sector * SECTOR_B
        if sha256(view[at : at + piece[1]]).digest() != piece[0]:
            return False
    return True


def pieces_of(index: bytes, board: str) -> "list[Piece]":
    """Each piece once, in order of first appearance. Refused for what is no index of one image for this board."""
    found = None
    try:
        found = _read(index)
    except Exception:  # the decoders differ in what they raise on noise
        pass
    if found is None:
        raise Refused("format", "not an index of a controller image: make the build anew")
    version, named, rows = found
    if named != board:
        raise Refused("board", "this controller is a %s, the image is for %s" % (board, str(named)[: slots.BOARD_MAX]))
    size_b = 0
    pieces: "list[Piece]" = []
    for sector in range(len(rows)):
        digest, piece_b, stored_b = rows[sector]
        is_last = sector == len(rows) - 1
        if len(digest) != 32 or not 1 <= stored_b <= piece_b <= SECTOR_B or (piece_b < SECTOR_B and not is_last):
            raise Refused("format", "a piece of a controller image is one sector of %d bytes" % SECTOR_B)
        size_b += piece_b
        same = [piece for piece in pieces if piece[0] == digest and piece[1] == piece_b]
        if same:
            same[0][3].append(sector)
        else:
            pieces.append((digest, piece_b, stored_b, [sector]))
    if version != 1 or not HEAD_B < size_b <= SLOT_B:
        raise Refused("format", "a controller image has at most %d bytes: make it smaller" % SLOT_B)
    return pieces


def _read(index: bytes) -> "tuple[int, object, Any]":
    version, facts, files = cbor2.loads(index)
    ((_, _, rows),) = files
    for digest, size_b, stored_b in rows:
        if type(digest) is not bytes or type(size_b) is not int or type(stored_b) is not int:
            raise ValueError
    return version, facts["board"], rows


class Receiver:
    """Bytes in, answers out through `home.send`. One session at a time."""

    def __init__(self, home: "Any") -> None:
        self._home = home
        self._ear = Deframer()
        self.is_over = False  # BYE
        self._nonce: Any = None
        self._seq = 0
        self._answer = b""
        self._target: Target | None = None
        self._is_whole = False  # FINISH has found everything
        self._head = b""
        self._room = Room()
        self._part: Any = None  # what room's piece holds the beginning of: the index, the piece, so many bytes
        self._early: dict[int, tuple[int, int]] = {}  # frames beyond the missing one: which of room's, its size
        self._queue: list[int] = []  # pieces that are still to come
        self._what = ""
        self._stop()

    @property
    def errors(self) -> int:
        return self._ear.errors

    def feed(self, data: bytes) -> bool:
        """Whether there was an intact frame."""
        has_data = False
        frames = self._ear.feed(data)
        for kind, seq, body in frames:
            if kind != DATA:
                self._request(kind, seq, body)
            elif self._what:
                has_data = True
                self._data(seq, body)
        if has_data:
            self._home.send(self._broken or self._ack())
        return len(frames) > 0

    # -- requests

    def _request(self, kind: int, seq: int, body: bytes) -> None:
        fields = fields_of(body)
        if kind == HELLO and fields is not None:
            self._hello(seq, fields)
        elif self._nonce is None:
            self._home.send(refusal(seq, "usage", "say HELLO first"))
        elif seq == self._seq:
            self._home.send(self._answer)
        elif seq == self._seq + 1 & SEQS:
            self._seq = seq
            self._answer = self._answered(kind, seq, fields)
            self._home.send(self._answer)

    def _hello(self, seq: int, fields: "dict[str, Any]") -> None:
        versions, nonce = fields.get("versions"), fields.get("nonce")
        is_known = type(versions) is list and len(versions) == 2 and versions[0] <= VERSION <= versions[1]
        if not is_known or type(nonce) is not bytes:
            self._home.send(refusal(seq, "usage", "this controller speaks version %d of the protocol" % VERSION))
            return
        if nonce != self._nonce:
            self._nonce, self._seq = nonce, seq
            self.is_over = self._is_whole = False
            self._stop()
        if seq == self._seq:
            self._answer = frame(HELLO + ANSWER, seq, cbor2.dumps(self._identity()))
            self._home.send(self._answer)

    def _answered(self, kind: int, seq: int, fields: "dict[str, Any] | None") -> bytes:
        do = {
            SEND: self._send, PLAN: self._plan, WANTED: self._bits, FINISH: self._finish, ACTIVATE: self._activate,
            STATUS: self._status, ROLLBACK: self._roll_back, PING: self._pong, BYE: self._bye,
        }.get(kind)  # fmt: skip
        _collect()
        try:
            if do is None or fields is None:
                raise Refused("usage", "a controller knows no such request")
            said = cbor2.dumps(do(fields))
            return frame(kind + ANSWER, seq, said)
        except Refused as refused:
            return refusal(seq, refused.code, refused.sentence)
        except (KeyError, TypeError, ValueError):
            return refusal(seq, "format", "a field of the request is missing or wrong")
        except OSError:
            return refusal(seq, "storage", "the controller's flash is full, or worn: replace the controller")
        except MemoryError:
            self._stop()
            return refusal(seq, "internal", "the controller has no memory left: flash again")

    def _identity(self) -> "dict[str, Any]":
        home = self._home
        state = self._status({})
        running = state["slots"].get(state["running"])
        return {
            "version": VERSION, "frame_b": BODY_MAX, "window": WINDOW, "kind": "controller", "serial": "",
            "platform": home.kind, "board": home.board, "is_production": home.is_production, "security_floor": 0,
            "software": running["version"] if running else "", "state": state,
        }  # fmt: skip

    def _status(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        """`running`: what boots if nothing happens; "": nothing does, the receiver waits."""
        home = self._home
        state = slots.load(home.read(FILE))
        known = {}
        found = []
        for number in (slots.A, slots.B):
            head = slots.intact(home.slot(number), home.board, home.feed)
            found.append(head is not None)
            if head is not None:
                known[NAMES[number]] = {"version": head[2], "digest": str(hexlify(head[3]), "utf-8")}
        names = NAMES + " "
        running = slots.at_boot(state, (found[0], found[1]))[0]
        return {
            "running": names[running].strip(), "slots": known, "trial": names[state[1]].strip(), "tries": state[2],
            "failed": names[state[3]].strip(),
        }  # fmt: skip

    def _plan(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        self._stop()
        if fields["digest"] != sha256(self._head).digest():
            return {"is_known": False}
        self._is_whole = False
        self._target = None
        self._target = target = Target(self._home, self._head, self._room)
        wanted = target.wanted
        return {
            "is_known": True, "slot": NAMES[target.slot], "pieces": len(target.pieces), "wanted": len(wanted),
            "wanted_b": target.wanted_b(), "have_b": sum([piece[2] for piece in target.pieces]) - target.wanted_b(),
        }  # fmt: skip

    def _bits(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        wanted, first = self._planned().is_wanted, int(fields["first"])
        if not 0 <= first <= len(wanted):
            raise ValueError
        bits = bytearray((len(wanted) - first + 7) // 8)
        for i in range(first, len(wanted)):
            bits[(i - first) // 8] |= wanted[i] << (i - first) % 8
        return {"first": first, "bits": bytes(bits)}

    def _send(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        what, size_b, first = fields["what"], int(fields["size_b"]), int(fields["seq"])
        self._stop()
        if what == "head":
            if not 0 < size_b <= HEAD_MAX_B:
                raise Refused("format", "an index of a controller image has at most %d bytes" % HEAD_MAX_B)
            self._target, self._is_whole, self._head = None, False, b""
        elif what == "pieces":
            target = self._planned()
            if fields["digest"] != target.digest or size_b != target.wanted_b():
                raise Refused("format", "these are not the pieces that are wanted: send PLAN again")
            self._is_whole = False
            target.open(self._working)
            self._queue = target.wanted
            if self._part is not None and self._part[:2] == (target.digest, self._queue[:1]):
                self._piece_b = self._part[2]
        else:
            raise Refused("usage", "a controller takes an index and its pieces")
        self._what, self._rest_b, self._first = what, size_b - self._piece_b, first & SEQS
        return {"at_b": self._piece_b}

    def _finish(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        self._stop()
        self._planned().finish()
        self._is_whole = True
        return {"result": "staged"}

    def _activate(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        if not self._is_whole:
            raise Refused("usage", "nothing is staged: FINISH comes first")
        self._planned().activate()
        return {"result": "activated"}

    def _roll_back(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        home = self._home
        state = slots.load(home.read(FILE))
        self._stop()
        self._target, self._is_whole = None, False
        if state[1] != NONE:  # a trial: the confirmed one is back
            after = state[0], NONE, 0, state[1]
        elif slots.intact(home.slot(1 - state[0]), home.board, home.feed) is None:
            raise Refused("verify", "the other slot holds nothing whole: flash the build that is wanted")
        else:
            after = slots.on_trial(state, 1 - state[0])
        home.save(FILE, slots.dump(after))
        return {"result": "rolled-back"}

    def _pong(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        return {}

    def _bye(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        self.is_over = True
        return {}

    def _planned(self) -> Target:
        if self._target is None:
            raise Refused("usage", "PLAN comes first")
        return self._target

    def _working(self) -> None:
        """Between two steps of long work: the flasher shall not give up."""
        self._home.send(frame(WORKING, self._seq, cbor2.dumps({"what": "erase"})))

    # -- data

    def _stop(self) -> None:
        """The transfer is over, whether all of it came or not; what has come of a piece is kept for the next."""
        if self._what == "pieces" and self._target is not None:
            self._part = self._target.digest, self._queue[:1], self._piece_b
        self._what = ""  # "head", "pieces", or nothing is expected
        self._rest_b = 0
        self._first = 0  # the frame that is missing
        self._early = {}
        self._piece_b = 0  # of it is here
        self._queue = []
        self._broken = b""

    def _data(self, seq: int, body: bytes) -> None:
        ahead = seq - self._first & SEQS
        if self._broken or ahead >= WINDOW:
            return
        if ahead:
            self._keep(seq, body)
            return
        try:
            while True:
                self._first = self._first + 1 & SEQS
                self._take(body)
                if self._first not in self._early:
                    break
                number, size_b = self._early.pop(self._first)
                body = bytes(memoryview(self._room.frames[number])[:size_b])
        except Refused as refused:
            self._broken = refusal(self._seq, refused.code, refused.sentence)
        except OSError:
            self._broken = refusal(self._seq, "storage", "the controller's flash takes nothing: replace the controller")
        except MemoryError:
            self._broken = refusal(self._seq, "internal", "the controller has no memory left: flash again")

    def _keep(self, seq: int, body: bytes) -> None:
        if seq in self._early:
            return
        taken = [number for number, _ in self._early.values()]
        number = next(number for number in range(WINDOW - 1) if number not in taken)
        self._room.frames[number][: len(body)] = body
        self._early[seq] = number, len(body)

    def _take(self, body: bytes) -> None:
        if len(body) > self._rest_b:
            raise Refused("format", "more bytes than were announced")
        self._rest_b -= len(body)
        if self._what == "head":
            self._head += body
            return
        target, piece = self._planned(), memoryview(self._room.piece)
        at = 0
        while at < len(body):
            size_b = target.pieces[self._queue[0]][2]
            part = min(size_b - self._piece_b, len(body) - at)
            piece[self._piece_b : self._piece_b + part] = body[at : at + part]
            at += part
            self._piece_b += part
            if self._piece_b == size_b:
                self._piece_b = 0
                target.put(self._queue.pop(0), piece[:size_b])
                self._home.feed()

    def _ack(self) -> bytes:
        bitmap = 0
        for seq in self._early:
            bitmap |= 1 << (seq - self._first & SEQS) - 1
        room = bytes((WINDOW,))
        return frame(DATA + ANSWER, self._first, room + bytes((bitmap,)) if bitmap else room)


def fields_of(body: bytes) -> "dict[str, Any] | None":
    """A request's fields; None for what is no map."""
    if not body:
        return {}
    try:
        fields = cbor2.loads(body)
    except Exception:  # the decoders differ in what they raise on noise
        return None
    return fields if type(fields) is dict else None


def refusal(seq: int, code: str, sentence: str) -> bytes:
    return frame(REFUSED, seq, cbor2.dumps({"code": code, "sentence": sentence}))


def serve(home: "Any", patience_ms: int) -> "Iterator[None]":
    """Until BYE, or so long after nothing has come (0 = for ever), or SILENCE_MS after the last that did."""
    receiver = Receiver(home)
    over_ms = None
    yield
    since_ms = home.now_ms()
    while True:
        now_ms = home.now_ms()
        if _heard(home, receiver):
            since_ms, patience_ms = now_ms, SILENCE_MS
        if receiver.is_over and over_ms is None:
            over_ms = now_ms
        if over_ms is not None and now_ms - over_ms & CLOCK_MASK >= BYE_MS:
            return
        if patience_ms and now_ms - since_ms & CLOCK_MASK >= patience_ms:
            return
        home.feed()
        yield


def _heard(home: "Any", receiver: Receiver) -> bool:
    """Whether something intact came. What there is no memory for is lost, as on a bad line, and comes again."""
    try:
        data = home.receive()
        return bool(data) and receiver.feed(data)
    except MemoryError:
        _collect()
        return False
