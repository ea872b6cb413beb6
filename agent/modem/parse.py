"""What `station-agent modem parse` does: a JSON line with a command and the text that came after it, to one of pieces.

One line out for each line in, whatever is in it; `docs/modem.md` names the fields.
"""

import json
from collections.abc import Callable, Iterator

from agent.modem.lines import Framer
from agent.modem.reading import Piece, Reader

LINE_MAX = 4_000_000  # bytes of one line of input
SHAPE = 'type {"command": "AT+CREG?", "wire": "+CREG: 0,1\\r\\n"}, command may be null'


def pieces(command: str | None, wire: bytes) -> list[Piece]:
    """All of what came after the command was sent; an end without CR or LF ends its line."""
    framer, reader = Framer(), Reader()
    if command is not None:
        reader.begin(command)
    return [piece for line in framer.feed(wire) + framer.flush() for piece in reader.read(line)]


def answers(readline: Callable[[int], bytes]) -> Iterator[str]:
    """One for each line, as soon as it is there. Of a line beyond LINE_MAX the rest is passed over."""
    while line := readline(LINE_MAX + 1):
        is_cut = not line.endswith(b"\n") and len(line) > LINE_MAX
        yield parsed(line)
        while is_cut and (rest := readline(LINE_MAX)):
            is_cut = not rest.endswith(b"\n")


def parsed(line: bytes) -> str:
    """JSON. A line that is none gives `error`, a sentence, and no pieces."""
    try:
        command, wire = request(line)
    except ValueError as error:
        return json.dumps({"error": str(error), "pieces": []})
    found = pieces(command, wire.encode("utf-8", "surrogatepass"))
    return json.dumps({"pieces": [as_json(piece) for piece in found]})


def request(line: bytes) -> tuple[str | None, str]:
    """ValueError says what is wrong."""
    if len(line) > LINE_MAX:
        raise ValueError(f"the line has more than {LINE_MAX} bytes: {SHAPE}")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the line is no JSON ({str(error)[:200]}): {SHAPE}") from None
    match said:
        case {"command": None | str() as command, "wire": str() as wire}:
            return command, wire
    raise ValueError(f"the line is no object with command and wire: {SHAPE}")


def as_json(piece: Piece) -> dict[str, object]:
    """`text` is the whole line, also of one that is not taken apart."""
    return {**piece.fields, "kind": piece.kind, "text": piece.text, "prefix": piece.prefix}
