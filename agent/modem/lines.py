"""Bytes from a modem to lines. Sans-IO; no bytes raise, and where the reads cut them makes no difference.

A line ends with any run of CR and LF (ITU-T V.250 5.7.1 says CR LF on both sides; modems say CR CR LF, LF, or CR).
A `>` at the beginning of a line is a prompt: nothing ends it, so it is told at once.
"""

LINE_MAX = 8_192  # bytes: a list of networks has some 3,000; of a longer line the beginning counts
PROMPT = ">"
BLANKS = b" \t"
NUL = b"\0"  # what a UART says when the other end loses its power, and what fills pauses: it means nothing


class Framer:
    """One port's lines. `overlong` counts the lines of which only the beginning was kept."""

    def __init__(self) -> None:
        self.overlong = 0
        self._rest = b""
        self._is_cut = False

    def feed(self, data: bytes) -> list[str]:
        """The lines and prompts that have ended, oldest first; without blanks around them, and none empty."""
        lines: list[str] = []
        *ended, rest = (self._rest + data).replace(NUL, b"").replace(b"\n", b"\r").split(b"\r")
        for piece in ended:
            if piece:
                self._end(piece, lines)
            self._is_cut = False
        self._rest = self._begun(rest, lines)
        return lines

    def flush(self) -> list[str]:
        """What has begun and will not end any more."""
        return self.feed(b"\r")

    def _end(self, piece: bytes, lines: list[str]) -> None:
        piece = self._begun(piece, lines).rstrip(BLANKS)
        if not piece:
            return
        try:
            lines.append(piece.decode())
        except UnicodeDecodeError:
            lines.append(piece.decode("latin-1"))
        self.overlong += self._is_cut

    def _begun(self, piece: bytes, lines: list[str]) -> bytes:
        piece = piece.lstrip(BLANKS)
        while piece.startswith(b">"):
            lines.append(PROMPT)
            piece = piece[1:].lstrip(BLANKS)
        if len(piece) > LINE_MAX:
            self._is_cut = True
            return piece[:LINE_MAX]
        return piece
