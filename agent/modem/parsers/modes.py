"""+CFUN (27.007 8.2), +WS46 (5.9), S-parameters (V.250 5.3.2), ^MODE and other small ones."""

import re

from agent.modem.fields import Fields, at, number, numbers, split

# 27.007 5.9: which radio a terminal may use. 25 was all of 2G and 3G, and is now that of LTE too; 5G has 35.
WS46: dict[int, tuple[str, ...]] = {
    12: ("2g",), 22: ("3g",), 28: ("4g",), 29: ("2g", "3g"), 30: ("2g", "4g"), 31: ("3g", "4g"),
    35: ("2g", "3g", "4g", "5g"), 36: ("5g",), 37: ("4g", "5g"), 38: ("3g", "4g", "5g"), 39: ("2g", "4g", "5g"),
    40: ("3g", "5g"), 41: ("2g", "3g", "5g"), 42: ("2g", "5g"),
}  # fmt: skip
ALL = 25
BARE_WS46 = re.compile(r"\(?\s*[0-9]{2}(?:\s*[,-]\s*[0-9]{2})*\s*\)?")


def cfun(body: str) -> Fields:
    """+CFUN: <fun>[,<rst>]; a test answers the list of them."""
    if "(" in body:
        return {"fun": None, "funs": numbers(body.partition(")")[0])}
    fields = split(body)
    return {"fun": number(fields[0])}


def funs(body: str) -> Fields:
    """What a test of it lists: `(0,1,4),(0,1)`, or, of some, without parentheses."""
    return cfun(body) if "(" in body else {"fun": None, "funs": numbers(body)}


def ws46(body: str) -> Fields:
    """`mode_sets`: what can be chosen, or what is, each once. 25 has 4G where it is alone, or another code of the list
    has; a list without any is of the days when it was 2G and 3G.
    """
    codes = numbers(body)
    is_value = len(codes) == 1 and "(" not in body
    has_lte = is_value or any("4g" in WS46.get(code, ()) for code in codes)
    sets: list[list[str]] = []
    for code in codes:
        said = (("2g", "3g", "4g") if has_lte else ("2g", "3g")) if code == ALL else WS46.get(code, ())
        if said and list(said) not in sets:
            sets.append(list(said))
    return {"mode_sets": sets, "codes": codes}


def bare_ws46(line: str) -> Fields | None:
    return ws46(line) if BARE_WS46.fullmatch(line) else None


def register(line: str) -> Fields | None:
    """An S-parameter (V.250 5.3.2) has three digits."""
    return {"text": line} if re.fullmatch(r"[0-9]{3}", line) else None


class Single:
    """One number, the first."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __call__(self, body: str) -> Fields:
        return {self._field: number(at(split(body), 0))}


def connection(body: str, is_read: bool) -> Fields:
    """+CSCON (27.007 10.1.30): <mode>[,<state>], with <n> in front of it in the answer to a read."""
    return {"connected": number(at(split(body), 1 if is_read else 0))}


def mode(body: str) -> Fields:
    """^MODE: <system>[,<submode>]: Huawei's URC; 0 none, 3 GSM, 5 WCDMA, 7 and 16 LTE and beyond."""
    fields = split(body)
    value = number(fields[0])
    return {"act": {3: 0, 5: 2, 7: 2, 15: 2, 16: 7, 17: 7}.get(value) if value is not None else None, "sysmode": value}


def words(body: str) -> Fields:
    """Nothing but its text."""
    return {"text": body}
