"""What counts as a tap, whatever reads the card: a card that is held against a reader, or slides about at the border
of its field, taps once. A second tap would end the session that the first one has begun.
"""

from agent.policy.id_token import is_random

AWAY_S = 1.0  # a card that was away for less than this was never taken away
SEEN_MAX = 8  # cards remembered; a wallet has fewer


def card_of(uid: str) -> str:
    """The card behind an id in upper-case hexadecimal. Phones that make up an id each time the field comes back are one
    card here, or a held one would tap for ever."""
    return "random" if is_random(uid) else uid


class Held:
    """The cards that a reader has seen of late."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}  # card -> when it was seen last, oldest first

    def is_tap(self, uid: str, now: float) -> bool:
        """Note that the reader sees this card; True if it was not there before."""
        card = card_of(uid)
        last = self._seen.pop(card, None)
        self._seen[card] = now
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return last is None or now - last > AWAY_S
