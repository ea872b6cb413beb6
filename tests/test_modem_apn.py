"""Access points: in which order they are tried, and what Debian's list gives."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.modem.apn import CANDIDATES_MAX, KNOWN, Access, candidates, same
from agent.modem.providers import providers

XML = """<?xml version="1.0"?><serviceproviders format="2.0"><country code="de"><provider><name>T</name><gsm>
<network-id mcc="262" mnc="01"/><network-id mcc="262" mnc="06"/><network-id mcc="310" mnc="410"/>
<apn value="mms.t-d1.de"><usage type="mms"/></apn>
<apn value="internet.telekom"><usage type="internet"/><username>t</username><password>tm</password></apn>
<apn value="internet.t-d1.de"/></gsm></provider></country></serviceproviders>"""
IMSI = "262011234567890"


def test_debians_list_gives_what_is_for_the_internet_by_network(tmp_path: Path) -> None:
    path = tmp_path / "serviceproviders.xml"
    path.write_text(XML)
    table = providers(path)
    assert set(table) == {"26201", "26206", "310410"}
    assert table["26201"] == (Access("internet.telekom", "t", "tm"), Access("internet.t-d1.de"))
    assert candidates(None, {}, table, None, "310410123456789")[0].apn == "internet.telekom"


def test_a_list_that_is_not_there_or_is_none_is_empty(tmp_path: Path) -> None:
    assert not providers(tmp_path / "none") and not providers(tmp_path)
    for text in (b"", b"<a", b"\xff\xfe", b"<serviceproviders/>"):
        (tmp_path / "x").write_bytes(text)
        assert not providers(tmp_path / "x")


def test_config_then_the_sim_then_its_network_then_none() -> None:
    table = {"26201": (Access("a"), Access("b"))}
    assert candidates(Access("mine"), KNOWN, table, "8988280666", IMSI) == (Access("mine"),)
    assert candidates(None, {"8988": (Access("sim"),)}, table, "8988280", IMSI) == (
        Access("sim"), Access("a"), Access("b"), Access(),
    )  # fmt: skip
    assert candidates(None, {}, {}, None, None) == (Access(),)
    assert candidates(None, {}, {"26201": (Access('x"\r'),)}, None, IMSI) == (Access(),), "it stands in a command"


def test_access_points_are_compared_as_networks_do() -> None:
    assert same("Internet", "internet.mnc001.mcc262.gprs") and same(None, "") and not same("a", "b")


@given(
    st.dictionaries(st.sampled_from(("26201", "262011")), st.lists(st.builds(Access, st.text(max_size=9)), max_size=9)),
    st.text(max_size=20),
    st.text(max_size=16),
)
def test_there_is_always_one_and_never_many(table: dict[str, list[Access]], iccid: str, imsi: str) -> None:
    found = candidates(None, {}, {key: tuple(each) for key, each in table.items()}, iccid, imsi)
    assert 1 <= len(found) <= CANDIDATES_MAX and len(set(found)) == len(found)
