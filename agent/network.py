"""Which broker to try (OCPP SetNetworkProfile): the proven one, until a new one has proven itself. Pure.

Slot 0 is the config file's. A profile that the cloud sets is tried at the next connections; the cloud's answer to our
hello, on a connection made to that very address, proves it; three connections without one send the station back to
where it was. Whose certificates are believed is not the cloud's to change: the CA stays the config file's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SLOTS = range(1, 4)  # the cloud's; each holds one address
FAILURES_MAX = 3
ANSWER_S = 120.0  # a connection on trial without a word of the cloud: the broker is there, but nobody behind it
URL = re.compile(r"mqtts://(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::([0-9]{1,5}))?/?")
PORT = 8883

Address = tuple[str, int]  # host, port


@dataclass(frozen=True, slots=True)
class Network:
    slots: tuple[tuple[int, Address], ...] = ()  # what the cloud has set
    proven: int = 0
    trying: int | None = None
    failures: int = 0  # of the one that is tried
    via: int | None = None  # the present connection's
    until: float | None = None  # it is on trial: the cloud has answered by then, or it is given up

    @property
    def order(self) -> tuple[int, ...]:
        """NetworkConfigurationPriority: the first is tried next."""
        return (self.proven,) if self.trying is None else (self.trying, self.proven)

    def address(self, slot: int) -> Address | None:
        """None: what the config file says."""
        return dict(self.slots).get(slot)

    def shown(self, slot: int) -> str:
        """For people."""
        address = self.address(slot)
        return f"network profile {slot} ({f'{address[0]}:{address[1]}' if address else 'the config file'})"


def address_of(url: str) -> Address | None:
    """`mqtts://host[:port]`; None for anything else."""
    match = URL.fullmatch(url)
    if match is None:
        return None
    port = int(match[3] or PORT)
    return (match[1] or match[2], port) if 1 <= port <= 65_535 else None


def with_profile(network: Network, slot: int, address: Address) -> Network:
    """The new profile is tried next. Its slot is not one of `order`: there would be no way back."""
    assert slot in SLOTS and slot not in network.order
    slots = {**dict(network.slots), slot: address}
    via = None if network.via == slot else network.via  # that connection was made to another address
    return replace(network, slots=tuple(sorted(slots.items())), trying=slot, failures=0, via=via, until=None)


def ordered(network: Network, order: tuple[int, ...]) -> Network | None:
    """NetworkConfigurationPriority as the cloud wants it; None if it names a slot that holds nothing."""
    if not order or len(set(order)) < len(order) or any(n and n not in dict(network.slots) for n in order):
        return None
    return replace(network, trying=None if order[0] == network.proven else order[0], failures=0, until=None)


def made(network: Network, address: Address | None, now: float) -> Network:
    """A connection that was begun for this address, which need not be what we would choose by now."""
    known = (*network.order, *dict(network.slots))
    via = next((slot for slot in known if network.address(slot) == address), None)
    is_trial = via is not None and via == network.trying
    return replace(network, via=via, until=now + ANSWER_S if is_trial else None)


def proved(network: Network) -> Network:
    """The cloud has answered, on the present connection."""
    if network.trying is None or network.via != network.trying:
        return network
    return replace(network, proven=network.trying, trying=None, failures=0, until=None)


def ended(network: Network, address: Address | None) -> Network:
    """A connection to this address has ended before the cloud answered, or was not made at all."""
    network = replace(network, via=None, until=None)
    if network.trying is None or network.address(network.trying) != address:
        return network
    if network.failures + 1 < FAILURES_MAX:
        return replace(network, failures=network.failures + 1)
    return replace(network, trying=None, failures=0)


def where_to_connect(network: Network, config: Address) -> Address:
    """For the next connection; `config`: what the config file says."""
    return network.address(network.order[0]) or config


def verdict(before: Network, after: Network) -> str | None:
    """One sentence, if a trial has come to its end: by the cloud's answer, or for want of it."""
    tried = before.trying
    if tried is None or after.trying is not None:
        return None
    if after.proven == tried:
        return f"{before.shown(tried)} is in use: the cloud answers there"
    return f"{before.shown(tried)} has failed {FAILURES_MAX} times: back to {after.shown(after.proven)}"


def saved(network: Network) -> dict[str, Any]:
    return {
        "slots": [[slot, *address] for slot, address in network.slots],
        "proven": network.proven,
        "trying": network.trying,
        "failures": network.failures,
    }


def restored(fact: Any) -> Network:
    """As it was saved; what cannot be read is the config file's broker."""
    if not isinstance(fact, Mapping):
        return Network()
    try:
        slots = {int(slot): (str(host), int(port)) for slot, host, port in fact["slots"]}
        trying = None if fact["trying"] is None else int(fact["trying"])
        network = Network(tuple(sorted(slots.items())), int(fact["proven"]), trying, int(fact["failures"]))
    except (TypeError, KeyError, ValueError):
        return Network()
    return network if all(n == 0 or n in slots for n in network.order) else Network()
