"""A call, and what its refusal means: the command, and the Cause of an answer. Pure."""

from agent.modem.at import Answered
from agent.modem.events import Cause

PROFILE = "ATD*99***{cid}#"  # 27.007 10.2.1.1, with PPP in front of its own L2P
# 27.007 9.2: what says that the access point is at fault, or who asks for it.
APN_ERRORS = frozenset((127, 128, 132, 133, 179, 189, 192, 193, 196, 197))
AUTH_ERRORS = frozenset((129, 149))


def dial(cid: int) -> str:
    assert 1 <= cid <= 16, cid
    return PROFILE.format(cid=cid)


def is_connected(answer: Answered) -> bool:
    return answer.final is not None and answer.final["final"] == "CONNECT"


def refused(answer: Answered, what: str = "the call") -> tuple[Cause, str]:
    """Why `what` did not come about, by a command's answer."""
    error = answer.error
    if answer.final is None:
        return Cause.FAILED, f"the modem has not answered {answer.command}"
    if error in APN_ERRORS:
        return Cause.APN, f"the network refuses {what} (error {error}): check apn"
    if error in AUTH_ERRORS:
        return Cause.AUTH, f"the network refuses {what} (error {error}): check username and password"
    said = f"error {error}" if isinstance(error, int) else str(error or answer.final["final"])
    return Cause.FAILED, f"{what} did not come about: {said}"
