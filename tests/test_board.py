"""A board is one file of facts that checks itself: every board of ours, and every way to get one wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board import BOARDS, Board, load, load_config, read_board
from agent.policy.sharing import CURRENT_MIN_MA
from agent.settings import ConfigError, Layer, Settings, merge
from board.controller import contract

ALL_BOARDS = sorted(BOARDS.glob("*.toml"))
DUO = (BOARDS / "duo_sim.toml").read_text()
NO_READER = DUO.replace('[reader]\nkind = "sim"', "")


def refused(old: str, new: str, text: str = DUO) -> str:
    """What is said about the duo after one edit."""
    assert old in text
    with pytest.raises(ConfigError) as caught:
        read_board(text.replace(old, new), "board/duo_sim.toml")
    assert "board/duo_sim.toml" in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


# -- every board that comes with the software


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_every_board_loads_bears_the_name_of_its_file_and_is_a_layer_of_settings(path: Path) -> None:
    board = load(path)
    assert board.name == path.stem
    merged = merge({Layer.BOARD: board.layer()})
    assert merged.settings.circuit_limit_ma == board.circuit_limit_ma
    assert {key for key, origin in merged.sources.items() if origin.layer is Layer.BOARD} == board.layer().keys()


@pytest.mark.promise("S11")
@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_every_board_can_hold_its_circuit_when_the_host_is_silent(path: Path) -> None:
    board = load(path)
    assert len(board.port) <= contract.PORTS_MAX
    assert len(board.port) * Settings().failsafe_ma <= board.circuit_limit_ma
    assert all(CURRENT_MIN_MA <= port.limit_ma <= contract.CURRENT_MAX_MA for port in board.port)


def test_the_simulated_boards_are_a_tethered_pair_and_a_three_phase_socket() -> None:
    duo, solo = load(BOARDS / "duo_sim.toml"), load(BOARDS / "solo_sim.toml")
    assert (len(duo.port), duo.circuit_limit_ma, duo.phases, duo.layer()["socketed"]) == (2, 32_000, 1, False)
    assert (len(solo.port), solo.phases, solo.layer()["socketed"]) == (1, 3, True)


# -- mistakes


@pytest.mark.promise("S9")
def test_every_mistake_is_one_sentence_that_names_file_key_and_what_to_type() -> None:
    assert "did you mean circuit_limit_ma?" in refused("circuit_limit_ma", "circut_limit_ma")
    assert "[[port]] 1 unknown key 'conector': did you mean connector?" in refused("connector", "conector")
    assert "[controller] unknown key 'ttys': did you mean tty?" in refused("tty", "ttys")
    assert "[reader] kind is missing" in refused('kind = "sim"', "")
    assert "circuit_limit_ma = 500 cannot be: type a whole number from 6000 to 320000" in refused(
        "circuit_limit_ma = 32_000", "circuit_limit_ma = 500"
    )
    assert "limit_ma = '32 A' cannot be: type a whole number from 6000" in refused(
        "\nlimit_ma = 32_000", '\nlimit_ma = "32 A"'
    )
    assert 'type "cType1" or "cType2"' in refused('"cType1"', '"J1772"')
    assert 'tty = "sim"' in refused('tty = "sim"', 'tty = "/dev/ttyS1"')
    assert "[reader] tty is missing" in refused('kind = "sim"', 'kind = "line"')
    assert "led" in refused('led = "port2"', 'led = "port1"')
    assert "the ports differ" in refused('"cType1"\nled = "port2"', '"sType2"\nled = "port2"')
    assert "phases = 1" in refused("phases = 1", "phases = 3")
    assert "[[port]]" in refused("[[port]]", "[[prt]]")
    assert "1 to 4" in refused(DUO, DUO + DUO[DUO.index("[[port]]") :].replace("port1", "x").replace("port2", "y") * 2)
    assert "[reader]: write it as a table" in refused("ventilated", "reader = 3\nventilated", NO_READER)


def test_a_board_that_is_not_there_names_the_ones_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no board file at .*nine\.toml: .*duo_sim\.toml, .*solo_sim\.toml"):
        load(tmp_path / "nine.toml")
    with pytest.raises(ConfigError, match=r"no config file at .*: copy config/example\.toml"):
        load_config(tmp_path / "config.toml")


@pytest.mark.promise("S9")
def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=str(path)):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.promise("S9")
@given(st.integers(0, len(DUO)), st.integers(0, 20), st.text(max_size=10))
def test_a_board_file_damaged_anywhere_is_a_board_or_one_sentence(at: int, cut: int, put: str) -> None:
    try:
        board = read_board(DUO[:at] + put + DUO[at + cut :], "b.toml")
    except ConfigError as error:
        assert "b.toml" in str(error)
    else:
        assert isinstance(board, Board)
        merge({Layer.BOARD: board.layer()})
