"""A QR code is drawn from what the view says it holds, once, for every renderer."""

from msgspec.structs import replace

from agent.settings import Settings
from agent.ui.model import PageModel, Prose, Qr
from agent.ui.qr import DATA_MAX, QUIET, drawn, rows
from agent.ui.view import screen
from tests.play import Play

LINK = "https://192.168.4.1:8443/#0123456789abcdef0123456789abcdef"
FINDER = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]


def test_a_code_is_square_with_finders_in_three_corners_and_white_around() -> None:
    code = rows(LINK)
    size = len(code)
    assert size % 4 == 1 and all(len(row) == size and set(row) <= {"0", "1"} for row in code)
    edge, far = slice(QUIET, QUIET + 7), slice(size - QUIET - 7, size - QUIET)
    assert [row[edge] for row in code[edge]] == [row[far] for row in code[edge]] == FINDER
    assert [row[edge] for row in code[far]] == FINDER != [row[far] for row in code[far]]
    assert not any("1" in row for row in code[:QUIET])


def test_another_text_is_another_code() -> None:
    assert rows(LINK) != rows(LINK[:-1] + "0")


def test_nothing_and_too_much_are_no_code() -> None:
    assert rows("") == rows("x" * (DATA_MAX + 1)) == ()
    assert rows("x" * DATA_MAX)


def test_every_code_of_a_page_gets_its_modules_and_nothing_else_changes() -> None:
    bare = screen(Play(Settings()).station, 0.0)
    assert drawn(bare) is bare
    page = PageModel("Phone", (Prose("Scan this."), Qr(LINK, LINK)))
    shown = drawn(replace(bare, content=page))
    assert shown.content == PageModel("Phone", (Prose("Scan this."), Qr(LINK, LINK, rows(LINK))))
    assert replace(shown, content=None) == bare
