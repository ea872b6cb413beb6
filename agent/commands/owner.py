"""What the owner decides, as the cloud brings it: reservations, access policy, plan tokens.

Each command is read whole, taken or refused whole, and answered in the same commit. HANDLERS is the list of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec

from agent import farewell, reporting
from agent.clock import earliest, read_time, wall
from agent.commands import variables
from agent.commands.answers import Handler, said, with_owner
from agent.events import OwnerRequested
from agent.life import is_owned
from agent.policy import access, activation, display_message, plan_token, reservation
from agent.policy.activation import Activation
from agent.policy.id_token import normalised
from agent.policy.plan_token import Token
from agent.policy.reservation import Answer, Reservation
from agent.policy.tariff import choice, terms
from agent.policy.tariff.terms import TariffRefused
from agent.reporting import answer
from agent.station import Station
from agent.taps import Step
from agent.terms import ports_of
from agent.ui.words import LANGUAGES
from agent.uplink.codec import to_cbor
from agent.wizard import readiness

# -- reservations -----------------------------------------------------------------------------------------------------


def reserve_now(station: Station, event: OwnerRequested, now: float) -> Step:
    request: Mapping[str, Any] = event.request
    token, group = request["idToken"], request.get("groupIdToken")
    if no_at_all := why_no_reservation(station, request):
        return said(station, event, answer("Rejected", *no_at_all), now)
    expires_s = read_time(request["expiryDateTime"])
    if expires_s is None:
        return said(station, event, answer("Rejected", "InvalidValue", "expiryDateTime is no time"), now)
    try:
        evse_id = reservation.of_type(
            request.get("evseId") or None, request.get("connectorType"), station.machine.connectors
        )
    except LookupError as error:
        return said(station, event, answer("Rejected", "UnknownConnectorType", str(error)), now)
    new = Reservation(
        request["id"], canonical(token), expires_s, evse_id, group["idToken"] if group else None,
        wall(station.clock, now),
    )  # fmt: skip
    kept, status = reservation.reserve(station.owner.reservations, new, ports_of(station), station.clock, now)
    if status is Answer.REJECTED:
        why = f"EVSEs here are 1 to {len(station.ports)}, an expiry lies ahead, at most {reservation.RESERVATIONS_MAX}"
        return said(station, event, answer(status, "InvalidValue", why), now)
    return said(with_owner(station, reservations=kept), event, {"status": status}, now)


def why_no_reservation(station: Station, request: Mapping[str, Any]) -> tuple[str, str] | None:
    """OCPP's reasonCode and a sentence; None: it may be made, if there is a port."""
    if not station.settings.reservations:
        return "NotEnabled", "this station takes no reservations: set ReservationCtrlr.Enabled"
    if not request["idToken"]["idToken"].strip():
        return "InvalidIdToken", "a reservation is for somebody: send an idToken that is not empty"
    return None


def canonical(token: Mapping[str, Any]) -> str:
    text: str = token["idToken"]
    return (normalised(text) or text) if token["type"] == "ISO14443" else text


def cancel_reservation(station: Station, event: OwnerRequested, now: float) -> Step:
    kept = reservation.cancelled(station.owner.reservations, event.request["reservationId"])
    if kept is None:
        return said(station, event, answer("Rejected", "InvalidValue", "there is no such reservation here"), now)
    return said(with_owner(station, reservations=kept), event, {"status": "Accepted"}, now)


# -- who and when -----------------------------------------------------------------------------------------------------


def access_policy(station: Station, event: OwnerRequested, now: float) -> Step:
    """An older version than the one in force is a repetition that came late; no data at all takes the policy away."""
    if event.request is None:
        return said(with_owner(station, access=None), event, {"status": "Accepted"}, now)
    try:
        policy = access.read(event.request)
    except access.Refused as refused:
        return said(station, event, answer("Rejected", "InvalidValue", str(refused)), now)
    if why := is_older(station, policy):
        return said(station, event, answer("Rejected", "OldVersion", why), now)
    return said(with_owner(station, access=access.ready(policy)), event, {"status": "Accepted"}, now)


def is_older(station: Station, policy: access.Policy) -> str:
    """Than the one in force, and what to send instead; "" if it is not."""
    held = station.owner.access
    if held is None or held.policy.policy_id != policy.policy_id or policy.version >= held.policy.version:
        return ""
    return f"version {held.policy.version} of {policy.policy_id} is in force: send a newer one"


# -- the plan ---------------------------------------------------------------------------------------------------------


def plan_token_came(station: Station, event: OwnerRequested, now: float) -> Step:
    """`request`: the claims of a token whose signature is right, or a text that says why it is not."""
    try:
        station = with_token(station, event.request, now)
    except plan_token.Refused as refused:
        return said(station, event, answer("Rejected", "InvalidToken", str(refused)), now)
    return said(station, event, {"status": "Accepted"}, now)


def with_token(station: Station, claims: Any, now: float) -> Station:
    """`claims`, or a text that says why there are none. plan_token.Refused."""
    if isinstance(claims, str):
        raise plan_token.refusal(claims)
    token = plan_token.read(claims, station.settings.station_id)
    tokens = plan_token.taken(station.owner.tokens, token, station.clock, now)
    return with_owner(station, tokens=tokens, standing=plan_token.plan(tokens, station.clock, now).standing)


def plan_token_judged(station: Station, claims: Any, now: float) -> Token | plan_token.Refused:
    """The token that is to be taken, or why it is not."""
    try:
        with_token(station, claims, now)
    except plan_token.Refused as refused:
        return refused
    return plan_token.read(claims, station.settings.station_id)


def plan_token_brought(station: Station, claims: Any, now: float) -> Step:
    """By somebody at the station. The cloud is told, for it may not know that it was used."""
    try:
        after = with_token(station, claims, now)
    except plan_token.Refused:
        return station, ()
    if after.owner.tokens is station.owner.tokens:
        return station, ()
    return after, (reporting.token_record(after, after.owner.tokens[-1], now),)


ON_ITS_WAY = answer(
    "Rejected", "NotReady", "the station is on its way from its last owner: wait until it has delivered what it owes"
)
GIFTS = ("AccessPolicy", "SetDefaultTariff", "GroupTariffs", "SetChargingProfile", "SetDisplayMessage")


def for_whom(station: Station, event: OwnerRequested, now: float) -> Step | None:
    """What would be an owner's is not taken between a Transfer, or FactoryReset, and the wiping: it would go with the
    rest. None: it may come."""
    if station.owner.leaving is None or event.action not in GIFTS:
        return None
    return said(station, event, ON_ITS_WAY, now)


# -- the activation ---------------------------------------------------------------------------------------------------


def activate(station: Station, event: OwnerRequested, now: float) -> Step:
    """The whole of it, or nothing. The same one again changes nothing, whatever has come since."""
    held, digest = station.owner.activation, digest_of(event.request)
    if is_owned(station) and held and held.digest == digest:
        return said(station, event, {"status": "Accepted"}, now)
    try:
        new, parts = activation.read(event.request)
        after = with_activation(station, replace_digest(new, digest))
        for name, value in parts.items():
            after = READERS[name](after, value, now)
    except (activation.Refused, access.Refused, plan_token.Refused, TariffRefused) as refused:
        return said(station, event, answer("Rejected", "InvalidValue", str(refused)), now)
    if station.owner.leaving:
        return said(station, event, ON_ITS_WAY, now)
    is_new = held is None or not is_owned(station)
    if is_new and (why := readiness.why_not(station, now)):
        return said(station, event, answer("Rejected", "NotReady", why), now)
    return said(after, event, {"status": "Accepted"}, now)


def digest_of(request: Any) -> str:
    return sha256(to_cbor(request)).hexdigest()[:32]


def replace_digest(new: Activation, digest: str) -> Activation:
    return msgspec.structs.replace(new, digest=digest)


def with_activation(station: Station, new: Activation) -> Station:
    """The station is its owner's from here on; what drivers read of him is of the cloud's layer."""
    layer = {**station.cloud, "activated": True, "owner": new.owner}
    cloud, settings = variables.with_cloud(station.ceiling or station.settings, layer)
    station = replace(station, cloud=cloud, settings=settings)
    rules = station.owner.access
    if rules and new.visibility is not None:  # the newer word
        rules = replace(rules, policy=msgspec.structs.replace(rules.policy, visible=None))
    return with_owner(
        station, access=rules, activation=new, is_transferred=False, is_reset=False,
        is_reservable=new.reservable, is_free_after_plan=new.after_plan == "free",
    )  # fmt: skip


def activated_access(station: Station, said: Any, now: float) -> Station:
    policy, new = access.read(said), station.owner.activation
    if why := is_older(station, policy):
        raise access.Refused(why)
    if new and policy.visible and new.visibility not in (None, policy.visible):
        raise access.Refused(f"visibility is {new.visibility} here and {policy.visible} in the access policy")
    return with_owner(station, access=access.ready(policy))


def activated_groups(station: Station, said: Any, now: float) -> Station:
    return with_owner(station, group_tariffs=choice.read_group_tariffs(said))


def activated_default(station: Station, said: Any, now: float) -> Station:
    """At each EVSE."""
    evse_ids, at_s = [port.evse_id for port in station.ports], earliest(station.clock, now)
    defaults = choice.with_default(station.owner.default_tariffs, evse_ids, 0, terms.read(said), at_s)
    return with_owner(station, default_tariffs=defaults)


READERS: dict[str, Callable[[Station, Any, float], Station]] = {
    "accessPolicy": activated_access,
    "planToken": with_token,
    "groupTariffs": activated_groups,
    "defaultTariff": activated_default,
}
assert READERS.keys() == set(activation.PARTS)


# -- and its end ------------------------------------------------------------------------------------------------------


def transfer(station: Station, event: OwnerRequested, now: float) -> Step:
    """Again, it changes nothing: the wait does not begin anew."""
    if station.owner.is_transferred:
        return said(station, event, {"status": "Accepted"}, now)
    order = event.request or {}
    is_known = isinstance(order, Mapping) and not order.keys() - {"waitS"}
    wait_s = order.get("waitS", farewell.WAIT_S) if is_known else None
    if type(wait_s) is not int or not 0 <= wait_s <= farewell.WAIT_MAX_S:
        why = f"data: {{waitS: 0 to {farewell.WAIT_MAX_S}}}"
        return said(station, event, answer("Rejected", "InvalidValue", why), now)
    return said(farewell.ordered(station, wait_s, now), event, {"status": "Accepted"}, now)


def factory_reset(station: Station, event: OwnerRequested, now: float) -> Step:
    if any(port.transaction for port in station.ports):
        why = "a session runs: end it, then send this again"
        return said(station, event, answer("Rejected", "TxInProgress", why), now)
    return said(farewell.ordered(station, 0, now, is_reset=True), event, {"status": "Accepted"}, now)


# -- what the display says --------------------------------------------------------------------------------------------


def set_message(station: Station, event: OwnerRequested, now: float) -> Step:
    running = {port.transaction.transaction_id: port.evse_id for port in station.ports if port.transaction}
    try:
        new = display_message.read(event.request["message"], LANGUAGES, running, len(station.ports))
        messages = display_message.with_message(station.owner.messages, new, station.clock, now)
    except display_message.Rejected as rejected:
        return said(station, event, answer(rejected.status, rejected.code, rejected.why), now)
    return said(with_owner(station, messages=messages), event, {"status": "Accepted"}, now)


def get_messages(station: Station, event: OwnerRequested, now: float) -> Step:
    """The answer says whether there are any; they follow as NotifyDisplayMessages."""
    request: Mapping[str, Any] = event.request
    wanted = request.get("id"), request.get("priority"), request.get("state")
    found = display_message.matching(station.owner.messages, *wanted)
    records = reporting.messages_records(station, request["requestId"], [each.said for each in found], now)
    station, answered = said(station, event, {"status": "Accepted" if found else "Unknown"}, now)
    return station, (*answered, *records)


def clear_message(station: Station, event: OwnerRequested, now: float) -> Step:
    kept = display_message.without(station.owner.messages, event.request["id"])
    if len(kept) == len(station.owner.messages):
        return said(station, event, answer("Unknown", "NotFound", "there is no such message here"), now)
    return said(with_owner(station, messages=kept), event, {"status": "Accepted"}, now)


HANDLERS: dict[str, Handler] = {
    "ReserveNow": reserve_now,
    "CancelReservation": cancel_reservation,
    "AccessPolicy": access_policy,
    "PlanToken": plan_token_came,
    "Activation": activate,
    "Transfer": transfer,
    "SetDisplayMessage": set_message,
    "GetDisplayMessages": get_messages,
    "ClearDisplayMessage": clear_message,
    "FactoryReset": factory_reset,
}
