"""A client of the broker that hears every station, in the cloud's place."""

import queue
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

TIMEOUT_S = 30.0


class Listener:
    """`heard` is every (topic, payload) from a station; subscribed when this returns."""

    def __init__(self, pki: Path, port: int) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        subscribed: queue.Queue[None] = queue.Queue()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "devcloud", protocol=paho.MQTTv5)
        self.client.tls_set(str(pki / "ca.pem"), str(pki / "cloud.pem"), str(pki / "cloud.key"))
        self.client.on_connect = lambda client, *_: client.subscribe("u/#", 1)
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.on_message = lambda _client, _data, said: self.heard.put((said.topic, bytes(said.payload)))
        self.client.connect("localhost", port)
        self.client.loop_start()
        subscribed.get(timeout=TIMEOUT_S)

    def say(self, topic: str, payload: bytes, qos: int = 0) -> None:
        self.client.publish(topic, payload, qos)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()  # paho leaves its wake-up sockets to the garbage collector
