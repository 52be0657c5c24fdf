#!/usr/bin/env python3
"""What the static binary negotiates: its OpenSSL is built without much, not without too much.

The offer is read from its ClientHello; then it is made to shake hands with servers that
accept one thing only. Calls of the API are used for it: no session is needed.
"""

import os
import socket
import ssl
import struct
import threading

import support

#: Code points of TLS. Groups: the hybrid of ML-KEM, and the curves.
X25519_MLKEM768, X25519, P256, P384 = 0x11EC, 0x001D, 0x0017, 0x0018
TLS12, TLS13 = 0x0303, 0x0304
CIPHERS = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    # For middle boxes that know no better.
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "AES128-GCM-SHA256": 0x009C,
}
WEAK = {"RC4": 0x0005, "3DES": 0x000A, "NULL": 0x0002, "export": 0x0003}

CERTIFICATES = {
    "RSA": ["-newkey", "rsa:2048"],
    "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "Ed25519": ["-newkey", "ed25519"],
}


class Tls(support.Folder):
    """Handshakes with servers on loopback."""

    def certificate(self, kind):
        """A certificate for 127.0.0.1 that signs itself, and its key, as files."""
        files = self.folder / f"{kind}.pem", self.folder / f"{kind}.key"
        support.checked(
            ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=sandbox"]
            + [*CERTIFICATES[kind], "-addext", "subjectAltName=IP:127.0.0.1"]
            + ["-out", files[0], "-keyout", files[1]]
        )
        return files

    def call(self, port, authorities):
        """Makes the program call its API at a port. It cannot succeed: nobody answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_CA_BUNDLE": str(authorities),
            "AWS_ACCESS_KEY_ID": "AKIASANDBOXEXAMPLE00",
            "AWS_SECRET_ACCESS_KEY": "opens/nothing",
            "AWS_REGION": "eu-central-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        url = f"https://127.0.0.1:{port}"
        return support.run(
            [support.BINARY, "start-session", "--target", support.INSTANCE]
            + ["--endpoint-url", url],
            env=environment,
        )

    def serve(self, answer, authorities):
        """Runs the program against `answer(connection)`; gives what that returned first."""
        results = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept():
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        connection.settimeout(support.PATIENCE_S)
                        try:
                            results.append(answer(connection))
                        except OSError as error:
                            results.append(error)

            thread = threading.Thread(target=accept)
            thread.start()
            try:
                self.call(listener.getsockname()[1], authorities)
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
        self.assertTrue(results, "nobody called")
        return results[0]

    def test_what_is_offered(self):
        authorities, _ = self.certificate("P-256")

        def read_hello(connection):
            return connection.recv(16384)

        ciphers, extensions = parse_hello(self.serve(read_hello, authorities))
        for name, code in CIPHERS.items():
            self.assertIn(code, ciphers, name)
        for name, code in WEAK.items():
            self.assertNotIn(code, ciphers, name)
        versions = numbers(extensions[43][1:])
        self.assertLessEqual({TLS12, TLS13}, set(versions))
        groups = numbers(extensions[10][2:])
        self.assertLessEqual({X25519_MLKEM768, X25519, P256, P384}, set(groups))

    def handshake(self, kind, prepare):
        """The cipher that is agreed upon with a server of one kind of certificate."""
        authorities, key = self.certificate(kind)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authorities, key)
        prepare(context)

        def shake(connection):
            with context.wrap_socket(connection, server_side=True) as secured:
                return secured.cipher()

        agreed = self.serve(shake, authorities)
        self.assertIsInstance(agreed, tuple, agreed)
        return agreed

    def test_each_kind_of_certificate(self):
        for kind in CERTIFICATES:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(kind=kind, version=version):

                    def only(context, version=version):
                        context.minimum_version = context.maximum_version = version

                    self.handshake(kind, only)

    def test_each_cipher_of_tls_1_2(self):
        for name in CIPHERS:
            if name.startswith("TLS_"):
                continue
            with self.subTest(name):

                def only(context, name=name):
                    context.maximum_version = ssl.TLSVersion.TLSv1_2
                    context.set_ciphers(name)

                kind = "P-256" if "ECDSA" in name else "RSA"
                self.assertEqual(self.handshake(kind, only)[0], name)

    def test_each_curve(self):
        for curve in ("prime256v1", "secp384r1", "X25519"):
            with self.subTest(curve):
                self.handshake("RSA", lambda context, curve=curve: context.set_ecdh_curve(curve))

    def test_a_certificate_of_somebody_else_is_refused(self):
        authorities, _ = self.certificate("RSA")
        _, key = other = self.certificate("P-256")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(other[0], key)

        def shake(connection):
            with context.wrap_socket(connection, server_side=True) as secured:
                return secured.recv(1)

        self.assertIsInstance(self.serve(shake, authorities), OSError)


def numbers(data):
    """Big-endian 16-bit numbers."""
    return [number for (number,) in struct.iter_unpack("!H", data[: len(data) // 2 * 2])]


def parse_hello(data):
    """The cipher suites, and the extensions by number, of a ClientHello."""
    assert data[0] == 22 and data[5] == 1, data[:6]
    # Record and message headers, version, random.
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    (length,) = struct.unpack_from("!H", data, at)
    ciphers = numbers(data[at + 2 : at + 2 + length])
    at += 2 + length
    at += 1 + data[at]
    at += 2
    extensions = {}
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        extensions[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return ciphers, extensions


if __name__ == "__main__":
    support.main()
