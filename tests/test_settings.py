"""Layers of settings: who may set what, that limits only go down, and that every value knows where it came from."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import (
    BOUNDS,
    SETTINGS,
    Config,
    ConfigError,
    Layer,
    Merged,
    Settings,
    ceiling,
    checked,
    expected,
    fitted,
    merge,
    read_config,
)

EXAMPLE = Path(__file__).parent.parent / "config/example.toml"
SHOWN = ("owner", "support_number", "tariff_text", "tariff_text_offline", "total_cost_text")  # to people, as it was set
LIMITS = sorted(key for key, setting in SETTINGS.items() if setting.lowers_only)
OVER_DEFAULTS = [Layer.BOARD, Layer.CONFIG, Layer.WIZARD, Layer.CLOUD]


def values_of(key: str) -> st.SearchStrategy[Any]:
    kind = type(getattr(Settings(), key))
    if key == "station_id":
        return st.from_regex(r"[A-Za-z0-9-]{1,36}", fullmatch=True)
    if key == "time_zone":
        return st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
    if key == "site_point":
        return st.sampled_from(["", "52.520008, 13.404954", "-90,180", "0.5, -179.999999999"])
    if get_origin(BOUNDS[key]) is Literal:
        return st.sampled_from(get_args(BOUNDS[key]))
    if kind is bool:
        return st.booleans()
    if key in SHOWN:
        return st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=40)
    if kind is str:
        return st.text(max_size=40)
    meta = next(arg for arg in BOUNDS[key].__metadata__ if isinstance(arg, msgspec.Meta))
    assert meta.ge is not None and meta.le is not None
    return st.integers(int(meta.ge), int(meta.le)).map(kind)


def layer_of(layer: Layer) -> st.SearchStrategy[dict[str, Any]]:
    keys = sorted(key for key, setting in SETTINGS.items() if layer in setting.layers)
    return st.fixed_dictionaries({}, optional={key: values_of(key) for key in keys})


LAYERS = st.fixed_dictionaries({}, optional={layer: layer_of(layer) for layer in OVER_DEFAULTS})


def refused(text: str, where: str = "/etc/c.toml") -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(text, where)
    assert where in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def merged_or_none(layers: dict[Layer, dict[str, Any]]) -> Merged | None:
    try:
        return merge(layers)
    except ConfigError:  # a config file above its board
        return None


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_default_is_within_its_own_bounds_and_somebody_may_set_it() -> None:
    for key, setting in SETTINGS.items():
        assert fitted(getattr(Settings(), key), BOUNDS[key], key) == getattr(Settings(), key)
        assert setting.layers and setting.meaning
        assert Layer.DEFAULTS not in setting.layers
        assert "to" in expected(BOUNDS[key]) or not key.endswith(("_ma", "_s", "_dc", "_wh"))


def test_every_limit_in_milliampere_only_goes_down() -> None:
    assert {key for key in SETTINGS if key.endswith("_ma")} <= set(LIMITS)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("key", SHOWN)
@pytest.mark.parametrize("layer", [Layer.CONFIG, Layer.CLOUD])
def test_a_text_for_the_display_is_one_plain_line(key: str, layer: Layer) -> None:
    good = "<b>{owner}</b> & 0,3 €/kWh · شركة · 办公室"  # marks mean nothing: it is shown as text
    for text in (good, "", "\u200fשלום", "x" * 40):
        assert checked(layer, key, text) == text
    for char in "\n\x1b\x00\x7f\x9b\u2028\u2029\u202a\u202e\u2066\u2069\ud800":
        with pytest.raises(ConfigError, match=f"{key} = .* type a text in quotes, .* without control characters"):
            checked(layer, key, f"a{char}b")
    with pytest.raises(ConfigError, match="at most"):
        checked(layer, key, "x" * 251)


# -- merging -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S11")
@given(LAYERS)
def test_no_layer_over_the_board_raises_an_electrical_limit(layers: dict[Layer, dict[str, Any]]) -> None:
    merged, board = merged_or_none(layers), merge({k: v for k, v in layers.items() if k is Layer.BOARD})
    for key in LIMITS if merged else ():
        assert merged and getattr(merged.settings, key) <= getattr(board.settings, key)


@pytest.mark.promise("S11")
@given(LAYERS, layer_of(Layer.CLOUD))
def test_whatever_the_cloud_sets_no_limit_is_higher_than_without_it(
    layers: dict[Layer, dict[str, Any]], cloud: dict[str, Any]
) -> None:
    layers.pop(Layer.CLOUD, None)
    without, with_ = merged_or_none(layers), merged_or_none({**layers, Layer.CLOUD: cloud})
    assert (without is None) == (with_ is None)
    for key in LIMITS if without and with_ else ():
        assert without and with_ and getattr(with_.settings, key) <= getattr(without.settings, key)


@given(LAYERS)
def test_every_value_comes_from_the_strongest_layer_that_set_it_and_says_so(
    layers: dict[Layer, dict[str, Any]],
) -> None:
    if (merged := merged_or_none(layers)) is None:
        return
    assert merged.sources.keys() == SETTINGS.keys()
    for key, origin in merged.sources.items():
        said = {Layer.DEFAULTS: getattr(Settings(), key)} | {k: v[key] for k, v in layers.items() if key in v}
        assert getattr(merged.settings, key) == said[origin.layer]
        stronger = [layer for layer in said if layer > origin.layer]
        assert not stronger or SETTINGS[key].lowers_only
        assert len([sentence for sentence in merged.ignored if f" {key} " in sentence]) >= len(stronger)


@given(LAYERS)
def test_merging_what_was_merged_again_by_its_sources_gives_the_same(layers: dict[Layer, dict[str, Any]]) -> None:
    if (merged := merged_or_none(layers)) is None:
        return
    again: dict[Layer, dict[str, Any]] = {Layer.BOARD: layers.get(Layer.BOARD, {})}  # what it allows stays
    for key, origin in merged.sources.items():
        if origin.layer > Layer.BOARD:
            again.setdefault(origin.layer, {})[key] = getattr(merged.settings, key)
    assert merge(again).settings == merged.settings
    assert merge(again).sources == merged.sources
    assert merge(again).ignored == ()


def test_the_order_is_that_of_the_layers_not_of_the_mapping() -> None:
    layers = {Layer.CLOUD: {"owner": "cloud"}, Layer.CONFIG: {"owner": "file"}}
    merged = merge(layers, {Layer.CLOUD: 7.0})
    assert merged.settings.owner == "cloud"
    assert merged.sources["owner"].layer is Layer.CLOUD
    assert merged.sources["owner"].at == 7.0
    assert merged.sources["free"].layer is Layer.DEFAULTS


def test_the_wizard_goes_over_the_config_file_but_never_over_the_board() -> None:
    layers: dict[Layer, dict[str, Any]] = {
        Layer.BOARD: {"circuit_limit_ma": 40_000},
        Layer.CONFIG: {"circuit_limit_ma": 16_000},
    }
    below = ceiling(layers, Layer.WIZARD)
    assert checked(Layer.WIZARD, "circuit_limit_ma", 32_000, below) == 32_000
    with pytest.raises(ConfigError, match="40000 or less"):
        checked(Layer.WIZARD, "circuit_limit_ma", 40_001, below)
    layers[Layer.WIZARD] = {"circuit_limit_ma": 32_000}
    assert merge(layers).settings.circuit_limit_ma == 32_000
    with pytest.raises(ConfigError, match="32000 or less"):
        checked(Layer.CLOUD, "circuit_limit_ma", 32_001, ceiling(layers, Layer.CLOUD))


def test_a_config_file_above_its_board_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"circuit_limit_ma = 40000 .* type 32000 or less"):
        merge({Layer.BOARD: {"circuit_limit_ma": 32_000}, Layer.CONFIG: {"circuit_limit_ma": 40_000}})


@pytest.mark.promise("S8")
def test_a_stored_value_that_this_build_does_not_know_is_left_out_and_the_station_starts() -> None:
    merged = merge({Layer.CLOUD: {"colour": "red", "owner": "X", "phases": 1, "ev_connection_timeout_s": 1e9}})
    assert merged.settings == Settings(owner="X")
    assert len(merged.ignored) == 3
    assert all("the cloud" in sentence for sentence in merged.ignored)


# -- the config file ---------------------------------------------------------------------------------------------------


def test_the_example_is_valid_and_its_paths_start_from_its_folder() -> None:
    config = read_config(EXAMPLE.read_text(), "/etc/station-agent/config.toml")
    assert config.broker and config.broker.ca == "/etc/station-agent/ca.pem"
    assert config.broker.cert == config.broker.key == "", "the station makes its own"
    old = EXAMPLE.read_text().replace('ca = "ca.pem"', 'ca = "ca.pem"\ncert = "s.pem"\nkey = "s.key"')
    broker = read_config(old, "/etc/station-agent/config.toml").broker
    assert broker and (broker.cert, broker.key) == ("/etc/station-agent/s.pem", "/etc/station-agent/s.key")
    assert config.operator == {"operator": "/etc/station-agent/operator.pub"}
    assert config.paths.state == "/var/lib/station-agent"
    assert merge({Layer.CONFIG: config.layer()}).settings.station_id == "SA-0001"


def test_a_station_without_identity_has_a_config_too() -> None:
    config = read_config("", "c.toml")
    assert config == Config()
    assert merge({Layer.CONFIG: config.layer()}).settings == Settings()


@pytest.mark.promise("S9")
def test_every_mistake_is_one_sentence_that_names_file_key_and_what_to_type() -> None:
    assert "did you mean station?" in refused("[statoin]")
    assert "did you mean circuit_limit_ma?" in refused("[settings]\ncircut_limit_ma = 16_000")
    assert "circuit_limit_ma = 5 cannot be: type a whole number from 6000 to 320000" in refused(
        "[settings]\ncircuit_limit_ma = 5"
    )
    assert "type a whole number" in refused('[settings]\ncircuit_limit_ma = "32A"')
    assert "type true or false" in refused("[settings]\nfree = 1")
    assert "type 1 or 3" in refused("[settings]\nphases = 2")
    assert "from 10 to 600" in refused("[settings]\nev_connection_timeout_s = nan")
    assert "set it by the board file" in refused("[settings]\nsocketed = true")
    assert "[station]" in refused('[settings]\nstation_id = "SA-1"')
    assert "1 to 36 letters, digits and hyphens" in refused('[station]\nstation_id = "a b"')
    assert "1 to 36 letters, digits and hyphens" in refused('[station]\nstation_id = "SA\\n"')
    assert "station_id" in refused('[broker]\nhost = "b"\nca = "a"\ncert = "c"\nkey = "k"')
    mine = '[station]\nstation_id = "SA-1"\n[broker]\nhost = "b"\nca = "a"\n'
    assert "name both, or none" in refused(mine + 'cert = "c"')
    for url in ("http://est", "https://est/path", "https://a b", "est:8443"):
        assert '"https://host:port"' in refused(f'{mine}enrol = "{url}"')
    assert "[broker] ca is missing: add ca = " in refused('[station]\nstation_id = "SA-1"\n[broker]\nhost = "b"')
    assert """type "IP" or "IPV4V6\"""" in refused('[modem]\nport = "/dev/ttyUSB2"\npdp_type = "IPV6"')
    assert "table" in refused("station = 4")
    assert "table" in refused("settings = 4")
    assert "[operator]" in refused("operator = 4")
    assert "[operator] k" in refused("[operator]\nk = 4")
    assert "not valid TOML" in refused("a = [")


@pytest.mark.promise("S9")
@given(st.text(max_size=200) | st.text(alphabet="[]=\"'{}#.,\n 019aebroksting_", max_size=200))
def test_any_text_is_a_config_or_one_sentence(text: str) -> None:
    try:
        read_config(text, "c.toml")
    except ConfigError as error:
        assert "c.toml" in str(error)


@pytest.mark.promise("S9", "S10")
@pytest.mark.parametrize(
    "text", ["x" * 70_000, "a = " + "[" * 5_000, "a = " + "9" * 6_000, "phases = 0x" + "f" * 6_000]
)
def test_a_file_that_is_too_much_is_refused(text: str) -> None:
    refused(text)
    refused("[settings]\n" + text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.promise("S9")
@given(st.sampled_from(Layer), st.sampled_from(sorted(SETTINGS)) | st.text(max_size=20), JSON)
def test_any_value_for_any_key_is_within_bounds_or_refused(layer: Layer, key: str, value: object) -> None:
    try:
        good = checked(layer, key, value)
    except ConfigError as error:
        assert key[:10] in str(error) or repr(key)[1:10] in str(error)
    else:
        assert fitted(good, BOUNDS[key], key) == good
