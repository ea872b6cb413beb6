"""One charging session as facts. TxStartPoint: authorised and plugged in. TxStopPoint: either gone.

What survives a power cut is exactly `saved(transaction)`: an Ended after the cut reports the last stored reading, so
that the error is never in the owner's favour and at most one sample (S3).
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from agent.policy.tariff import bill as billing
from agent.policy.tariff.bill import Bill
from agent.reading import ChargingState as ChargingState
from agent.reading import Reading as Reading
from agent.reading import reading as reading

LIST_RULE = "allowlist"  # of agent/policy/authorize.py: the list has let it start
TEST_RULE = "test charge"  # the installer's, and nobody's bill


class Trigger(StrEnum):
    """OCPP 2.1 TriggerReasonEnumType: the ones a station of ours can have."""

    ABNORMAL_CONDITION = "AbnormalCondition"
    AUTHORIZED = "Authorized"
    CABLE_PLUGGED_IN = "CablePluggedIn"
    CHARGING_STATE_CHANGED = "ChargingStateChanged"
    DEAUTHORIZED = "Deauthorized"
    ENERGY_LIMIT_REACHED = "EnergyLimitReached"
    EV_DEPARTED = "EVDeparted"
    METER_VALUE_CLOCK = "MeterValueClock"
    METER_VALUE_PERIODIC = "MeterValuePeriodic"
    REMOTE_START = "RemoteStart"
    REMOTE_STOP = "RemoteStop"
    RESET_COMMAND = "ResetCommand"
    STOP_AUTHORIZED = "StopAuthorized"
    TARIFF_CHANGED = "TariffChanged"
    TIME_LIMIT_REACHED = "TimeLimitReached"
    TRIGGER = "Trigger"
    TX_RESUMED = "TxResumed"


class StoppedReason(StrEnum):
    """OCPP 2.1 ReasonEnumType."""

    DE_AUTHORIZED = "DeAuthorized"
    EMERGENCY_STOP = "EmergencyStop"
    EV_DISCONNECTED = "EVDisconnected"
    GROUND_FAULT = "GroundFault"
    IMMEDIATE_RESET = "ImmediateReset"
    LOCAL = "Local"
    MASTER_PASS = "MasterPass"
    OTHER = "Other"
    OVERCURRENT_FAULT = "OvercurrentFault"
    POWER_LOSS = "PowerLoss"
    POWER_QUALITY = "PowerQuality"
    REMOTE = "Remote"
    TIME_LIMIT_REACHED = "TimeLimitReached"


@dataclass(frozen=True, slots=True)
class Ending:
    """Why and since when a transaction is coming to its end; it ends when the contactor is seen open."""

    reason: StoppedReason
    trigger: Trigger
    at: float
    id_token: str | None = None  # the card that stopped it


@dataclass(frozen=True, slots=True)
class Transaction:
    transaction_id: str
    id_token: str  # canonical; "" = a free station asked for none
    token_type: str  # OCPP IdTokenEnumStringType: ISO14443, Central, NoAuthorization
    groups: frozenset[str]
    group_id: str | None
    rule: str  # which rule accepted the start
    started: Reading
    last: Reading  # newest stored one
    unplugs: int  # the controller's count of arrivals in A when last stored
    controller_boot_id: int
    seq_no: int = 0  # of the next message; each number is assigned once
    remote_start_id: int | None = None
    charged: bool = False  # energy has flowed
    energy_cap_wh: int | None = None  # register at which a late refusal ends it (MaxEnergyOnInvalidId)
    refused: str = ""  # its Reason, a plain word on the disk: another build may not know it
    access_rule: str = ""  # of the owner's access policy, which has let it start
    access_policy: str = ""  # its id and version, id@version
    limit_s: int | None = None  # how long it may last, by that rule
    limit_stops: bool = True  # or the driver is only asked to leave
    overstay_s: int | None = None  # how long he may stay and draw nothing
    reservation_id: int | None = None  # that it has used up
    listed: bool = False  # the allowlist has named the card in mid-session, for it
    bill: Bill | None = None  # what it costs, counted up to `last`; None: it has no tariff
    ending: Ending | None = None
    interrupted: bool = False  # a restart happened; whether it resumes is not decided yet

    @property
    def energy_wh(self) -> int:
        return self.last.energy_wh - self.started.energy_wh

    @property
    def was_listed(self) -> bool:
        return self.listed or self.rule == LIST_RULE


def ended_by(
    tx: Transaction, reason: StoppedReason, trigger: Trigger, now: float, id_token: str | None = None
) -> Transaction:
    """Begin the end; the first reason stays the reason."""
    return tx if tx.ending else replace(tx, ending=Ending(reason, trigger, now, id_token))


def saved(tx: Transaction) -> Any:
    """As JSON-like values, for the store. Whether it was interrupted is a fact of one run, not of the disk; its tariffs
    are a fact of their own (agent/core.py), since they are long and never change."""
    fields = msgspec.to_builtins(replace(tx, bill=None))
    del fields["interrupted"], fields["bill"]
    return fields | ({"billed": billing.saved(tx.bill)} if tx.bill else {})


def restored(value: Any, tariffs: Any = None) -> Transaction:
    """The transaction as it was stored, interrupted. Raises msgspec.ValidationError if it cannot be read; a bill that
    cannot says so itself."""
    tx = replace(msgspec.convert(value, Transaction), interrupted=True)
    billed = value.get("billed")
    return tx if billed is None else replace(tx, bill=billing.restored(billed, tariffs))
