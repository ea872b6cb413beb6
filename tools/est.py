"""A small EST server (RFC 7030, simplereenroll only) for tests and the reference cloud. Imports nothing of `agent`.

It lets in whoever has a certificate of our CA, even an expired one (X509_V_FLAG_NO_CHECK_TIME), and signs a new one for
the same name. Who may not come back (sold, stolen) is for `sign` to say: it raises Refused.
"""

import ssl
from base64 import b64decode, encodebytes
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from tools.tlsserver import TlsServer

PATH = "/.well-known/est/simplereenroll"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
REQUEST_MAX_B = 16_384
SILENT_S = 10.0


class Refused(Exception):
    """No certificate for this one."""


Sign = Callable[[str, x509.CertificateSigningRequest], list[x509.Certificate]]  # common name, its request: the chain


class EstServer(TlsServer):
    """Serves from start() to stop(), on 127.0.0.1; `ca` signed our certificate's (`cert`, `key`) and the clients'."""

    def __init__(self, ca: Path, cert: Path, key: Path, sign: Sign, port: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
        self.sign = sign
        super().__init__(Handler, context, port=port)


class Handler(BaseHTTPRequestHandler):
    timeout = SILENT_S
    server: EstServer

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != PATH or not length.isdigit() or int(length) > REQUEST_MAX_B:
            return self.send_error(404 if self.path != PATH else 400)
        body = self.rfile.read(int(length))
        try:
            name = common_name(x509.load_der_x509_certificate(self.connection.getpeercert(True)).subject)
            csr = x509.load_der_x509_csr(b64decode(b"".join(body.split()), validate=True))
            if not csr.is_signature_valid or common_name(csr.subject) != name:
                return self.send_error(400, "the request is for another name, or not signed by its key")
            chain = self.server.sign(name, csr)
        except Refused as error:
            return self.send_error(403, str(error))
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
            return self.send_error(400)
        answer = encodebytes(pkcs7.serialize_certificates(chain, Encoding.DER))
        self.send_response(200)
        self.send_header("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
        self.send_header("Content-Transfer-Encoding", "base64")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        return None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Whoever signs may log."""


def common_name(subject: x509.Name) -> str:
    """ValueError, if there is not exactly one."""
    (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)
