#!/usr/bin/env python3
"""Prints how big the static binary is, what it consists of, and what it needs to start.

    packaging/size.py    reads target/static and target/debug/sandbox (make size builds both)

The figures are of this machine and this moment; nothing is asserted.
"""

import collections
import os
import pathlib
import re
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
BINARY = TARGET / "static" / "session-manager-plugin"
SYMBOLS = BINARY.with_suffix(".symbols")
#: What the design wants, in bytes.
GOAL = 4_500_000
STARTS = 100
LARGEST = 25


def main():
    """Prints all tables."""
    if not SYMBOLS.exists():
        sys.exit(f"{SYMBOLS} is not there: make static")
    size = BINARY.stat().st_size
    print(f"{BINARY}: {size:,} bytes (goal {GOAL:,})\n")
    sections()
    parts()
    start()
    sessions()


def sections():
    """The sections that take most."""
    print("section                        bytes")
    listing = subprocess.check_output(["size", "-A", "-d", SYMBOLS], text=True)
    rows = [line.split() for line in listing.splitlines()]
    rows = [(row[0], int(row[1])) for row in rows if len(row) == 3 and row[1].isdigit()]
    debug = (".symtab", ".strtab", ".shstrtab", ".comment")
    for name, size in sorted(rows, key=lambda row: -row[1])[:10]:
        if not name.startswith(debug):
            print(f"{name:<24} {size:>11,}")
    print()


def parts():
    """Symbols summed up by crate, or by library for C."""
    openssl = library_symbols()
    totals = collections.Counter()
    listing = subprocess.check_output(
        ["nm", "--demangle=auto", "--print-size", "--radix=d", SYMBOLS], text=True
    )
    seen = set()
    for line in listing.splitlines():
        fields = line.split(maxsplit=3)
        if len(fields) != 4 or fields[2] in "bB" or fields[0] in seen:
            continue
        # Several names of one place count once.
        seen.add(fields[0])
        totals[part(fields[3], openssl)] += int(fields[1])
    print("part (named symbols only)      bytes")
    for name, size in totals.most_common(LARGEST):
        print(f"{name:<24} {size:>11,}")
    print()


def library_symbols():
    """The names that OpenSSL's archives define."""
    names = set()
    for archive in (TARGET / "openssl").glob("linux-x86_64-*/lib/*.a"):
        listing = subprocess.check_output(
            ["nm", "--format=posix", archive], text=True, stderr=subprocess.DEVNULL
        )
        for line in listing.splitlines():
            fields = line.split()
            if len(fields) > 2 and fields[1] in "tTrRdD":
                names.add(fields[0])
    return names


def part(symbol, openssl):
    """The crate or library that a symbol belongs to."""
    if symbol in openssl or symbol.partition(".")[0] in openssl:
        return "(openssl)"
    # `<a::B as c::D>::e` belongs to the crate of B.
    path = re.match(
        r"[<&*\[\s]*(?:dyn |mut |const )*([A-Za-z_][A-Za-z0-9_]*)(?:\[[0-9a-f]+\])?::", symbol
    )
    if path:
        return path.group(1)
    return "(other C and data)"


def start():
    """Time and memory of `--version`."""
    times = []
    for _ in range(STARTS):
        before = time.perf_counter()
        subprocess.run([BINARY, "--version"], env={}, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - before)
    times.sort()
    print(
        f"--version: {times[0] * 1000:.2f} ms at best, {times[STARTS // 2] * 1000:.2f} ms median "
        f"of {STARTS}, the caller's share in it; {memory_of_version():,} KiB resident"
    )


def memory_of_version():
    """KiB resident at most, read while the program waits to write its line."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    with subprocess.Popen([BINARY, "--version"], env={}, stdout=writer) as child:
        os.close(writer)
        # Asleep, it has done all but write.
        while (status := status_of(child.pid))["State"][0] != "S":
            time.sleep(0.001)
        while os.read(reader, 65536):
            pass
    os.close(reader)
    return int(status["VmHWM"].split()[0])


def sessions():
    """Memory and threads of a session: at rest, and after 16 MB through a port."""
    sandbox = pathlib.Path(os.environ.get("SANDBOX", TARGET / "debug" / "sandbox"))
    if not sandbox.exists():
        print(f"no sessions: {sandbox} is not there")
        return
    bundle = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    with tempfile.TemporaryDirectory() as folder:
        exports = pathlib.Path(folder) / "environment"
        os.mkfifo(exports)
        with subprocess.Popen([sandbox, "--quiet", "--unpaced", "--env", exports]) as other_side:
            words = shlex.split(exports.read_text().replace("export ", ""))
            environment = dict(word.split("=", 1) for word in words)
            measure("one root", environment)
            if bundle.exists():
                roots = pathlib.Path(folder) / "roots.pem"
                own = pathlib.Path(environment["AWS_CA_BUNDLE"]).read_text()
                roots.write_text(bundle.read_text() + own)
                measure("a full bundle of roots", dict(environment, AWS_CA_BUNDLE=str(roots)))
            other_side.terminate()


def measure(name, environment):
    """Prints one port session's figures."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports = f"0:{server.server_address[1]}"
        command = [BINARY, "port-forward", "--once", "--target", "i-0123456789abcdef0", ports]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as session:
            opened = wait_for(rb"Port (\d+) opened", session.stdout)
            # All threads have started when it waits for connections.
            wait_for(rb"Waiting", session.stdout)
            idle = status_of(session.pid)
            data = bytes(65536)
            with socket.create_connection(("127.0.0.1", int(opened[1]))) as client:
                for _ in range(256):
                    client.sendall(data)
                    received = 0
                    while received < len(data):
                        received += len(client.recv(len(data)))
            busy = status_of(session.pid)
            session.send_signal(signal.SIGINT)
            session.communicate()
        server.shutdown()
    for when, status in (("idle", idle), ("after 16 MB each way", busy)):
        print(
            f"port session, {name}, {when}: {status['VmRSS']} resident "
            f"({status['RssAnon']} of its own), at most {status['VmHWM']}; "
            f"{status['Threads']} threads"
        )


def wait_for(pattern, stream):
    """Reads lines until one matches; gives the match."""
    for line in stream:
        if found := re.search(pattern, line):
            return found
    sys.exit(f"the session ended without {pattern!r}")


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        while part := self.request.recv(65536):
            self.request.sendall(part)


def status_of(process):
    """The fields of /proc/PID/status."""
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    main()
