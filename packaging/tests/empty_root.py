#!/usr/bin/env python3
"""The static binary in a root directory with nothing else in it.

As root with chroot(8), else in a user namespace (`unshare -r`). PLUGIN names
another binary than target/static/session-manager-plugin.
"""

import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading

import support

MIB = 1024 * 1024
NOBODY = 65534


class EmptyRoot(support.Folder):
    """Each test has a fresh root directory that holds the program alone."""

    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        self.root.mkdir()
        shutil.copy2(support.BINARY, self.root / "session-manager-plugin")

    def write(self, path, text):
        """Puts a file into the root directory."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def inside(self, *arguments, user=None, read_only=False):
        """The command that runs the program with the root directory as its `/`."""
        chroot = ["chroot"]
        if user is not None:
            chroot.append(f"--userspec={user}:{user}")
        chroot += [str(self.root), "/session-manager-plugin", *arguments]
        if read_only:
            script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
            return [*namespace("-m"), "sh", "-c", script, str(self.root), *chroot]
        if os.geteuid() == 0:
            return chroot
        return [*namespace(), *chroot]


def namespace(*options):
    """unshare(1) with what this user needs to be allowed to change its root."""
    return ["unshare", *options] if os.geteuid() == 0 else ["unshare", "-r", *options]


def limited(**limits):
    """A function for `preexec_fn` that sets resource limits: `limited(NOFILE=16)`."""

    def set_limits():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return set_limits


class Basics(EmptyRoot):
    """What needs no session."""

    def test_the_binary_asks_for_no_interpreter_and_no_library(self):
        headers = support.checked(["readelf", "-ld", support.BINARY]).decode()
        self.assertNotIn("INTERP", headers)
        self.assertNotIn("(NEEDED)", headers)

    def test_the_binary_is_position_independent_with_a_locked_down_memory_map(self):
        headers = support.checked(["readelf", "-hlW", support.BINARY]).decode()
        self.assertIn("DYN (", headers)
        self.assertIn("GNU_RELRO", headers)
        stack = next(line for line in headers.splitlines() if "GNU_STACK" in line)
        self.assertNotIn("RWE", stack)

    def test_version_and_installation(self):
        self.assert_works(self.inside(), env={"PATH": os.environ["PATH"]})

    def test_an_empty_environment(self):
        # Without even a PATH: chroot is named in full.
        command = self.inside("--version")
        command[0] = shutil.which(command[0])
        result = support.run(command, env={})
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_as_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.assert_works(self.inside(user=NOBODY))

    def test_on_a_read_only_file_system(self):
        if support.run([*namespace("-m"), "true"]).returncode:
            self.skipTest("no mount namespaces here")
        self.assert_works(self.inside(read_only=True))

    def test_with_little_memory_few_descriptors_and_a_small_stack(self):
        # chroot(8) has a stack and libraries of its own to fit into these limits.
        self.assert_works(
            self.inside(),
            preexec_fn=limited(AS=16 * MIB, NOFILE=8, STACK=64 * 1024),
        )

    def test_with_closed_standard_streams(self):
        # Rust's start code puts /dev/null where a standard stream is closed, so that
        # no socket ever becomes number 1; without such a file it aborts.
        self.write("/dev/null", "")
        command = self.inside("--version")
        result = support.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command])
        self.assertIn(result.returncode, (0, 1))

    def test_bad_calls_end_with_a_reason(self):
        result = support.run(self.inside("{", "eu-west-1", "StartSession"))
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"Cannot perform start session: ", result.stdout)


class Sessions(EmptyRoot):
    """Sessions with the sandbox, over TLS, with nothing but the program and its roots."""

    sandbox = None

    @classmethod
    def setUpClass(cls):
        if not support.SANDBOX.exists():
            raise AssertionError(f"{support.SANDBOX} is not there: cargo build --workspace")
        cls.state = tempfile.TemporaryDirectory()
        exports = pathlib.Path(cls.state.name) / "environment"
        # Its first line comes when all is ready.
        os.mkfifo(exports)
        cls.sandbox = subprocess.Popen(
            [support.SANDBOX, "--quiet", "--unpaced", "--env", exports], stdin=subprocess.DEVNULL
        )
        words = shlex.split(exports.read_text().replace("export ", ""))
        cls.variables = dict(word.split("=", 1) for word in words)

    @classmethod
    def tearDownClass(cls):
        cls.sandbox.terminate()
        cls.sandbox.wait()
        cls.state.cleanup()

    def setUp(self):
        super().setUp()
        # The program gets these and no others: no HOME, no TMPDIR. PATH is for chroot(8).
        self.environment = dict(self.variables, PATH=os.environ["PATH"])
        authorities = pathlib.Path(self.environment.pop("AWS_CA_BUNDLE")).read_text()
        self.write("/ca.pem", authorities)
        self.environment["AWS_CA_BUNDLE"] = "/ca.pem"
        self.authorities = authorities

    def shell(self, environment=None, limits=None, **options):
        """A shell session whose input comes from a pipe."""
        command = self.inside("start-session", "--target", support.INSTANCE, **options)
        return support.run(
            command,
            env=environment or self.environment,
            input=b"echo $((6 * 7))\nexit\n",
            preexec_fn=limits,
        )

    def assert_shell_works(self, **options):
        """What the remote shell says arrives."""
        result = self.shell(**options)
        self.assertEqual(result.returncode, 0, result)
        self.assertRegex(result.stdout, rb"(?m)^42\r?$")
        self.assertIn(b"Exiting session with sessionId: ", result.stdout)

    def assert_port_works(self, limits=None, **options):
        """A port session carries bytes both ways, and ends at SIGINT."""
        with support.Echo() as server:
            ports = f"0:{server.port}"
            command = self.inside(
                "port-forward", "--once", "--target", support.INSTANCE, ports, **options
            )
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=limits,
            )
            with process:
                head = b""
                while not (opened := re.search(rb"Port (\d+) opened", head)):
                    line = process.stdout.readline()
                    if not line:
                        self.fail((head, process.stderr.read()))
                    head += line
                sent = bytes(range(256)) * 4096
                address = ("127.0.0.1", int(opened[1]))
                with socket.create_connection(address, timeout=support.PATIENCE_S) as client:
                    writer = threading.Thread(target=client.sendall, args=(sent,))
                    writer.start()
                    received = b""
                    while len(received) < len(sent):
                        part = client.recv(65536)
                        self.assertTrue(part, f"closed after {len(received)} bytes")
                        received += part
                    writer.join()
                self.assertEqual(received, sent)
                process.send_signal(signal.SIGINT)
                rest, complaints = process.communicate(timeout=support.PATIENCE_S)
                self.assertEqual(process.returncode, 0, (rest, complaints))

    def test_shell(self):
        self.assert_shell_works()

    def test_port(self):
        self.assert_port_works()

    def test_as_nobody(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.assert_shell_works(user=NOBODY)
        self.assert_port_works(user=NOBODY)

    def test_on_a_read_only_file_system(self):
        if support.run([*namespace("-m"), "true"]).returncode:
            self.skipTest("no mount namespaces here")
        self.assert_shell_works(read_only=True)

    def test_with_little_memory_few_descriptors_and_a_small_stack(self):
        tight = limited(AS=48 * MIB, NOFILE=24, STACK=64 * 1024)
        self.assert_shell_works(limits=tight)
        self.assert_port_works(limits=tight)

    def test_roots_where_systems_keep_them(self):
        del self.environment["AWS_CA_BUNDLE"]
        for place in ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"):
            with self.subTest(place):
                self.write(place, self.authorities)
                self.assert_shell_works()
                (self.root / place.lstrip("/")).unlink()

    def test_roots_named_by_ssl_cert_file(self):
        del self.environment["AWS_CA_BUNDLE"]
        self.environment["SSL_CERT_FILE"] = "/ca.pem"
        self.assert_shell_works()

    def test_roots_that_are_missing_are_an_error_that_says_so(self):
        del self.environment["AWS_CA_BUNDLE"]
        result = self.shell()
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stderr, rb"(?i)certificate|roots?\b|AWS_CA_BUNDLE|SSL_CERT_FILE")

    def test_a_named_file_of_roots_that_is_missing_is_an_error_with_the_variable(self):
        for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
            with self.subTest(variable):
                environment = dict(self.environment)
                environment.pop("AWS_CA_BUNDLE")
                environment[variable] = "/not/there.pem"
                result = self.shell(environment=environment)
                self.assertEqual(result.returncode, 1, result)
                self.assertIn(variable.encode(), result.stderr)

    def test_names_from_the_hosts_file(self):
        for name in ("localhost", "api.sandbox.test"):
            with self.subTest(name):
                self.write("/etc/hosts", f"127.0.0.1 {name}\n")
                self.use_name(name)
                self.assert_shell_works()

    def test_names_from_a_name_server(self):
        try:
            server = Names()
        except PermissionError:
            self.skipTest("only root can be a name server")
        with server:
            self.write("/etc/resolv.conf", f"nameserver {server.ADDRESS}\n")
            self.use_name("api.sandbox.test")
            self.assert_shell_works()
            self.assertIn(b"\x03api\x07sandbox\x04test\x00", b"".join(server.questions))

    def test_a_name_that_nobody_knows_is_an_error_that_names_it(self):
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        # Nobody answers there: port unreachable, at once.
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.use_name("nowhere.sandbox.test")
        result = self.shell()
        self.assertEqual(result.returncode, 1, result)
        self.assertIn(b"nowhere.sandbox.test", result.stderr)

    def use_name(self, name):
        """Calls the sandbox's API by a name in place of its address."""
        url = self.variables["AWS_ENDPOINT_URL"]
        self.environment["AWS_ENDPOINT_URL"] = url.replace("127.0.0.1", name)


class Names(socketserver.UDPServer):
    """A name server on loopback: every name is 127.0.0.1."""

    #: An address that no other name server of the machine has.
    ADDRESS = "127.0.0.153"

    class Handler(socketserver.BaseRequestHandler):
        """One question."""

        def handle(self):
            question, connection = self.request
            self.server.questions.append(question)
            end = question.index(b"\0", 12) + 5
            (kind,) = struct.unpack("!H", question[end - 4 : end - 2])
            answers = kind == 1
            header = question[:2] + struct.pack("!HHHHH", 0x8180, 1, answers, 0, 0)
            answer = b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 60, 4, 127, 0, 0, 1)
            connection.sendto(
                header + question[12:end] + (answer if answers else b""), self.client_address
            )

    def __init__(self):
        super().__init__((self.ADDRESS, 53), self.Handler)
        self.questions = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *failure):
        self.shutdown()
        super().__exit__(*failure)


if __name__ == "__main__":
    support.main()
