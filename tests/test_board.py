"""A board is one file of facts that checks itself: every board of ours, and every way to get one wrong."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board import BOARDS, Board, load, load_config, read_board
from agent.pintable import pin_table, pins_hash, port_board
from agent.policy.sharing import CURRENT_MIN_MA
from agent.settings import ConfigError, Layer, Settings, merge
from agent.sim.car import Car
from agent.sim.world import STATION_ID, World
from board.controller import contract
from board.controller.app.port import PortBoard
from board.firmware import CONTROLLER

ALL_BOARDS = sorted(BOARDS.glob("*.toml"))
DUO = (BOARDS / "duo_sim.toml").read_text()
CM4, SOLO = (BOARDS / "duo_cm4.toml").read_text(), (BOARDS / "solo_modbus.toml").read_text()
MUX = CM4.replace('rx = "GP1"', 'rx = "GP1"\nmux = ["GP2"]').replace("GP27", "GP26:1").replace('"GP26"', '"GP26:0"')
MEASURES = CM4.replace('tx = "GP0"', 'meter = "atm90e36"\ntx = "GP0"').replace(
    CM4[CM4.index("[meter]") : CM4.index("[reader]")], ""
)
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


@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_a_car_charges_at_every_port_of_every_board_and_all_of_them_at_once_stay_within_its_circuit(path: Path) -> None:
    board = load(path)
    settings = merge({Layer.BOARD: board.layer(), Layer.CONFIG: {"station_id": STATION_ID}}).settings
    with World(7, settings, ports=len(board.port)).closing() as world:
        world.power_on().run(30)
        cards = [f"04A1B2C{i}" for i in range(1, len(board.port) + 1)]
        world.allow(*cards).run(10)
        for evse_id, card in enumerate(cards, 1):
            car = Car(need_wh=50_000, phases=board.phases, cable_ma=board.port[evse_id - 1].limit_ma)
            world.plug(evse_id, car).run(2)
            world.tap(card)
            world.run_until(lambda: world.is_closed(evse_id), 30)  # noqa: B023
        began_wh = [world.register_wh(evse_id) for evse_id in range(1, len(cards) + 1)]
        offers = [port.offer_ma for port in world.controller.controller.ports]  # type: ignore[union-attr]
        assert all(CURRENT_MIN_MA <= offer <= board.port[0].limit_ma for offer in offers)
        assert sum(offers) <= board.circuit_limit_ma
        world.run(600)
        for evse_id, card in enumerate(cards, 1):
            had_wh = world.register_wh(evse_id) - began_wh[evse_id - 1]
            hour_wh = 230 * board.phases * board.port[0].limit_ma / 1000
            least = CURRENT_MIN_MA / board.port[0].limit_ma
            assert 0.9 * least * hour_wh / 6 <= had_wh <= hour_wh * (600 + 60 * len(cards)) / 3600
            world.tap(card)
            world.run_until(lambda: not world.is_closed(evse_id), 30)  # noqa: B023
            assert world.unplug(evse_id) or world.run(5).unplug(evse_id)  # a lock opens first
        world.run(60)
        assert world.is_equal() and len(world.cloud.sessions) == len(cards)


def test_the_simulated_boards_are_a_tethered_pair_and_a_three_phase_socket() -> None:
    duo, solo = load(BOARDS / "duo_sim.toml"), load(BOARDS / "solo_sim.toml")
    assert (len(duo.port), duo.circuit_limit_ma, duo.phases, duo.layer()["socketed"]) == (2, 32_000, 1, False)
    assert (len(solo.port), solo.phases, solo.layer()["socketed"]) == (1, 3, True)


# -- the controller's pin table


def table_of(board: Board) -> dict[str, object]:
    """The module `pins`, as the firmware imports it."""
    module: dict[str, object] = {}
    exec(pin_table(board), module)
    return module


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_the_pin_table_is_python_for_the_controller_and_the_same_each_time(path: Path) -> None:
    board = load(path)
    module = table_of(board)
    assert pin_table(board) == pin_table(load(path)) and module["BOARD"] == board.name
    assert module["CIRCUIT_MAX_MA"] == board.circuit_limit_ma
    assert pins_hash(board) in (module["HASH"], "")
    for port, row in zip(board.port, module["PORTS"], strict=True):  # type: ignore[call-overload]
        assert vars(PortBoard(**row["board"])) == vars(port_board(board, port))


@pytest.mark.promise("S1")
def test_the_hash_changes_with_every_fact_of_the_firmware_and_with_nothing_else() -> None:
    board = read_board(CM4, "b.toml")
    same = [("duo_cm4", "other"), ("ttyAMA3", "ttyUSB7"), ("line = 17", "line = 18"), ("port1", "left")]
    for old, new in same:
        assert pins_hash(read_board(CM4.replace(old, new), "b.toml")) == pins_hash(board)
    other = [
        ('pilot_pwm = "GP6"', 'pilot_pwm = "GP18"'), ('emergency_stop = "GP5"\n', ""), ("63_000", "62_000"),
        ("limit_ma = 32_000", "limit_ma = 31_000"), ("ventilated = false", "ventilated = true"),
        ("voltage_max_mv = 253_000", "voltage_max_mv = 254_000"), ("cType2", "cType1\"\ntemperature_max_dc = 800 #"),
    ]  # fmt: skip
    hashes = {pins_hash(read_board(CM4.replace(old, new).replace("cType1", "cType2"), "b.toml")) for old, new in other}
    assert len(hashes | {pins_hash(board)}) == len(other) + 1


def signals_read() -> tuple[set[str], set[str]]:
    """What the RP2040's port layer asks of STATION, and of a port's pins."""
    tree = ast.parse((CONTROLLER / "port_rp2.py").read_text())
    found: dict[str, set[str]] = {"station": set(), "where": set()}
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(id=table), slice=ast.Constant(value=str(signal))) if table in found:
                found[table].add(signal)
            case ast.Assign(targets=[ast.Name(id="OUTPUTS" | "INPUTS" | "LEDS")], value=names):
                words = (each.value for each in ast.walk(names) if isinstance(each, ast.Constant))
                found["where"] |= {word for word in words if isinstance(word, str)}
    return found["station"], found["where"]


@pytest.mark.parametrize("text", [CM4, MUX, SOLO, MEASURES], ids=["cables", "multiplexer", "socket", "measures"])
def test_the_chips_port_layer_reads_each_signal_of_the_table_and_no_other(text: str) -> None:
    module: Any = table_of(read_board(text, "b.toml"))
    of_station, of_port = signals_read()
    assert len(of_station) > 5 and len(of_port) > 8
    assert module["STATION"].keys() == of_station
    assert all(port["pins"].keys() == of_port for port in module["PORTS"])


def test_a_signal_in_the_table_is_the_pin_of_the_board_file() -> None:
    module: Any = table_of(read_board(MUX, "b.toml"))
    assert module["STATION"] == {
        "emergency_stop": 5, "uart": 0, "tx": 0, "rx": 1, "baud": 115_200, "mux": (2,), "pilot_mv": (-15_000, 15_000),
        "meter": None,
    }  # fmt: skip
    first, second = (port["pins"] for port in module["PORTS"])
    assert first["pilot"] == (26, 0) and first["temperature"] == (26, 1) and second["pilot"] == (28, 0)
    assert first["contactor"] == 7 and first["lock"] is None and first["proximity"] is None
    assert table_of(read_board(MEASURES, "b.toml"))["STATION"]["meter"] == "atm90e36"  # type: ignore[index]
    assert not module["PORTS"][0]["board"]["metered"], "its meter is on Linux' side"


def test_a_light_is_linuxs_or_the_controllers_as_the_board_file_says() -> None:
    assert read_board(CM4, "b.toml").lights_at_controller == (False, False)
    head, _, second = CM4.split("[[led]]")
    pinned = head.replace('pilot = "GP26"\n', 'pilot = "GP26"\nled_red = "GP17"\nled_green = "GP18"\n')
    board = read_board(f"{pinned}[[led]]{second}", "b.toml")
    assert board.lights_at_controller == (True, False)
    assert table_of(board)["PORTS"][0]["pins"]["led_green"] == 18  # type: ignore[index]
    assert board_of("duo_sim").lights_at_controller == (True, True), "where nothing is wired, all of them"
    assert board_of("solo_virt").lights_at_controller == (False,)


def board_of(name: str) -> Board:
    return load(BOARDS / f"{name}.toml")


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


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        (CM4, 'chip = "rp2040"\n', "", "type chip"),
        (CM4, 'chip = "rp2040"', 'chip = "unix"', "[controller.pins] belongs to chip"),
        (CM4, "pilot_pwm", "pilot_pmw", "[[port]] 1 pins unknown key 'pilot_pmw': did you mean pilot_pwm?"),
        (CM4, 'pilot_pwm = "GP12"', 'pilot_pwm = "GP6"', "pin GP6 is used twice, by pilot_pwm of port 1 and pilot_pwm"),
        (CM4, 'pilot_pwm = "GP12"', 'pilot_pwm = "GP22"', "PWM channel 6 is used twice"),
        (CM4, 'pilot = "GP26"', 'pilot = "GP20"', "pilot of port 1: GP20 cannot measure: type GP26"),
        (CM4, 'pilot = "GP26"', 'pilot = "GP30"', 'type a pin of the controller in quotes, "GP0" to "GP29"'),
        (CM4, 'pilot = "GP26"', 'pilot = "GP26:1"', "pilot of port 1: GP26:1 is no position of mux: remove it, or add"),
        (MUX, 'pilot = "GP26:0"', 'pilot = "GP26"', "pin GP26 is used twice, by pilot of port 1 and the multiplexer"),
        (MUX, 'pilot = "GP26:0"', 'pilot = "GP26:1"', "pin GP26:1 is used twice, by pilot of port 1 and temperature"),
        (MUX, 'pilot = "GP26:0"', 'pilot = "GP26:2"', "pilot of port 1: GP26:2 is no position of mux"),
        (MUX, 'mux = ["GP2"]', 'mux = ["GP6"]', "pin GP6 is used twice, by mux 0 of the controller and pilot_pwm"),
        (CM4, "pilot_mv = [-15_000, 15_000]", "pilot_mv = [15_000, 15_000]", "type the lower voltage first"),
        (CM4, 'rx = "GP1"', 'rx = "GP19"', "GP0 and GP19 are no UART"),
        (CM4, 'tx = "GP0"', 'tx = "GP0"\nmeter = "atm90e36"', "belongs to a controller that measures energy: remove"),
        (MEASURES, 'meter = "atm90e36"\n', "", "add it, the module that reads its metering chips, or describe another"),
        (CM4, 'gf_test = "GP10"', 'gf_test = "GP10"\nlock = "GP25"', "lock of port 1 belongs to a socket: remove it"),
        (SOLO, 'lock = "GP11"\n', "", 'lock of port 1 belongs to a socket: type lock = "GP…"'),
        (CM4, "line = 27", "line = 17", "line 17 of pinctrl-bcm2711 is used twice"),
        (CM4, 'tty = "/dev/ttyAMA4"', 'tty = "/dev/ttyAMA3"', "/dev/ttyAMA3 is used twice, by [controller]"),
        (CM4, 'led = "port2"', 'led = "porto2"', "no [[led]] is named porto2: add it, or type led = 'port1' or"),
        (CM4, 'pilot = "GP26"\n', 'pilot = "GP26"\nled_red = "GP17"\n', "port1 is a [[led]] and has led pins"),
        (CM4, 'pilot = "GP26"\n', 'pilot = "GP26"\nled_red = "GP7"\n', "pin GP7 is used twice"),
        (CM4, 'red = "port2:red"', 'red = "port1:red"', "/sys/class/leds/port1:red is used twice"),
        (CM4, "evse_id = 2", "evse_id = 3", "there is no port 3: type evse_id = 1 to 2"),
        (CM4, "evse_id = 2", "evse_id = 1", "the button of port 1 is used twice"),
        (CM4, 'role = "fan"', 'role = "contactor"', "name the hardware that opens it without Linux, dropped_by"),
        (CM4, "safe = true", "safe = false", "a modem without supply calls nobody"),
        (CM4, 'kind = "pn532"', 'kind = "pn523"', '[reader] kind = \'pn523\' cannot be: type "line" or "pcsc"'),
        (CM4, 'device = "rtc0"', 'device = "/dev/rtc0"', "[rtc] device"),
        (CM4, "voltage_max_mv = 253_000", "voltage_max_mv = 200_000", "voltage_min_mv is not below"),
        (CM4, "[[led]]", "[led]\n[[led]]", "TOML"),
        (CM4, "[[port]]", "[[prot]]", "unknown key 'prot': did you mean port?"),
        (CM4, "[controller]", "[controler]", "unknown key 'controler': did you mean controller?"),
        (CM4, CM4[CM4.index("[controller]") : CM4.index("[[port]]")], "", "controller is missing: add it as a table"),
        (CM4, "phases = 3", "phases = = 3", "(at line 6, column 10): correct it there"),
        (CM4, "circuit_limit_ma = 63_000", "circuit_limit_ma = 31_000", "less than the limit_ma = 32000 of a port"),
        (SOLO, "\nlimit_ma = 32_000", "\nlimit_ma = 64_000", "sType2 carries at most 63000 mA on 3 ph"),
        (DUO, "\nlimit_ma = 32_000", "\nlimit_ma = 80_001", "limit_ma = 80001 cannot be"),
        (CM4, "pilot_mv = [-15_000, 15_000]", "pilot_mv = [0, 3_300]", "type at most -12600 and at least 12600"),
        (SOLO, "scale = 1_000.0", "scale = 0.0", "type a number above 0, at most 1000000"),
        (CM4, 'tty = "/dev/ttyAMA4"', 'tty = "ttyAMA4"', 'tty = \'ttyAMA4\' cannot be: type "/dev/…", the path of a'),
        (CM4, 'tty = "/dev/ttyAMA4"', 'tty = "/dev/x/../ttyAMA3"', 'cannot be: type "/dev/…", the path of a device'),
        (CM4, 'tty = "/dev/ttyAMA4"', 'tty = "/dev//ttyAMA3"', 'cannot be: type "/dev/…", the path of a device'),
        (CM4, "description = \"", "description = \"\\u001b[31m", "type a line of text in quotes, at most 100"),
        (CM4, "line = 27", "line = 17", "is used twice, by fan and light"),
        (SOLO, "units = [1]", "units = [1, 2]", "[meter] has 2 units: name 1, one for each port"),
        (SOLO, "units = [1]", "units = [0]", "a list in [ ], each of it a whole number from 1 to 247"),
        (SOLO, "phases = 3", "phases = 1", "[meter] has registers of 3 phases: describe 1"),
        (SOLO, "address = 72, type", "adress = 72, type", "[meter] energy_wh unknown key 'adress': did you mean"),
        (SOLO, 'address = 6, type = "float32"', 'address = 6, type = "float16"', "[meter] current_ma 1 type"),
    ],
)
def test_facts_that_contradict_each_other_are_one_sentence_that_says_what_to_type(
    text: str, old: str, new: str, words: str
) -> None:
    assert old in text
    with pytest.raises(ConfigError) as caught:
        read_board(text.replace(old, new, 1), "b.toml")
    said = str(caught.value)
    assert words in said and said.startswith("b.toml") and "\n" not in said


def test_a_power_contactor_on_linux_is_taken_with_the_hardware_that_drops_it() -> None:
    text = CM4.replace('role = "fan"', 'role = "contactor"\ndropped_by = "watchdog relay K2, 1 s"')
    assert read_board(text, "b.toml").output[0].dropped_by == "watchdog relay K2, 1 s"


def test_a_board_that_is_not_there_names_the_ones_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no board file at .*nine\.toml: name another, .*duo_sim\.toml, .*solo_sim"):
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


@pytest.mark.promise("S9", "S10")
def test_a_file_without_end_is_refused_and_one_with_nothing_in_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/dev/zero: more than 65536 bytes are no file of ours"):
        load(Path("/dev/zero"))
    (tmp_path / "b.toml").touch()
    with pytest.raises(ConfigError, match="is empty: type station-agent board new --from"):
        load(tmp_path / "b.toml")


def test_a_file_saved_by_an_editor_on_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "duo_cm4.toml"
    path.write_bytes(b"\xef\xbb\xbf" + CM4.replace("\n", "\r\n").encode())
    assert load(path) == read_board(CM4, "b.toml")


@pytest.mark.parametrize(
    ("connector", "phases", "most_ma"), [("cType1", 1, 80_000), ("cType2", 1, 70_000), ("cType2", 3, 63_000)]
)
def test_a_port_has_the_limit_that_its_connector_carries_and_no_more(connector: str, phases: int, most_ma: int) -> None:
    def limited(limit_ma: int) -> Board:
        text = DUO.replace("cType1", connector).replace("phases = 1", f"phases = {phases}")
        return read_board(text.replace("= 32_000", f"= {limit_ma}"), "b.toml")

    assert limited(most_ma).port[0].limit_ma == most_ma
    with pytest.raises(ConfigError, match=rf"{connector} carries at most {most_ma} mA|cannot be: type .* to 80000"):
        limited(most_ma + 1)


TEXTS = [path.read_text() for path in ALL_BOARDS]


def is_board_or_sentence(text: str) -> None:
    try:
        board = read_board(text, "b.toml")
    except ConfigError as error:
        assert str(error).startswith("b.toml") and len(str(error)) < 2_000
    else:
        merge({Layer.BOARD: board.layer()})
        assert pin_table(board)


@pytest.mark.promise("S9")
@given(st.sampled_from(TEXTS), st.data())
def test_a_board_file_damaged_anywhere_is_a_board_or_one_sentence(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    is_board_or_sentence(text[:at] + data.draw(st.text(max_size=10)) + text[at + data.draw(st.integers(0, 20)) :])


@pytest.mark.promise("S9")
@given(st.sampled_from(TEXTS), st.data())
def test_a_board_file_with_any_line_lost_doubled_or_moved_is_a_board_or_one_sentence(
    text: str, data: st.DataObject
) -> None:
    lines = text.splitlines()
    i, k = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    what = data.draw(st.sampled_from(["lost", "doubled", "moved"]))
    line = lines.pop(i) if what != "doubled" else lines[i]
    if what != "lost":
        lines.insert(k, line)
    is_board_or_sentence("\n".join(lines))


plain = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["sim", "modbus", "GP1", "rp2040"])
)
keys = st.text(max_size=5)
values = st.recursive(plain, lambda each: st.lists(each, max_size=3) | st.dictionaries(keys, each, max_size=3))
fields = st.sampled_from(Board.__struct_fields__)


def toml_file(facts: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {toml(value)}" for key, value in facts.items())


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return str(value)


@pytest.mark.promise("S9")
@given(st.dictionaries(fields, values, max_size=20), st.sampled_from(["", *TEXTS]))
def test_any_value_of_any_key_is_a_board_or_one_sentence(tables: dict[str, object], others: str) -> None:
    """Alone, or where the other facts are right."""
    is_board_or_sentence(toml_file({**tomllib.loads(others), **tables}))


@pytest.mark.promise("S9")
@given(st.sampled_from(TEXTS), st.data())
def test_any_value_deep_in_a_right_file_is_a_board_or_one_sentence(text: str, data: st.DataObject) -> None:
    facts = tomllib.loads(text)
    at: Any = facts
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            at[key] = data.draw(values)
            break
        at = at[key]
    is_board_or_sentence(toml_file(facts))


@pytest.mark.parametrize("path", ALL_BOARDS, ids=lambda path: path.stem)
def test_a_board_that_was_read_and_written_anew_is_the_same(path: Path) -> None:
    assert read_board(toml_file(tomllib.loads(path.read_text())), "b.toml") == load(path)
