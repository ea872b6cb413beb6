"""EST, RFC 7030 §4.2.2: a new certificate from an HTTPS server that still takes the one we have, even expired.

For a station that has slept past its certificate, which no broker lets in any more. One attempt, bounded in time and
size; any thread but the loop's.
"""

import http.client
import socket
import ssl
from base64 import encodebytes
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.certificates import PEM_MAX_B, sentence
from agent.sockets import hang_up

PATH = "/.well-known/est/simplereenroll"
ANSWER_MAX_B = PEM_MAX_B
SILENT_S, WHOLE_S = 10.0, 30.0  # for one answer of the network; for everything
RETRY_AFTER_MAX_S = 86_400.0


class EstError(Exception):
    """No certificate this time; the text says in one sentence why. `retry_after_s`: the server's own wish."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class EstServer:
    """`url`: https://host:port, without a path. `ca`: whom its certificate must lead to, PEM."""

    url: str
    ca: Path

    def reenroll(self, pair: Path, csr: str, whole_s: float = WHOLE_S) -> bytes:
        """The body of the answer: base64 of a PKCS#7, unread. `pair`: our key and certificate in one PEM. EstError."""
        try:
            return self._asked(pair, csr, whole_s)
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a name that DNS cannot hold
            raise EstError(f"{self.url}: {sentence(error)}") from None

    def _asked(self, pair: Path, csr: str, whole_s: float) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # knows nobody but our CA
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # many EST servers are old
        context.load_verify_locations(self.ca)
        context.load_cert_chain(pair)
        where = urlsplit(self.url)
        host, port = where.hostname or "", where.port or 443
        talk = socket.create_connection((host, port), SILENT_S)
        with talk.dup() as line:  # the same connection: TLS takes `talk` over
            over = Timer(min(whole_s, WHOLE_S), hang_up, [line])  # a server that drips a byte now and then
            over.daemon = True
            over.start()
            try:
                with talk, closing(http.client.HTTPSConnection(host, port, timeout=SILENT_S)) as connection:
                    connection.sock = context.wrap_socket(talk, server_hostname=host)
                    return posted(connection, csr)
            finally:
                over.cancel()


def posted(connection: http.client.HTTPSConnection, csr: str) -> bytes:
    body = encodebytes(x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER))
    headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
    connection.request("POST", PATH, body, headers)
    with connection.getresponse() as answer:  # one that is not read to its end keeps the socket open
        said = answer.read(ANSWER_MAX_B + 1)
    if answer.status != 200:
        raise EstError(f"the EST server answers {answer.status}", retry_after_s(answer.getheader("Retry-After", "")))
    if len(said) > ANSWER_MAX_B:
        raise EstError("the EST server answers more than a certificate")
    return said


def retry_after_s(said: str) -> float:
    """RFC 9110 §10.2.3, in seconds; a date, or nonsense, is our own patience."""
    good = said.isascii() and said.isdigit() and len(said) <= 9
    return min(float(said), RETRY_AFTER_MAX_S) if good else 0.0
