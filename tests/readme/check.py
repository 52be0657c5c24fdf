#!/usr/bin/env python3
"""Runs the examples of README.md and of docs against the sandbox, and compares what they show with what is written there.

    tests/readme/check.py [FOLDER-OF-THE-BINARIES [FILE…]]

A block of the kind `console` is what a terminal shows: it is typed, line by line, into one shell for all of them.

    $ …          a command
    sh-5.2$ …    what is typed in a session
    ^C           Ctrl-C, as soon as all before it is seen
    …            any text, or any lines where it stands alone

What changes from run to run (PLACEHOLDERS) counts as equal; forwards may become ready, and targets may answer, in any order. A block of
the kind `python` whose first line is `# NAME.py` is a file that later blocks can run, and so is the program NAME of a block of the kind
`rust` that begins with `// NAME.rs` and is docs/examples/NAME.rs. Blocks of the kind `sh` cannot be run here, and are named.
"""

from __future__ import annotations

import difflib
import itertools
import os
import pathlib
import re
import sys
import time
from dataclasses import dataclass

from playground import PROMPT as SESSION_PROMPT
from playground import WEB_PORT, Playground, end_at_signals, free_port
from typist import Typist

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
PROMPT = "$ "
COLUMNS, ROWS = 200, 50
#: For one command, on a machine that is busy.
PATIENCE_S = 40
#: Local ports that the examples name; free ones take their places here.
PORTS = (8080, 5432, 1080)
REDIS_PORT = 6379
INTERRUPT = "^C"
ANY = "…"
#: Of a program.
FIRST_LINE = re.compile(r"(#|//) (?P<name>\w+)\.(py|rs)\n")
#: Lines that come in any order among themselves: a forward is ready, a target answers.
ANY_ORDER = re.compile(r"(\S+ -> |(session-manager-plugin: )?(web|db|node)-\d: )")

#: What changes from run to run, and what takes its place on both sides.
PLACEHOLDERS = {
    r"\bsandbox-[0-9a-f]{17}\b": "SESSION",
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b": "UUID",
    r"\b127\.0\.0\.1:\d{5}\b": "127.0.0.1:PORT",
    r"\bport\":\d{5}\b": 'port":PORT',
    r"\bAKIA[0-9A-F]{16}\b": "KEY",
    r"\b\d+ ms\b": "N ms",
    r"(?m)\bin \d+\.\d\ds$": "in N s",
    r"\bsession-manager-plugin \d+\.\d+\.\d+": "session-manager-plugin VERSION",
    r"\b(linux|macos) on \w+": "PLATFORM",
    r"/dev/pts/\d+": "/dev/pts/N",
    r"(\S+/)session-manager-plugin ssh-proxy": "PATH/session-manager-plugin ssh-proxy",
}


@dataclass
class Block:
    """A block of code, and the number of the line before its first."""

    kind: str
    line: int
    lines: list[str]


@dataclass
class Step:
    """What is typed, what it is after (all lines that are seen by then), and the number of its line."""

    typed: str
    before: list[str]
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks between lines of three backquotes."""
    found: list[Block] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = not inside
            if inside:
                found.append(Block(line[3:].strip(), number, []))
        elif inside:
            found[-1].lines.append(line)
    return found


def steps(block: Block) -> list[Step]:
    """The block as typing; the last step types nothing."""
    found: list[Step] = []
    seen: list[str] = []
    for number, line in enumerate(block.lines, block.line + 1):
        for prompt in (PROMPT, SESSION_PROMPT):
            if line.startswith(prompt) and not (found and found[-1].typed.endswith("\\\n")):
                found.append(Step(line[len(prompt) :] + "\n", [*seen, prompt], number))
                seen = [line]
                break
        else:
            if line == INTERRUPT:
                found.append(Step("\x03", seen, number))
                seen = []
            elif found and found[-1].typed.endswith("\\\n"):
                found[-1].typed += line + "\n"
                seen.append(line)
            else:
                seen.append(line)
    found.append(Step("", [*seen, PROMPT], block.line + len(block.lines)))
    return found


def comparable(lines: list[str]) -> list[str]:
    """Lines with placeholders, without empty ones at the end."""
    text = "\n".join(line.rstrip() for line in lines).rstrip()
    for pattern, placeholder in PLACEHOLDERS.items():
        text = re.sub(pattern, placeholder, text)
    in_order: list[str] = []
    for is_any, group in itertools.groupby(
        text.split("\n"), lambda line: ANY_ORDER.match(line) is not None
    ):
        some = list(group)
        in_order += sorted(some) if is_any else some
    return in_order


def equal(expected: list[str], shown: list[str]) -> bool:
    """Whether that is what was expected."""
    pattern = ""
    for line in expected:
        if line == ANY:
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += "[^\n]*".join(re.escape(part) for part in line.split(ANY)) + r"\n"
    return re.fullmatch(pattern, "\n".join(shown) + "\n") is not None


def renumber(text: str, ports: dict[int, int]) -> str:
    """The text with other ports."""
    for old, new in ports.items():
        text = re.sub(rf"\b{old}\b", str(new), text)
    return text


class Reader:
    """Somebody who tries what is written."""

    def __init__(self, typist: Typist, ports: dict[int, int]) -> None:
        self.typist = typist
        self.ports = ports
        #: The first line of the terminal that belongs to this step.
        self.start = 0

    def shown(self) -> list[str]:
        """What this step has shown so far, with the ports of the text."""
        text = "\n".join(self.typist.screen.text()[self.start :])
        text = renumber(text, {real: written for written, real in self.ports.items()})
        return [line.removeprefix(INTERRUPT) for line in text.split("\n")]

    def try_block(self, block: Block) -> list[str]:
        """Types a block; the differences, as lines."""
        for step in steps(block):
            expected = comparable(step.before)
            prompt = step.before[-1] if step.typed != "\x03" and step.before else None

            def is_there(prompt: str | None = prompt, expected: list[str] = expected) -> bool:
                shown = self.shown()
                if prompt is None:
                    return equal(expected, comparable(shown))
                return shown[-1] == prompt.rstrip()

            self.typist.wait(is_there, PATIENCE_S)
            shown = comparable(self.shown())
            if not equal(expected, shown):
                return [
                    f"before line {step.line}:",
                    *difflib.unified_diff(expected, shown, "written", "shown", lineterm="", n=3),
                ]
            self.type(step.typed)
        return []

    def type(self, text: str) -> None:
        """Types, and begins the next step where that is seen."""
        self.start = len(self.typist.screen.text()) - 1
        if not text:
            return
        lines = self.start + text.count("\n")
        self.typist.type(renumber(text, self.ports))
        self.typist.wait(lambda: len(self.typist.screen.text()) > lines, PATIENCE_S)

    def recover(self) -> bool:
        """Leaves whatever is running; whether the shell is there again."""
        for keys in ("", "\x03", "\n~.", "\x03\n"):
            self.typist.type(keys)
            if self.typist.wait(lambda: self.shown()[-1] == PROMPT.rstrip(), 5):
                self.start = len(self.typist.screen.text()) - 1
                return True
        return False


def put(block: Block, playground: Playground, ports: dict[int, int]) -> str | None:
    """Puts a program where later blocks can run it; what is wrong with it."""
    text = "\n".join(block.lines) + "\n"
    named = FIRST_LINE.match(text)
    if named is None:
        return "no name in the first line"
    name = named["name"]
    if block.kind == "python":
        (playground.folder / f"{name}.py").write_text(renumber(text, ports), encoding="utf-8")
        return None
    source = TOP / "docs" / "examples" / f"{name}.rs"
    if source.read_text(encoding="utf-8") != text:
        return f"this is not {source.relative_to(TOP)}"
    (playground.folder / name).symlink_to(playground.binaries / "examples" / name)
    return None


def missing_server(block: Block, playground: Playground) -> str | None:
    """What the block needs and is not there."""
    typed = [line.removeprefix(PROMPT) for line in block.lines if line.startswith(PROMPT)]
    if not playground.has_ssh and any(line.startswith("ssh ") for line in typed):
        return "sshd"
    if playground.redis_port is None and any("redis.py" in line for line in typed):
        return "redis-server"
    return None


def check(file: pathlib.Path, binaries: pathlib.Path) -> bool:
    """Tries all of a file."""
    found = blocks(file.read_text(encoding="utf-8"))
    began = time.monotonic()
    failed = run = 0
    with Playground(binaries, web_port=0) as playground:
        ports = {WEB_PORT: playground.web_port} | {port: free_port() for port in PORTS}
        ports[REDIS_PORT] = playground.redis_port or REDIS_PORT
        shell = playground.command(["env", f"PS1={PROMPT}", "PS2=", "sh"])
        with Typist(shell, playground.folder, playground.environment(), COLUMNS, ROWS) as typist:
            reader = Reader(typist, ports)
            for block in found:
                if block.kind in ("python", "rust") and (wrong := put(block, playground, ports)):
                    failed += 1
                    print(f"{file.name}:{block.line}: {wrong}\n")
                if block.kind != "console":
                    continue
                if missing := missing_server(block, playground):
                    print(f"{file.name}:{block.line}: not run, as no {missing} is installed")
                    continue
                run += 1
                differences = reader.try_block(block)
                if differences:
                    failed += 1
                    print(
                        "\n".join(
                            [
                                f"{file.name}:{block.line}: this is not what the program shows,",
                                *differences,
                                "",
                            ]
                        )
                    )
                    if not reader.recover():
                        print("The shell does not come back; the rest was not tried.")
                        break
    for block in found:
        if block.kind == "sh":
            print(
                f"{file.name}:{block.line}: not run: {block.lines[0].strip()}{' …' if len(block.lines) > 1 else ''}"
            )
    print(
        f"{file.name}: {run} examples run in {time.monotonic() - began:.0f} s, {failed} of them wrong"
    )
    return run > 0 and failed == 0


def main() -> None:
    """Everything; exit code 1 when something is wrong."""
    end_at_signals()
    binaries = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET / "debug"
    files = [pathlib.Path(name) for name in sys.argv[2:]] or [
        TOP / "README.md",
        *(TOP / "docs" / f"{name}.md" for name in ("commands", "python", "sandbox")),
    ]
    right = [check(file, binaries) for file in files]
    if not all(right):
        sys.exit(1)


if __name__ == "__main__":
    main()
