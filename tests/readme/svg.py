"""A recording as a picture that moves: each line of text is shown for as long as it was seen, by CSS alone."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from screen import Screen

#: What comes closer together than this, in seconds, is one change.
MOMENT_S = 0.03
#: How long the last of it stays, before all begins anew.
REST_S = 4.0
CELL_WIDTH, LINE_HEIGHT = 8.4, 19
MARGIN = 14

STYLE = """\
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre;fill:#d8dee9;visibility:hidden}}
.still{{visibility:visible}}
@media (prefers-reduced-motion:no-preference){{text,.still{{visibility:hidden;animation:{total:.2f}s step-end infinite}}
"""


@dataclass
class Line:
    """A text in a row, and from when until when it was seen, in seconds."""

    row: int
    text: str
    begin: float
    end: float = 0.0


def lines(record: list[tuple[float, bytes]], columns: int, rows: int) -> tuple[list[Line], float]:
    """What was seen when, and how long all of it takes."""
    screen = Screen(columns, rows)
    shown: list[Line | None] = [None] * rows
    gone: list[Line] = []

    def look(time: float) -> None:
        seen = screen.seen()
        for row in range(rows):
            text = seen[row] if row < len(seen) else ""
            now = shown[row]
            if (now.text if now else "") == text:
                continue
            if now:
                now.end = time
                gone.append(now)
            shown[row] = Line(row, text, time) if text else None

    before = 0.0
    for time, output in record:
        if time - before > MOMENT_S:
            look(before)
        screen.feed(output)
        before = time
    look(before)
    total = before + REST_S
    for line in shown:
        if line:
            line.end = total
            gone.append(line)
    return sorted(gone, key=lambda line: (line.begin, line.row)), total


def picture(
    record: list[tuple[float, bytes]], columns: int, rows: int, title: str, still: str
) -> str:
    """The SVG. Where nothing moves it shows the last moment at which `still` was seen."""
    found, total = lines(record, columns, rows)
    moment = max((line.end for line in found if still in line.text), default=total) - MOMENT_S / 2
    width = round(columns * CELL_WIDTH + 2 * MARGIN)
    height = rows * LINE_HEIGHT + 2 * MARGIN
    rules, texts = [], []
    for number, line in enumerate(found):
        begin, end = 100 * line.begin / total, 100 * line.end / total
        until = "" if line.end >= total else f"{end:.2f}%{{visibility:hidden}}"
        rules.append(
            f"@keyframes k{number}{{{begin:.2f}%{{visibility:visible}}{until}}}#t{number}{{animation-name:k{number}}}"
        )
        still_class = ' class="still"' if line.begin <= moment < line.end else ""
        place = f'x="{MARGIN}" y="{MARGIN + LINE_HEIGHT * (line.row + 1) - 5}"'
        texts.append(
            f'<text id="t{number}" {place}{still_class}>{escape(line.text, quote=False)}</text>'
        )
    style = STYLE.format(total=total) + "\n".join(rules) + "}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#1e2430" stroke="#5b6577"/>',
            *texts,
            "</svg>\n",
        ]
    )
