#!/usr/bin/env python3
"""Records a shell session whose connection is cut: docs/recording.cast (asciicast v2), and docs/recording.svg made of it.

    tests/readme/record.py [--check] [FOLDER-OF-THE-BINARIES]

With --check nothing is written: what the program shows now is compared with what stands there.
"""

from __future__ import annotations

import codecs
import json
import os
import pathlib
import sys
import time

from check import PATIENCE_S, PROMPT, TARGET, TOP, comparable
from playground import PROMPT as SESSION_PROMPT
from playground import Playground, end_at_signals
from screen import Screen
from svg import picture
from typist import Typist

CAST = TOP / "docs" / "recording.cast"
SVG = TOP / "docs" / "recording.svg"
TITLE = "A shell session that survives a cut"
COLUMNS, ROWS = 96, 24
#: What the program shows of an outage.
OUTAGE = "reconnecting, "
#: What is typed after which prompt. The process above the shell is the sandbox, which cuts all connections at USR1.
TYPED = [
    (PROMPT, "session-manager-plugin start-session --target web-1"),
    (SESSION_PROMPT, "# USR1 makes the sandbox cut all connections for 5 seconds."),
    (
        SESSION_PROMPT,
        "for i in $(seq 12); do echo line $i; [ $i = 2 ] && kill -USR1 $PPID; sleep 1; done",
    ),
    (SESSION_PROMPT, "exit"),
]
#: Between two keys, and before the first.
KEY_S, THINK_S = 0.03, 0.8

Record = list[tuple[float, bytes]]


def record(binaries: pathlib.Path, is_typed: bool) -> Record:
    """What a terminal shows when this is typed, key by key or all at once."""
    with Playground(binaries, web_port=0) as playground:
        shell = playground.command(["env", f"PS1={PROMPT}", "sh"])
        with Typist(shell, playground.folder, playground.environment(), COLUMNS, ROWS) as typist:
            for prompt, text in [*TYPED, (PROMPT, "")]:

                def is_there(prompt: str = prompt) -> bool:
                    return typist.screen.text()[-1] == prompt.rstrip()

                if not typist.wait(is_there, PATIENCE_S):
                    sys.exit("\n".join([f"There is no {prompt!r} after:", *typist.screen.text()]))
                if text:
                    type_text(typist, text, is_typed)
            return typist.record


def type_text(typist: Typist, text: str, is_typed: bool) -> None:
    """Types a line, and waits until it is taken."""
    if is_typed:
        watch(typist, THINK_S)
        for key in text:
            typist.type(key)
            watch(typist, KEY_S)
    else:
        typist.type(text)
    rows = len(typist.screen.text())
    typist.type("\r")
    typist.wait(lambda: len(typist.screen.text()) > rows, PATIENCE_S)


def watch(typist: Typist, seconds: float) -> None:
    """Reads for this time."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        typist.read(left)


def write(recorded: Record) -> str:
    """As asciicast v2."""
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": ROWS,
        "title": TITLE,
        "env": {"TERM": "xterm"},
    }
    # What is read may end within a character.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    events = [[round(at, 3), "o", decoder.decode(output)] for at, output in recorded]
    return "\n".join(json.dumps(item) for item in [header, *events]) + "\n"


def read(text: str) -> Record:
    """The other way round."""
    return [(at, output.encode()) for at, _, output in map(json.loads, text.splitlines()[1:])]


def last_screen(recorded: Record) -> list[str]:
    """What is seen in the end."""
    screen = Screen(COLUMNS, ROWS)
    for _, output in recorded:
        screen.feed(output)
    return comparable(screen.text())


def has_outage(recorded: Record) -> bool:
    """Whether an outage is told."""
    return OUTAGE.encode() in b"".join(output for _, output in recorded)


def main() -> None:
    """Records, or compares."""
    end_at_signals()
    words = sys.argv[1:]
    is_check = "--check" in words
    words = [word for word in words if word != "--check"]
    binaries = pathlib.Path(words[0]) if words else TARGET / "debug"
    recorded = record(binaries, is_typed=not is_check)
    if not has_outage(recorded):
        sys.exit("No outage was seen.")
    if not is_check:
        cast = write(recorded)
        CAST.write_text(cast, encoding="utf-8")
        SVG.write_text(picture(read(cast), COLUMNS, ROWS, TITLE, OUTAGE), encoding="utf-8")
        print(
            f"{CAST.relative_to(TOP)}: {os.path.getsize(CAST)} bytes, {SVG.relative_to(TOP)}: {os.path.getsize(SVG)} bytes"
        )
        return
    there = read(CAST.read_text(encoding="utf-8"))
    if not has_outage(there) or last_screen(there) != last_screen(recorded):
        sys.exit(
            "\n".join(
                [
                    "docs/recording.cast is not what the program shows (make recording):",
                    *last_screen(recorded),
                ]
            )
        )
    if SVG.read_text(encoding="utf-8") != picture(there, COLUMNS, ROWS, TITLE, OUTAGE):
        sys.exit("docs/recording.svg is not made from docs/recording.cast (make recording)")
    print("docs/recording.cast shows what the program shows")


if __name__ == "__main__":
    main()
