"""The commands' console: what it prints cannot control the terminal or a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from sparsebench.bench.present import escape

if TYPE_CHECKING:
    from rich.console import RenderableType, RichCast

    from sparsebench.bench.present.table import Table

_PIECES = re.compile(r"[^\n]*\n|[^\n]+")


def new_console(*, stderr: bool = False) -> Console:
    """A console that takes strings as they are: no markup, no emoji, nothing highlighted.

    Style comes from :class:`rich.text.Text`; control characters come from nowhere.
    """
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    made.push_render_hook(_Escaping())
    return made


def show(parts: Iterable[Table | RenderableType], form: str = "") -> None:
    """Print tables and the text around them.

    Args:
        parts: in their order; a :class:`rich.text.Text` with `no_wrap` (a command to copy, a path)
            is not broken.
        form: one of terminal, markdown, latex, csv; in all but "terminal" the tables alone.
    """
    from sparsebench.bench.present.table import FORMATS, Table, terminal, written

    if form in FORMATS:
        print(escape.terminal(written((p for p in parts if isinstance(p, Table)), form)), end="")
        return
    console = new_console()
    for place, part in enumerate(parts):
        if isinstance(part, Table):
            if part.title and place:
                console.print()
            console.print(terminal(part))
        else:
            console.print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))


class _Escaping(RenderHook):
    """Wraps whatever is printed."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(one) for one in renderables]


class _Escaped:
    def __init__(self, inner: ConsoleRenderable | RichCast) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in _lines(console.render(self._inner, options)):
            yield from _harmless(line)


def _lines(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Segments line by line, each line with its end."""
    line: list[Segment] = []
    for segment in segments:
        if segment.control:
            line.append(segment)
            continue
        for piece in _PIECES.findall(segment.text):
            line.append(Segment(escape.lines(piece), segment.style))
            if piece.endswith("\n"):
                yield line
                line = []
    yield line


def _harmless(line: list[Segment]) -> Iterator[Segment]:
    """The line, which no runner takes for a command, however it was put together."""
    plain = "".join(segment.text for segment in line if not segment.control)
    if escape.harmless(plain) == plain:
        yield from line
        return
    yield Segment("| ")
    yield from (one if one.control else Segment(escape.harmless(one.text), one.style)
                for one in line)  # fmt: skip
