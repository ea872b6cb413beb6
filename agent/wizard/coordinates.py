"""Where the station is, as people write it: typed, pasted from a map, a plus code. Pure; WGS 84.

`parse` takes what map programs, phones and papers give, and refuses in one sentence what could mean two places. It
never guesses: a pair whose commas are read in two ways, or one letter without the other, is asked for again. Whether
latitude and longitude are the wrong way round, only the places know (agent/wizard/places.py).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import asin, cos, hypot, isfinite, pi, radians, sin, sqrt
from urllib.parse import unquote_plus

TEXT_MAX = 2_000  # characters: a map's link with all that it carries
EARTH_M = 6_371_008.8  # mean radius, IUGG; a sphere is 0.3 % off, which is 3 mm in a nudge of 1 m
DEGREE_M = EARTH_M * pi / 180  # of latitude
ACCURACY_MIN_M = 1.0  # more digits than a metre's prove nothing
ZERO_DEG = 0.001  # closer than this to 0, 0 is a receiver without a fix
FIX_ACCURACY_M = 10.0  # of a fix that does not say
FIXES_MAX = 600
NUDGE_MAX_M = 1_000.0
STEP_MIN_M = 0.1


class Unread(StrEnum):
    """Why a text is no place, and what to type instead. The sentences are the catalogue's keys."""

    EMPTY = "Type or paste the coordinates, for example 52.520008, 13.404954."
    TOO_LONG = "This text is too long: paste the coordinates or the map link alone."
    UNCLEAR = "These are no coordinates that this station can read: type them like 52.520008, 13.404954."
    ONE_NUMBER = "There is one number only: type latitude and longitude."
    COMMAS = "The commas can be read in two ways: type points, like 52.520008, 13.404954."
    ONE_LETTER = "Write N or S and E or W beside both numbers, or beside none."
    SIGN_AND_LETTER = "A number has a minus and a letter: keep one of them."
    SAME_AXIS = "Both numbers are latitudes or both are longitudes: one of each is needed."
    LETTER_O = "The letter O is east in one language and west in another: write E or W."
    MINUTES = "Minutes and seconds must be below 60, and only the last number may have decimals."
    LATITUDE = "The latitude must be between -90 and 90."
    SWAPPED = "The first number is no latitude: type latitude first, then longitude."
    LONGITUDE = "The longitude must be between -180 and 180."
    ZERO = "0, 0 is in the ocean: the map or the receiver had no position."
    SHORT_CODE = "This plus code is short: copy the full one, with eight characters before the plus."
    CODE = "This plus code has a mistake: copy it again."
    GRID = "UTM and MGRS are not read here: choose decimal degrees in your map."
    LINK = "This link does not show its coordinates: open it, then copy the coordinates from the map."
    DATUM = "Only WGS 84 coordinates are read here."


@dataclass(frozen=True, slots=True)
class Point:
    """Degrees; `accuracy_m` is the radius in which the place is (as far as anybody can tell), None where unknown."""

    latitude: float
    longitude: float
    accuracy_m: float | None = None


def parse(text: str) -> Point | Unread:
    """A place, or why it is none. The accuracy is that of the last digit written, or what a `geo:` link says (u=)."""
    if len(text) > TEXT_MAX:
        return Unread.TOO_LONG
    text = plain(text)
    if not text:
        return Unread.EMPTY
    if text.lower().startswith("geo:"):
        return from_geo(text)
    if LINK.search(text):
        return from_link(text)
    if code := CODE.search(text.upper()):
        return from_code(code[1], code[2])
    return from_words(text)


def checked(latitude: float, longitude: float, accuracy_m: float) -> Point | Unread:
    if not abs(latitude) <= 90:
        return Unread.SWAPPED if abs(latitude) <= 180 and abs(longitude) <= 90 else Unread.LATITUDE
    if not abs(longitude) <= 180:
        return Unread.LONGITUDE
    if abs(latitude) < ZERO_DEG and abs(longitude) < ZERO_DEG:
        return Unread.ZERO
    return Point(latitude, longitude, max(ACCURACY_MIN_M, accuracy_m))


# -- characters -------------------------------------------------------------------------------------------------------

SIGNS = {sign: plain for plain, signs in {
    "°": "º˚∘⁰度",
    "′": "'’‘‛´`ʹʼ＇分",
    "″": '"“”‟〃ʺ＂秒',
    "-": "−–‒—﹣－‐‑",
    ".": "٫",
    ",": "،、，",
    ";": "；؛",
    "N": "北",
    "S": "南",
    "E": "东東",
    "W": "西",
    " ": "纬緯经經",
}.items() for sign in signs}  # fmt: skip


def plain(text: str) -> str:
    """The same in few characters: one kind of each sign, ASCII digits, no invisible ones."""
    text = "".join(SIGNS.get(sign) or digit(sign) for sign in text)
    return " ".join(unicodedata.normalize("NFKC", text).replace("′′", "″").split(" ")).strip()


def digit(sign: str) -> str:
    if sign == "\n":
        return ";"
    if (kind := unicodedata.category(sign)) == "Nd":
        return str(unicodedata.decimal(sign))
    return "" if kind == "Cf" else " " if kind[0] in "CZ" else sign


# -- links ------------------------------------------------------------------------------------------------------------

N = r"([-+]?\d{1,3}(?:\.\d{1,20})?)"
LINK = re.compile(r"^https?:|://|^www\.|^maps\.|\.(?:com|org|net|de|gl)/", re.IGNORECASE)
PAIRS = tuple(  # the pin before the middle of the picture
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"!3d(?P<lat>{N})!4d(?P<lon>{N})",  # Google, a place
        rf"!2d(?P<lon>{N})!3d(?P<lat>{N})",  # Google, embedded
        rf"[?&#]mlat=(?P<lat>{N})&mlon=(?P<lon>{N})",  # OpenStreetMap, a marker
        rf"[?&#](?:coordinate|query|q|ll|daddr|destination|sll|center)=(?:loc:)?(?P<lat>{N}),\s?(?P<lon>{N})",
        rf"[?&#]sp=point\.(?P<lat>{N})_(?P<lon>{N})",  # Bing, a marker
        rf"/(?:place|search|dir//?|l|r)/(?P<lat>{N}),\s?(?P<lon>{N})",  # Google; HERE, shared
        rf"[?&#]lat(?:itude)?=(?P<lat>{N})&(?:lon|lng|longitude)=(?P<lon>{N})",
        rf"[?&#]cp=(?P<lat>{N})~(?P<lon>{N})",  # Bing
        rf"[?&#]map=\d{{1,2}}(?:\.\d+)?/(?P<lat>{N})/(?P<lon>{N})",  # OpenStreetMap
        rf"[?&#]map=(?P<lat>{N}),(?P<lon>{N})",  # HERE
        rf"@(?P<lat>{N}),(?P<lon>{N})",  # Google
    )
)
GEO = re.compile(rf"geo:{N},{N}(?:,[-+]?[\d.]{{1,20}})?(?P<rest>(?:[;?].*)?)$", re.IGNORECASE)
SAID = re.compile(r";u=(\d{1,9}(?:\.\d{1,9})?)", re.IGNORECASE)


def from_link(text: str) -> Point | Unread:
    text = plain(unquote_plus(text))
    for pattern in PAIRS:
        if found := pattern.search(text):
            return from_decimals(found["lat"], found["lon"])
    return Unread.LINK


def from_geo(text: str) -> Point | Unread:
    """RFC 5870, and what Android makes of it: `geo:0,0?q=52.5,13.4(Label)`."""
    text = plain(unquote_plus(text))
    found = GEO.match(text.replace(" ", ""))
    if not found:
        return Unread.UNCLEAR
    if (crs := re.search(r";crs=([^;?]*)", found["rest"], re.IGNORECASE)) and crs[1].lower() != "wgs84":
        return Unread.DATUM
    point = from_decimals(found[1], found[2])
    if queried := re.search(rf"[?&]q={N},{N}", found["rest"]):
        point = from_decimals(queried[1], queried[2])
    if isinstance(point, Point) and (said := SAID.search(found["rest"])):
        return Point(point.latitude, point.longitude, min(max(ACCURACY_MIN_M, float(said[1])), EARTH_M))
    return point


def from_decimals(latitude: str, longitude: str) -> Point | Unread:
    return checked(float(latitude), float(longitude), resolution_deg(latitude, longitude) * DEGREE_M)


def resolution_deg(*numbers: str) -> float:
    """Of the last digit, of the number that has fewest."""
    return max(10.0 ** -len(number.partition(".")[2]) for number in numbers)


# -- plus codes -------------------------------------------------------------------------------------------------------

ALPHABET = "23456789CFGHJMPQRVWX"  # Open Location Code, section "Encoding"
CODE = re.compile(r"(?:^|[\s,;])([23456789CFGHJMPQRVWX0]{2,8})\+([23456789CFGHJMPQRVWX]{0,7})(?=$|[\s,;])")


def from_code(head: str, tail: str) -> Point | Unread:
    """The middle of the code's cell; half the cell is its accuracy. Ten digits are 14 m, eleven 3 m."""
    if len(head) < 8:
        return Unread.SHORT_CODE
    digits = head.rstrip("0")
    if "0" in digits or len(digits) % 2 or not digits or len(tail) == 1 or (tail and len(digits) < 8):
        return Unread.CODE
    digits += tail
    latitude, longitude, height, width = -90.0, -180.0, 400.0, 400.0
    for north, east in zip(digits[:10:2], digits[1:10:2], strict=True):  # pairs: twenty by twenty
        height, width = height / 20, width / 20
        latitude, longitude = latitude + ALPHABET.index(north) * height, longitude + ALPHABET.index(east) * width
    for cell in digits[10:]:  # then five rows of four
        row, column = divmod(ALPHABET.index(cell), 4)
        height, width = height / 5, width / 4
        latitude, longitude = latitude + row * height, longitude + column * width
    if latitude >= 90 or longitude >= 180:
        return Unread.CODE
    return checked(latitude + height / 2, longitude + width / 2, height / 2 * DEGREE_M)


# -- degrees, minutes, seconds ----------------------------------------------------------------------------------------

GRID = re.compile(r"^\d{1,2} ?[C-HJ-NP-X] ?(?:[A-HJ-NP-Z]{2}(?: ?\d)+|\d{5,7}(?:\.\d+)?[ ,;]+\d{5,8})")
LETTERED = re.compile(  # 52d31m12s, 52 deg 31 min 12 sec: here an s is seconds; anywhere else it is south
    r"(\d) ?(?:degrees?|deg|d)\.? ?"
    r"(?:(\d{1,2}(?:[.,]\d+)?) ?(?:minutes?|min|m)\.? ?"
    r"(?:(\d{1,2}(?:[.,]\d+)?) ?(?:seconds?|sec|s)(?-i:(?![a-z]))\.? ?)?)?",
    re.IGNORECASE,
)
QUOTED = re.compile(r"″([a-z]+)″", re.IGNORECASE)  # the names in JSON
DASHED = re.compile(r"\d[-+]\d")  # a sign, or the dash of "from to"? Only ISO 6709 (+52.5200+013.4050/) means a sign
WORDS = {word: meaning for meaning, words in {
    "N": "n north nord norte",
    "S": "s south sud sur süd",
    "E": "e east ost est este",
    "W": "w west ouest oeste",
    "lat": "lat latitude latitud breite",
    "lon": "lon lng long longitude longitud länge",
    "O": "o",
}.items() for word in words.split()}  # fmt: skip
TOKEN = re.compile(r"\s*(?:([-+]?\d+(?:\.\d+)?)|([°′″])|([^\W\d_]+)|([,;/|])|[()\[\]{}:=]|\.(?!\d))")
AXIS = {"N": "lat", "S": "lat", "E": "lon", "W": "lon", "lat": "lat", "lon": "lon"}
LETTERS = frozenset("NSEW")
MARKS = "°′″"
SHOWS_MINUTES = {*MARKS, *"NSEWnsew"}
SEPARATORS = frozenset(",;/|")


@dataclass(frozen=True, slots=True)
class Angle:
    axis: str  # lat, lon, "" where nothing says
    degrees: float
    resolution_deg: float


def from_words(text: str) -> Point | Unread:
    text = QUOTED.sub(r"\1", LETTERED.sub(lettered, text))
    if GRID.match(text.upper()):
        return Unread.GRID
    if DASHED.search(text) and text[0] not in "+-":
        return Unread.UNCLEAR
    commas = without_decimal_commas(text)
    if isinstance(commas, Unread):
        return commas
    tokens = tokenised(commas)
    if isinstance(tokens, Unread):
        return tokens
    parts = split(tokens)
    if isinstance(parts, Unread):
        return parts
    first, second = (angle(part) for part in parts)
    if isinstance(first, Angle) and isinstance(second, Angle):
        return joined(first, second)
    refused = first if isinstance(first, Unread) else second
    assert isinstance(refused, Unread)
    return refused if set(text) & SHOWS_MINUTES or refused is not Unread.MINUTES else Unread.UNCLEAR


def lettered(found: re.Match[str]) -> str:
    degree, minutes, seconds = found.groups()
    return f"{degree}°" + (f"{minutes}′" if minutes else "") + (f"{seconds}″" if seconds else "") + " "


def without_decimal_commas(text: str) -> str | Unread:
    """Decimal commas as points. A comma between two digits is one if no point is used and no piece has two."""
    if re.search(r"\d\.\d", text) or not re.search(r"\d,\d", text):
        return text
    pieces = [piece for piece in re.split(r"[\s;/|°′″]+|,(?!\d)|(?<!\d),", text) if re.search(r"\d", piece)]
    if len(pieces) < 2 or any(len(re.findall(r"\d,(?=\d)", piece)) > 1 for piece in pieces):
        return Unread.COMMAS
    return re.sub(r"(?<=\d),(?=\d)", ".", text)


def tokenised(text: str) -> list[str] | Unread:
    """Numbers, marks, N S E W, lat and lon, separators. Anything else is not a coordinate."""
    tokens: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            return Unread.UNCLEAR
        at = found.end()
        number, mark, word, separator = found.groups()
        if word is not None:
            word = WORDS.get(word.lower(), "")
            if word in ("", "O"):
                return Unread.LETTER_O if word and tokens else Unread.UNCLEAR
        if token := number or mark or word or separator:
            tokens.append(token)
    return tokens


def split(tokens: list[str]) -> tuple[list[str], list[str]] | Unread:
    """The two halves, by what tells them apart: letters, labels, a separator, degree signs; else two bare numbers."""
    numbers = sum(is_number(token) for token in tokens)
    if numbers < 2:
        return Unread.ONE_NUMBER if numbers else Unread.UNCLEAR
    letters = [at for at, token in enumerate(tokens) if token in LETTERS]
    if letters:
        tokens = [token for token in tokens if token not in ("lat", "lon")]
        letters = [at for at, token in enumerate(tokens) if token in LETTERS]
        if len(letters) != 2:
            return Unread.ONE_LETTER if len(letters) == 1 else Unread.UNCLEAR
        return halves(tokens, letters[1] if letters[0] == 0 else letters[0] + 1)
    if labels := [at for at, token in enumerate(tokens) if token in AXIS]:
        if len(labels) != 2 or labels[0] != 0:
            return Unread.UNCLEAR
        return halves(tokens, labels[1])
    separators = [at for at, token in enumerate(tokens) if token in SEPARATORS]
    inner = [at for at in separators if 0 < at < len(tokens) - 1]
    if inner:
        return halves(tokens, inner[0]) if len(inner) == 1 else Unread.UNCLEAR
    if degrees := [at for at, token in enumerate(tokens) if token == "°"]:
        return halves(tokens, degrees[1] - 1) if len(degrees) == 2 else Unread.UNCLEAR
    bare = [token for token in tokens if token not in SEPARATORS]
    return ([bare[0]], [bare[1]]) if len(bare) == numbers == 2 else Unread.UNCLEAR


def halves(tokens: list[str], at: int) -> tuple[list[str], list[str]]:
    """Without the separators at their ends."""
    return stripped(tokens[:at]), stripped(tokens[at:])


def stripped(tokens: list[str]) -> list[str]:
    while tokens and tokens[0] in SEPARATORS:
        tokens = tokens[1:]
    while tokens and tokens[-1] in SEPARATORS:
        tokens = tokens[:-1]
    return tokens


def angle(tokens: list[str]) -> Angle | Unread:
    """One half: a letter or label at one end, then degrees, minutes, seconds with or without their marks."""
    named = [token for token in tokens if token in AXIS]
    rest = [token for token in tokens if token not in AXIS]
    if len(named) > 1 or (named and named[0] not in (tokens[0], tokens[-1])):
        return Unread.UNCLEAR
    numbers: list[str] = []
    for before, token in zip(["", *rest], rest, strict=False):
        if is_number(token):
            numbers.append(token)
        elif not (is_number(before) and numbers and token == MARKS[min(len(numbers) - 1, 2)]):
            return Unread.UNCLEAR
    if not 1 <= len(numbers) <= 3:
        return Unread.UNCLEAR
    return measured(named[0] if named else "", numbers)


def measured(name: str, numbers: list[str]) -> Angle | Unread:
    degrees, *smaller = numbers
    is_negative = degrees.startswith("-")
    if name in LETTERS and degrees[0] in "+-":
        return Unread.SIGN_AND_LETTER
    if any(number[0] in "+-" for number in smaller):
        return Unread.UNCLEAR
    if any("." in number for number in numbers[:-1]) or any(float(number) >= 60 for number in smaller):
        return Unread.MINUTES
    value = sum(abs(float(number)) / 60**power for power, number in enumerate(numbers))
    resolution = resolution_deg(numbers[-1]) / 60 ** len(smaller)
    return Angle(AXIS.get(name, ""), -value if is_negative or name in ("S", "W") else value, resolution)


def joined(first: Angle, second: Angle) -> Point | Unread:
    if first.axis and first.axis == second.axis:
        return Unread.SAME_AXIS
    if first.axis == "lon":
        first, second = second, first
    return checked(first.degrees, second.degrees, max(first.resolution_deg, second.resolution_deg) * DEGREE_M)


def is_number(token: str) -> bool:
    return token[-1:].isdigit()


# -- back to text -----------------------------------------------------------------------------------------------------


def decimal(point: Point, digits: int = 6) -> str:
    """`52.520008, 13.404954`; six digits are 11 cm."""
    return f"{point.latitude:.{digits}f}, {point.longitude:.{digits}f}"


def dms(point: Point) -> str:
    """`52°31′12.03″N 13°24′17.83″E`; a hundredth of a second is 31 cm."""
    return f"{sexagesimal(point.latitude, 'NS')} {sexagesimal(point.longitude, 'EW')}"


def sexagesimal(degrees: float, letters: str) -> str:
    hundredths = round(abs(degrees) * 360_000)
    minutes, rest = divmod(hundredths, 6_000)
    return f"{minutes // 60}°{minutes % 60:02d}′{rest // 100:02d}.{rest % 100:02d}″{letters[degrees < 0]}"


# -- metres -----------------------------------------------------------------------------------------------------------


def moved(point: Point, north_m: float, east_m: float) -> Point:
    """So far away, with the same accuracy. A nudge, not a voyage: exact to 0.3 % for some kilometres. Over the date
    line it goes on at the other side; at a pole it stops."""
    latitude = max(-90.0, min(90.0, point.latitude + north_m / DEGREE_M))
    parallel_m = DEGREE_M * max(cos(radians(point.latitude)), 1e-6)
    longitude = point.longitude + max(-180.0, min(180.0, east_m / parallel_m))
    return Point(latitude, wrapped(longitude), point.accuracy_m)


def wrapped(longitude: float) -> float:
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180


def nudged(point: Point, step: str) -> Point | None:
    """`n1` is a metre to the north, `e-0.1` ten centimetres to the west; None if that is no step."""
    found = re.fullmatch(r"([nesw])(-?\d{1,4}(?:\.\d{1,3})?)", step)
    if not found or abs(float(found[2])) > NUDGE_MAX_M:
        return None
    metres = float(found[2]) * (-1 if found[1] in "sw" else 1)
    return moved(point, metres, 0.0) if found[1] in "ns" else moved(point, 0.0, metres)


def distance_m(a: Point, b: Point) -> float:
    """Great circle (haversine), on the mean sphere: within 0.5 %."""
    north, east = radians(b.latitude - a.latitude), radians(b.longitude - a.longitude)
    half = sin(north / 2) ** 2 + cos(radians(a.latitude)) * cos(radians(b.latitude)) * sin(east / 2) ** 2
    return 2 * EARTH_M * asin(sqrt(min(1.0, half)))


def offset_m(origin: Point, point: Point) -> tuple[float, float]:
    """North and east of the origin; for points close to it."""
    east = wrapped(point.longitude - origin.longitude) * cos(radians(origin.latitude))
    return (point.latitude - origin.latitude) * DEGREE_M, east * DEGREE_M


def averaged(fixes: Sequence[Point]) -> Point | None:
    """The mean of a receiver's last fixes, each by its accuracy, without those that leapt; None without a fix.

    The errors of one receiver that stands still go the same way for minutes, so the mean is not called more accurate
    than its fixes are: the accuracy is theirs, or how far they scatter, if that is more.
    """
    good = [fix for fix in fixes[-FIXES_MAX:] if is_place(fix)]
    if not good:
        return None
    offsets = [offset_m(good[0], fix) for fix in good]
    north, east = median(n for n, _ in offsets), median(e for _, e in offsets)
    away = [hypot(n - north, e - east) for n, e in offsets]
    usual = median(away)
    kept = [(fix, at) for fix, at, far in zip(good, offsets, away, strict=True) if far <= 3 * max(usual, accuracy(fix))]
    weights = [accuracy(fix) ** -2 for fix, _ in kept]
    total = sum(weights)
    weighed = [(weight / total, n, e) for weight, (_, (n, e)) in zip(weights, kept, strict=True)]
    north, east = sum(w * n for w, n, _ in weighed), sum(w * e for w, _, e in weighed)
    scatter = sqrt(sum(w * hypot(n - north, e - east) ** 2 for w, n, e in weighed))
    mean = moved(good[0], north, east)
    return Point(mean.latitude, mean.longitude, max(ACCURACY_MIN_M, sqrt(len(kept) / total), scatter))


def median(values: Iterable[float]) -> float:
    """As `statistics` has it, which would bring 0.3 MB of fractions."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return (ordered[half] + ordered[~half]) / 2


def accuracy(fix: Point) -> float:
    return max(ACCURACY_MIN_M, FIX_ACCURACY_M if fix.accuracy_m is None else fix.accuracy_m)


def is_place(point: Point) -> bool:
    """In range, and not where a receiver without a fix says that it is. Who may be anywhere on Earth is nowhere."""
    accuracy_m = 0.0 if point.accuracy_m is None else point.accuracy_m
    is_finite = isfinite(point.latitude) and isfinite(point.longitude)
    return is_finite and isinstance(checked(point.latitude, point.longitude, 0.0), Point) and 0 <= accuracy_m <= EARTH_M
