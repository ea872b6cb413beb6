"""The shell: one thread between a broker and `Cloud`. Several of them share the messages, and one database."""

import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tools.cloud.cloud import Cloud, Publish
from tools.cloud.pki import tls_context

TOPICS = "$share/ingest/u/+/+"
SESSION_EXPIRY_S = 3600                 # a broker deals out shared messages to those who are away, too
TURN_S = 0.2
POLL_S = 1.0


class Service:
    """A PUBACK is sent only when what came is committed, so that the broker keeps for us what a crash or a full disk
    interrupts."""

    def __init__(
        self, cloud: Cloud, pki: Path, host: str, port: int, name: str, clock: Callable[[], int] | None = None
    ) -> None:
        """`name` is this consumer's own: the broker keeps its session under it. `clock`: milliseconds since 1970."""
        self.cloud = cloud
        self.clock = clock or clock_ms
        self.address = host, port
        self.inbox: deque[mqtt.MQTTMessage] = deque()       # bounded by the broker's own window towards us
        self.subscribed = False
        self.greeted = False
        api = CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(api, name, protocol=mqtt.MQTTv5, manual_ack=True, reconnect_on_failure=False)
        self.client.tls_set_context(tls_context(pki))
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._ready
        self.client.on_message = lambda _client, _userdata, message: self.inbox.append(message)

    def run(self, stop: threading.Event) -> None:
        """Serves until `stop`, through every loss of broker or disk."""
        pause_s = 0.5
        while not stop.is_set():
            try:
                self._connect()
                self._pump(stop)
                pause_s = 0.5 if self.subscribed else min(pause_s * 2, 10.0)
            except (OSError, sqlite3.OperationalError) as error:
                print(f"devcloud: {error}; trying again", file=sys.stderr, flush=True)
                pause_s = min(pause_s * 2, 10.0)
            self.client.disconnect()
            self.client.drop_out_messages()                 # commands come again from the database
            stop.wait(pause_s)
        self.client._reset_sockets()                        # else the garbage collector does, and complains

    def _connect(self) -> None:
        self.subscribed = False
        self.inbox.clear()                                  # their packet ids died with the connection
        session = properties(PacketTypes.CONNECT, SessionExpiryInterval=SESSION_EXPIRY_S)
        self.client.connect(*self.address, keepalive=30, clean_start=False, properties=session)

    def _connected(self, client: mqtt.Client, _user: object, _flags: object, reason: Any, _extra: object) -> None:
        if reason.is_failure:
            print(f"devcloud: the broker refuses: {reason}", file=sys.stderr, flush=True)
        else:
            client.subscribe(TOPICS, qos=1)

    def _ready(self, _client: mqtt.Client, _user: object, _mid: int, reasons: list[Any], _extra: object) -> None:
        self.subscribed = not any(reason.is_failure for reason in reasons)
        what = "serving" if self.subscribed else "refused by"
        print(f"devcloud: {what} {self.address[0]}:{self.address[1]}", flush=True)

    def _pump(self, stop: threading.Event) -> None:
        poll_at = 0.0
        while not stop.is_set() and self.client.loop(TURN_S) == mqtt.MQTT_ERR_SUCCESS:
            while self.inbox:
                message = self.inbox[0]
                self._publish(self.cloud.receive(message.topic, bytes(message.payload), self.clock()))
                self.client.ack(message.mid, message.qos)
                self.inbox.popleft()
            if not self.subscribed:
                continue
            if not self.greeted:                            # once: a restored database means a new process
                self._publish(self.cloud.greet(self.clock()))
                self.greeted = True
            self._publish(self.cloud.acks(self.clock()))
            if time.monotonic() >= poll_at:
                self._publish(self.cloud.due(self.clock()))
                poll_at = time.monotonic() + POLL_S
        self._publish(self.cloud.acks(self.clock(), every=True))

    def _publish(self, messages: Iterable[Publish]) -> None:
        for message in messages:
            expiry = {}
            if message.expires_ms is not None:
                expiry["MessageExpiryInterval"] = max(1, (message.expires_ms - self.clock()) // 1000)
            extra = properties(PacketTypes.PUBLISH, **expiry)
            self.client.publish(message.topic, message.payload, message.qos, properties=extra)


def properties(packet: int, **values: object) -> Properties:
    made = Properties(packet)           # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def clock_ms() -> int:
    return time.time_ns() // 1_000_000
