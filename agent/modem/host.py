"""The shell of one modem: a keeper over its port, a bearer, and the board's lines, on the agent's loop."""

from collections.abc import Callable

from agent.modem.at import Answered
from agent.modem.bearer import Said
from agent.modem.told import News, Told

Heard = News | Said


class Refused(Exception):
    """A command that is not sent; the sentence says why, and what to type instead."""


class Host:
    def told(self) -> Told:
        """All that is known."""
        raise NotImplementedError

    async def ask(self, command: str, *, force: bool = False) -> Answered:
        """A command of a person's, between the keeper's own questions. Refused: the port carries a call, the command
        would end our connection or write what stays (then `force` sends it all the same), or it is no AT command."""
        raise NotImplementedError

    def listen(self, callback: Callable[[Heard], None]) -> Callable[[], None]:
        """News, and what the bearer says, as it comes, on the loop's thread. What is returned ends it."""
        raise NotImplementedError
