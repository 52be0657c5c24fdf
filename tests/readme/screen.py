"""As much of a terminal as the program and a shell ask for: what was written becomes what is seen."""

import codecs
import re

#: A control sequence, or one escape with one character.
SEQUENCE = re.compile(
    r"\x1b(?:\[(?P<arguments>[0-9;?]*)(?P<final>[@-~])|\](?:[^\x07\x1b]*)(?:\x07|\x1b\\)|(?P<single>[78DM=>]))"
)
#: Longer ones are not waited for.
LONGEST_SEQUENCE = 256
TAB = 8


class Screen:
    """Lines of text, the oldest first; those that were scrolled away are kept."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self.lines: list[list[str]] = [[]]
        #: Lines that go on in the next one because they were too long.
        self.wrapped: set[int] = set()
        self.row = 0
        self.column = 0
        self.saved = (0, 0)
        self.pending = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def top(self) -> int:
        """The first line that is seen."""
        return max(0, len(self.lines) - self.rows)

    def text(self) -> list[str]:
        """All lines, those that were wrapped in one piece, without spaces at their ends."""
        whole: list[str] = []
        goes_on = False
        for number, line in enumerate(self.lines):
            if goes_on:
                whole[-1] += "".join(line)
            else:
                whole.append("".join(line))
            goes_on = number in self.wrapped
        return [line.rstrip() for line in whole]

    def seen(self) -> list[str]:
        """What is seen, as it stands there."""
        return ["".join(line).rstrip() for line in self.lines[self.top :]]

    def feed(self, output: bytes) -> None:
        """Takes what was written to the terminal."""
        text = self.pending + self.decoder.decode(output)
        self.pending = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if found is None:
                    if len(text) - at < LONGEST_SEQUENCE:
                        self.pending = text[at:]
                        return
                    at += 1
                    continue
                self.sequence(found)
                at = found.end()
            else:
                self.character(text[at])
                at += 1

    def character(self, one: str) -> None:
        """A character that is no escape."""
        if one == "\r":
            self.column = 0
        elif one == "\n":
            self.down()
        elif one == "\b":
            self.column = max(0, self.column - 1)
        elif one == "\t":
            self.column = min(self.columns - 1, (self.column // TAB + 1) * TAB)
        elif one >= " ":
            self.put(one)

    def put(self, one: str) -> None:
        """A character that is seen."""
        if self.column >= self.columns:
            self.wrapped.add(self.row)
            self.column = 0
            self.down()
        line = self.lines[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column] = one
        self.column += 1

    def down(self) -> None:
        """The next line, a new one at the end."""
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def sequence(self, found: "re.Match[str]") -> None:
        """A control sequence. Colours and modes change nothing that is looked at."""
        single, final = found["single"], found["final"]
        if single == "7":
            self.saved = (self.row, self.column)
        elif single == "8":
            self.row, self.column = self.saved
        elif single == "D":
            self.down()
        elif single == "M":
            self.row = max(self.top, self.row - 1)
        elif final is not None:
            self.control(final, found["arguments"])

    def control(self, final: str, arguments: str) -> None:
        """A control sequence with arguments."""
        first = arguments.split(";")[0]
        number = int(first) if first.isdigit() else 0
        count = max(1, number)
        line = self.lines[self.row]
        if final == "K":
            if number == 0:
                del line[self.column :]
            else:
                until = len(line) if number == 2 else self.column + 1
                line[:until] = " " * min(until, len(line))
            self.wrapped.discard(self.row)
        elif final == "J" and number == 0:
            del line[self.column :]
            del self.lines[self.row + 1 :]
        elif final == "A":
            self.row = max(self.top, self.row - count)
        elif final == "B":
            self.row = min(len(self.lines) - 1, self.row + count)
        elif final == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif final == "D":
            self.column = max(0, self.column - count)
        elif final == "G":
            self.column = min(self.columns, count) - 1
