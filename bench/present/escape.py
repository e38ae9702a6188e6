"""Names on their way out: one function for each kind of output.

The names of tasks, classes, files, backbones and engines, and the reasons that quote them, come
from folders, files and records that anybody may have written. What goes out passes one of these:

=====================  ==========================================================================
:func:`visible`        one line of plain text, and the first step of all the others
:func:`terminal`       lines on a terminal, which GitHub reads for commands in a job's log
:class:`LogLines`      lines of a log
:func:`markdown`       text in Markdown, in a table cell too
:func:`markdown_code`  a code span in Markdown
:func:`workflow_data`  the message of a GitHub workflow command
:func:`workflow_value` a property of one, such as its title
:func:`xml`            text in XML: SVG, JUnit
:func:`latex`          text in LaTeX
:func:`csv_cell`       a text cell of a CSV file
:func:`json_text`      a JSON document on standard output
:func:`shell`          a command to copy
=====================  ==========================================================================

HTML is escaped by Jinja (``report/page.py``). Ordinary names leave all of them unchanged, but for
the backslashes of Markdown.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Joiners shape letters in several scripts; other format characters hide or reorder text.
_KEPT_FORMATS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}"
_PRINTABLE = re.compile(r"[ -~]*")
_BROKEN = re.compile(r"[^\S ]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~#!$])")
_LIST = re.compile(r"\A([-+=])(?=[-+=\s]|$)")
_NUMBERED = re.compile(r"\A(\d{1,9})([.)])(?=\s|$)")
# An invisible character that ends a word: GitHub looks for mentions, references and addresses in
# the text that is left when the backslashes and entities are gone.
_BREAK = "&#8203;"
_BREAKS = (
    (re.compile(r"(?<!\w)@(?=\w)"), f"&commat;{_BREAK}"),  # would call somebody
    (re.compile(r"(?<=\w)@(?=[\w-]+\.)"), f"&commat;{_BREAK}"),  # an address of mail
    (re.compile(r"\b(www)\.", re.IGNORECASE), rf"\1{_BREAK}."),
    (re.compile(r"\b([a-z][a-z0-9+.-]*):(?=//)", re.IGNORECASE), rf"\1&#58;{_BREAK}"),
    (re.compile(r"\b(mailto|xmpp):", re.IGNORECASE), rf"\1&#58;{_BREAK}"),
    (re.compile(r"\\#(?=\d)"), rf"\\#{_BREAK}"),  # an issue
    (re.compile(r"\b(GH)-(?=\d)", re.IGNORECASE), rf"\1-{_BREAK}"),
)
_COMMAND = re.compile(r"^(\s*):(?=:)")
_OLD_COMMAND = "##["
_FORMULA = ("=", "+", "-", "@")
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--",
    "\N{INFINITY}": r"$\infty$", "\N{MIDDLE DOT}": r"$\cdot$", "\N{NO-BREAK SPACE}": "~",
}  # fmt: skip

# What pdfLaTeX sets with its plain fonts.
_LATEX_SETS = frozenset((*map(chr, range(0x180)), *"‘’“”—…")) - frozenset(
    "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"
)


def visible(text: str) -> str:
    r"""One line without control characters: white space becomes one space, the others `\x1b`.

    Characters that reorder or hide text, halves of surrogate pairs and what XML forbids are
    written as escapes too, so that the result can be encoded and stands in any file.
    """
    if _PRINTABLE.fullmatch(text):
        return text
    text = " ".join(text.split()) if _BROKEN.search(text) else text
    return text.translate(_SHOWN)


def terminal(text: str) -> str:
    """Text for a terminal, a log or a job's log: lines stay lines, nothing else is controlled.

    A line that GitHub's runner would take for a workflow command loses that meaning: ``::error``
    at its start, ``##[error]`` anywhere.
    """
    return "\n".join(map(harmless, lines(text).split("\n")))


def lines(text: str) -> str:
    """Text without control characters whose lines stay lines, with their indentation."""
    return "\n".join(_indented(line) for line in text.split("\n"))


def harmless(line: str) -> str:
    """A line that is no workflow command; see :func:`terminal`."""
    return _COMMAND.sub(r"\1: ", line).replace(_OLD_COMMAND, "## [")


def markdown(text: str) -> str:
    """A name as text: one line, no markup, HTML, link, image, mention or border of a table."""
    plain = " ".join(visible(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = _MARKDOWN.sub(r"\\\1", plain)
    for pattern, instead in _BREAKS:
        plain = pattern.sub(instead, plain)
    return _NUMBERED.sub(r"\1\\\2", _LIST.sub(r"\\\1", plain))


def markdown_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table; every cell is escaped here."""
    return f"| {' | '.join(map(markdown, cells))} |"


def markdown_code(text: str) -> str:
    """A code span that nothing in it can end; not for cells of a table, where ``|`` ends it."""
    plain = visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain[:1] in ("`", " ", "") or plain[-1:] in ("`", " ") else ""
    return f"{fence}{space}{plain}{space}{fence}"


def workflow_data(text: str) -> str:
    """The message of a workflow command; its lines stay lines where GitHub shows it."""
    return "%0A".join(visible(line).replace("%", "%25") for line in text.split("\n"))


def workflow_value(text: str) -> str:
    """A property of a workflow command."""
    return visible(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")


def xml(text: str) -> str:
    """Text that XML can hold; the writer still has to escape its markup. Lines stay lines."""
    return lines(text)


def latex(text: str) -> str:
    """A name or a number as text of LaTeX: one line, nothing of it a command.

    pdfLaTeX stops at letters that its fonts lack, so their numbers stand for them.
    """
    return "".join(
        _LATEX.get(char) or (char if char in _LATEX_SETS else f"U+{ord(char):04X}")
        for char in visible(text)
    )


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file: one line of text that no spreadsheet takes for a formula.

    Numbers and everything else that is no text stay as they are.
    """
    if not isinstance(value, str):
        return value
    text = visible(value).replace(_OLD_COMMAND, "## [")
    return f"'{text}" if text.startswith(_FORMULA) else text


def json_text(value: Any, indent: int | None = 1) -> str:
    """JSON for standard output: ASCII, and no line of it is a workflow command."""
    return json.dumps(value, indent=indent, default=str).replace(_OLD_COMMAND, "\\u0023#[")


def shell(words: Sequence[str]) -> str:
    r"""A command line to copy: as ``shlex.join``, control characters as ``$'\n'``."""
    return " ".join(
        _ansi_quoted(word) if visible(word) != word else shlex.quote(word) for word in words
    )


class LogLines(logging.Formatter):
    """Lines of a log in which no name makes a line of its own; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The message as one line."""
        return harmless(visible(super().formatMessage(record)))

    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback below it."""
        return terminal(super().format(record))


def _indented(line: str) -> str:
    """One line whose white space at the start and between columns stays."""
    line = line.rstrip("\r").expandtabs(4)
    return line if _PRINTABLE.fullmatch(line) else line.translate(_SHOWN)


class _Shown(dict[int, str]):
    """Code of a character -> how it is shown; looked up once for each that was met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _shown(chr(code))
        return found


_SHOWN = _Shown()


def _shown(char: str) -> str:
    code = ord(char)
    if 32 <= code < 127:
        return char
    kind = unicodedata.category(char)
    if kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and char not in _KEPT_FORMATS):
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return f"\\u{code:04x}" if code & 0xFFFE == 0xFFFE else char


def _ansi_quoted(word: str) -> str:
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", "'": r"\'"}
    data = []
    for char in word:
        if char in named:
            data.append(named[char])
        elif visible(char) == char:
            data.append(char)
        else:
            encoded = char.encode("utf-8", "surrogateescape" if _is_byte(char) else "replace")
            data.append("".join(f"\\x{byte:02x}" for byte in encoded))
    return f"$'{''.join(data)}'"


def _is_byte(char: str) -> bool:
    """Whether it stands for a byte of a file's name that is no UTF-8."""
    return 0xDC80 <= ord(char) <= 0xDCFF
