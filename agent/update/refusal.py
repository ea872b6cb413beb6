"""Why a build, or a step of an update, was refused: a code for machines, one sentence for people.

The sentence says what to do next. The codes are few and stay: tools/flash.py ends with their exit code, the station's
update service sends them to the laptop.
"""

OK, USAGE, NO_DEVICE, WRONG_DEVICE, UNTRUSTED, DOWNGRADE, INTERLOCK, LINK, VERIFY, ROLLED_BACK, SOME_FAILED = (
    0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
)  # fmt: skip
INTERNAL, INTERRUPTED = 70, 130  # sysexits.h EX_SOFTWARE; 128 + SIGINT

EXITS = {
    "usage": USAGE,  # what was typed, or a file that is not there
    "no-device": NO_DEVICE,
    "wrong-device": WRONG_DEVICE,
    "platform": WRONG_DEVICE,  # no app for this station's processor
    "board": WRONG_DEVICE,  # no firmware for this station's board
    "contract": WRONG_DEVICE,  # app and controller would not understand each other
    "format": UNTRUSTED,  # not a build, or a damaged one
    "signature": UNTRUSTED,
    "key": UNTRUSTED,  # signed with a key that this station does not know
    "role": UNTRUSTED,  # a dev build for a production station
    "downgrade": DOWNGRADE,
    "interlock": INTERLOCK,  # a cable carries current, or the controller refuses
    "session": INTERLOCK,  # somebody charges
    "busy": INTERLOCK,  # another flasher is at work
    "link": LINK,
    "hash": VERIFY,  # a piece is not what was signed
    "verify": VERIFY,  # what was written reads back as something else
    "storage": VERIFY,  # the disk is full, or fails
    "rolled-back": ROLLED_BACK,
    "some-failed": SOME_FAILED,
    "internal": INTERNAL,
    "interrupted": INTERRUPTED,
}


class Refused(Exception):
    """Nothing was changed, or the slot that was being written stays unusable; the running one is as it was."""

    def __init__(self, code: str, sentence: str) -> None:
        assert code in EXITS, code
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    @property
    def exit(self) -> int:
        return EXITS[self.code]

    def __reduce__(self) -> tuple[type["Refused"], tuple[str, str]]:
        return type(self), (self.code, self.sentence)
