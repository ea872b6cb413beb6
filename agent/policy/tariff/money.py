"""Exact decimals in, minor units of a currency out. No float is ever multiplied or added here."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor

# ISO 4217, what people pay with: no metals, no units of account, no test codes.
CURRENCIES = frozenset(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG".split()
)
NO_MINOR = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
THOUSANDTHS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
assert CURRENCIES >= NO_MINOR | THOUSANDTHS

PLACES_MAX = 6  # OCPP 2.1, type decimal: a station is sent no more
MICROS = 10**PLACES_MAX
AMOUNT_MAX = Decimal(1_000_000_000)  # exclusive: what a price, a tax or a threshold may be
HALF = Fraction(1, 2)


def exponent(currency: str) -> int:
    """Decimal places of the minor unit: 0, 2 or 3."""
    return 0 if currency in NO_MINOR else 3 if currency in THOUSANDTHS else 2


def exact(number: float) -> Decimal | None:
    """What was written as a decimal, of the float that JSON or CBOR made of it: its shortest spelling.

    None, if it is no number from 0 to a billion with at most six places. A sum of floats that somebody has rounded
    badly (0.30000000000000004) is refused: nobody wrote that price.
    """
    value = Decimal(repr(number))
    if not value.is_finite() or not 0 <= value < AMOUNT_MAX:
        return None
    value = value.normalize() + 0  # 12.0 and 1.2E+1 are 12
    return value if value == round(value, PLACES_MAX) else None


def rounded(amount: Fraction) -> int:
    """Half up."""
    return floor(amount + HALF)


def shared_out(total: int, parts: Sequence[Fraction]) -> list[int]:
    """Whole numbers for the parts that add up to `total`, each less than one from its exact value (largest remainder).

    `total` is less than one from their sum. Of equal remainders the first is served first; what is exact stays so.
    """
    whole = [floor(part) for part in parts]
    missing = total - sum(whole)
    assert 0 <= missing <= len(parts), (total, parts)
    for i in sorted(range(len(parts)), key=lambda i: whole[i] - parts[i])[:missing]:
        whole[i] += 1
    return whole


def spelled(minor: int, currency: str) -> str:
    """12.30, 1230 or 1.230, as the currency is written."""
    places = exponent(currency)
    whole, rest = divmod(abs(minor), 10**places)
    return f"{'-' * (minor < 0)}{whole}" + (f".{rest:0{places}}" if places else "")


def number(minor: int, currency: str) -> int | float:
    """The same amount for JSON. A float's shortest spelling is the decimal that it was made of, up to 15 digits."""
    text = spelled(minor, currency)
    return float(text) if minor % 10 ** exponent(currency) else minor // 10 ** exponent(currency)
