"""What the reference cloud sends a station of its list, by what the station says that it has."""

from base64 import b64encode
from itertools import chain
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.test_devcloud import START_MS, STATION, accepted, batch, hello, opened, say
from tools.cloud.cloud import Cloud, Publish
from tools.cloud.content import content_of, hash_of
from tools.cloud.drivers import PART_MAX, Driver, list_entry, parts_of
from tools.cloud.ledger import Ledger
from tools.cloud.lists import CONTENT, STATUS
from tools.cloud.wire import KEYS

NONE = {"generation": 0, "version": 0, "hash": "", "count": 0}
HOUR_MS = 3_600_000


class Talk:
    """A station that says what it is told to say, and the cloud."""

    def __init__(self) -> None:
        self.ledger = Ledger(":memory:")
        self.cloud = Cloud(self.ledger, Ed25519PrivateKey.generate())
        self.now_ms, self._seq, self._connection = START_MS, 0, 0

    def hello(self, boot: bytes = b"boot---1", epoch: bytes = b"epoch--1") -> list[list[Any]]:
        self._connection += 1
        self._seq = 0 if epoch != b"epoch--1" else self._seq
        self.epoch = epoch
        return self._commands(say(self.cloud, "h", hello(self._connection, boot, epoch), self.now_ms))

    def has(self, status: dict[str, Any]) -> list[list[Any]]:
        """It says which list it has. The commands that come of it."""
        data = {"vendorId": "station-agent", "messageId": STATUS, "data": status}
        answers = say(self.cloud, "v", cbor2.dumps([7, "DataTransfer", data]), self.now_ms)
        response = cbor2.loads(answers[0].payload)
        assert self.ledger.keys.decode(response[1]) == {"status": "Accepted"}
        return self._commands(answers)

    def says(self, command: list[Any], **response: Any) -> list[list[Any]]:
        """The result of a command. The commands that come of it."""
        self._seq += 1
        told = batch(self._seq, accepted(command[1], **response), epoch=self.epoch)
        return self._commands(say(self.cloud, "2", told))

    def due(self, after_ms: int = 0) -> list[list[Any]]:
        self.now_ms += after_ms
        return self._commands(self.cloud.due(self.now_ms))

    def _commands(self, messages: list[Publish]) -> list[list[Any]]:
        return [opened(self.cloud, message) for message in messages if message.topic == f"d/{STATION}/c"]

    @property
    def status(self) -> dict[str, Any]:
        """What a station says that has our list."""
        version, content = self.ledger.drivers.version(), self.ledger.drivers.content()
        assert version
        return {"generation": version[0], "version": version[1], "hash": hash_of(content)}

    def put(self, *tokens: str) -> None:
        self.ledger.drivers.put([Driver(token) for token in tokens], self.now_ms)


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.fixture
def there(talk: Talk) -> Talk:
    """A station that has our list, of two cards."""
    talk.put("04A1", "04A2")
    talk.hello()
    (whole,) = talk.has(NONE)
    assert talk.says(whole) == [] and talk.due() == []
    return talk


def ids(command: list[Any]) -> list[str]:
    return [entry["idToken"]["idToken"] for entry in command[4].get("localAuthorizationList", ())]


def test_a_station_without_a_list_is_sent_all_of_it_signed_when_it_says_so(talk: Talk) -> None:
    talk.ledger.drivers.put([Driver("04A2", ("a", "b"))], START_MS)
    assert talk.hello() == [], "it has not said what it has"
    (whole,) = talk.has(NONE)
    assert whole[3] == "SendLocalList" and whole[4]["updateType"] == "Full" and ids(whole) == ["04A2"]
    (entry,) = whole[4]["localAuthorizationList"]
    assert entry["customData"]["groups"] == ["a", "b"] and entry["idTokenInfo"]["groupIdToken"]["idToken"] == "a"
    assert talk.due(1_000) == [], "once"
    assert talk.hello() == [whole], "until it answers, at each connection"


@pytest.mark.promise("S5")
def test_a_change_goes_at_once_to_a_station_that_is_there_and_says_what_is_gone_first(there: Talk) -> None:
    there.put("04A3")
    there.ledger.drivers.remove(["04A1"], START_MS)
    (change,) = there.due()
    assert change[4]["updateType"] == "Differential" and ids(change) == ["04A1", "04A3"]
    assert change[4]["localAuthorizationList"][0]["customData"]["removed"] and change[4]["customData"]["base"] == 1
    there.put("04A4")
    (both,) = there.due()
    assert ids(both) == ["04A1", "04A3", "04A4"] and both[4]["customData"]["base"] == 1, "the first was not answered"
    there.says(change)  # it was on its way already
    (rest,) = there.has({**there.status, "version": 3, "hash": "?"})
    assert ids(rest) == ["04A4"] and rest[4]["customData"]["base"] == 3


@pytest.mark.promise("S4")
def test_a_station_that_has_our_list_is_told_at_each_question_that_it_is_the_newest(there: Talk) -> None:
    assert there.hello() == [] and there.hello(b"boot---2") == []
    (word,) = there.has(there.status)
    assert ids(word) == [] and word[4]["updateType"] == "Differential" and word[4]["versionNumber"] == 1
    assert there.says(word) == [] and there.due(HOUR_MS) == []


def test_a_change_waits_for_a_station_that_has_just_started_to_say_which_list_it_has(there: Talk) -> None:
    there.hello(b"boot---2")
    there.put("04A3")
    assert there.due() == []
    (change,) = there.has({"generation": START_MS // 1000, "version": 1, "hash": "?"})
    assert ids(change) == ["04A3"]


def test_a_long_list_goes_in_parts_a_few_at_a_time_and_is_left_to_arrive_whatever_changes_meanwhile(talk: Talk) -> None:
    talk.ledger.drivers.put([Driver(f"{i:08X}") for i in range(10 * PART_MAX)], START_MS)
    talk.hello()
    first = talk.has(NONE)
    assert [command[4]["customData"]["part"] for command in first] == [1, 2, 3, 4]
    assert talk.due(60_000) == [], "no second copy in the way of the first"
    talk.put("04A3")
    assert talk.due() == []
    waiting, last = first, 4
    while last < 10:
        missing = {"vendorId": "station-agent", "missing": 1}
        talk.says(waiting.pop(0), customData=missing)
        (more,) = talk.due()
        last += 1
        assert more[4]["customData"]["part"] == last and more[4]["versionNumber"] == 1
        waiting.append(more)
    for command in waiting[:-1]:
        talk.says(command, customData=missing)
    assert talk.due() == []
    talk.says(waiting[-1])
    (change,) = talk.due()
    assert ids(change) == ["04A3"] and change[4]["customData"]["base"] == 1
    assert talk.says(change) == [] and talk.has(talk.status)[0][4]["versionNumber"] == 2


def test_a_part_is_bounded_in_bytes_too_so_that_no_message_is_too_long() -> None:
    """32 groups of 255 characters are 33 kB of one driver; a run of cards alike is as short as before."""
    drivers = Ledger(":memory:").drivers
    long = [Driver(f"{i:08X}", tuple(f"{i}-{g}-".ljust(255, "€") for g in range(32))) for i in range(12)]
    each_own = [Driver(f"01{i:06X}", (f"flat-{i}" * 8,), expiry_ms=START_MS) for i in range(1_200)]
    alike = [Driver(f"02{i:06X}", ("fleet",)) for i in range(2 * PART_MAX)]
    for some, fewest in ((long, 3), (each_own, 2), (alike, 2)):
        drivers.put(some, START_MS)
        entries = [list_entry(driver) for driver in some]
        parts = list(parts_of(entries))
        assert fewest <= len(parts) <= 2 * fewest + 1 and list(chain(*parts)) == entries
        assert len(parts) == 2 or some is not alike
    requests = drivers.full(START_MS)
    for words in (None, 0):
        assert all(len(cbor2.dumps(KEYS.encode(each, words=words))) < 90_000 for each in requests)
    assert [each["customData"]["part"] for each in requests] == list(range(1, len(requests) + 1))


def test_parts_that_a_station_has_lost_are_sent_anew(talk: Talk) -> None:
    talk.ledger.drivers.put([Driver(f"{i:08X}") for i in range(2 * PART_MAX)], START_MS)
    talk.hello()
    one, two = talk.has(NONE)
    missing = {"vendorId": "station-agent", "missing": 1}
    talk.says(one, customData=missing)
    talk.says(two, customData=missing)  # of the first it knows nothing any more
    assert [command[4]["customData"]["part"] for command in talk.due()] == [1, 2]


def content(*tokens: str) -> bytes:
    return content_of(list_entry(Driver(token)) for token in tokens)


def compared(talk: Talk, command: list[Any], theirs: bytes, version: int) -> list[list[Any]]:
    assert command[3] == "DataTransfer" and command[4]["messageId"] == CONTENT
    said = {"generation": talk.status["generation"], "version": version, "content": b64encode(theirs).decode()}
    talk.says(command, data=said)
    return talk.due()


@pytest.mark.promise("S4")
def test_a_list_that_says_something_else_under_our_version_is_compared_and_what_differs_is_sent(there: Talk) -> None:
    (question,) = there.has({**there.status, "hash": "0" * 64})
    (mend,) = compared(there, question, content("04A1"), 1)
    assert ids(mend) == ["04A2"] and mend[4]["versionNumber"] == 2 and mend[4]["customData"]["base"] == 1
    assert mend[4]["customData"]["hash"] == hash_of(content("04A1", "04A2"))
    assert there.says(mend) == [] and there.due() == []


def test_a_difference_that_does_not_fit_is_mended_and_if_that_fails_the_whole_list_is_sent_once(there: Talk) -> None:
    there.put("04A3")
    (change,) = there.due()
    there.says(change, status="Failed")
    (question,) = there.due()
    (mend,) = compared(there, question, content("04A1"), 1)
    assert ids(mend) == ["04A2", "04A3"] and mend[4]["versionNumber"] == 2, "from where it is"
    there.says(mend, status="Failed")
    (whole,) = there.due()
    assert whole[4]["updateType"] == "Full"
    there.says(whole, status="Failed")
    assert there.due(HOUR_MS) == []
    assert there.has({"generation": START_MS // 1000, "version": 1, "hash": "?"}) != [], "until it asks again"


def test_a_cloud_that_was_restored_begins_a_generation_by_its_operators_word_and_not_before(there: Talk) -> None:
    ahead = {"generation": START_MS // 1000, "version": 50, "hash": "?"}
    assert there.has(ahead) == [] and there.ledger.lists.ahead() == [(STATION, (START_MS // 1000, 50))]
    there.ledger.drivers.new_generation(START_MS + 5_000)
    (whole,) = there.due()
    assert whole[4]["updateType"] == "Full" and whole[4]["customData"]["generation"] > START_MS // 1000
    assert there.says(whole) == [] and there.ledger.lists.ahead() == []


def test_a_station_whose_storage_is_new_is_not_sent_what_was_on_its_way_to_the_old_one(talk: Talk) -> None:
    talk.ledger.drivers.put([Driver(f"{i:08X}") for i in range(2 * PART_MAX)], START_MS)
    talk.hello()
    old = talk.has(NONE)
    assert talk.hello(b"boot---2", b"epoch--2") == []
    new = talk.has(NONE)
    assert len(new) == 2 and not {command[1] for command in old} & {command[1] for command in new}


@pytest.mark.parametrize("status", [None, {}, [], {"generation": "1", "version": 2, "hash": ""}, {"version": 1}, "x"])
def test_a_word_about_a_list_that_cannot_be_read_is_rejected_and_changes_nothing(there: Talk, status: Any) -> None:
    before = there.ledger.db.execute("SELECT * FROM station").fetchall()
    data = {"vendorId": "station-agent", "messageId": STATUS, **({} if status is None else {"data": status})}
    (answer,) = say(there.cloud, "v", cbor2.dumps([7, "DataTransfer", data]))
    assert there.ledger.keys.decode(cbor2.loads(answer.payload)[1]) == {"status": "Rejected"}
    assert there.ledger.db.execute("SELECT * FROM station").fetchall() == before
