#!/usr/bin/env python3
"""Prints how big the static binary is, what it consists of, and what it needs to start.

    packaging/size.py    reads target/static (make static)

The figures are of this machine and this moment; nothing is asserted.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
BINARY = TARGET / "static" / "session-manager-plugin"
SYMBOLS = BINARY.with_suffix(".symbols")
#: What the design wants, in bytes.
GOAL = 5_000_000
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
    path = re.match(r"[<&*\[\s]*(?:dyn |mut |const )*([A-Za-z_][A-Za-z0-9_]*)(?:\[[0-9a-f]+\])?::", symbol)
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


def status_of(process):
    """The fields of /proc/PID/status."""
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


if __name__ == "__main__":
    main()
