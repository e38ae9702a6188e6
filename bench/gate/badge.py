"""A check's verdict as a small SVG picture for a README; it loads no font and asks for nothing."""

from __future__ import annotations

from sparsebench.bench.gate.report import CANNOT_TELL, GateReport

_LOOKS = {0: ("passing", "#116b3d"), CANNOT_TELL: ("inconclusive", "#7a5600")}
_LETTER = 6.6  # width of a character, pixels
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="{label}: {word}">
<rect width="{left}" height="20" fill="#36414b"/>
<rect x="{left}" width="{right}" height="20" fill="{colour}"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{left_middle}" y="14">{label}</text>
<text x="{right_middle}" y="14">{word}</text>
</g>
</svg>
"""


def badge_svg(report: GateReport, label: str = "sparsebench") -> str:
    """The verdict of a check: passing, failing or inconclusive."""
    word, colour = _LOOKS.get(report.exit_code, ("failing", "#a8321f"))
    left, right = (round(_LETTER * len(text)) + 14 for text in (label, word))
    return _SVG.format(
        label=label, word=word, colour=colour, left=left, right=right, width=left + right,
        left_middle=left // 2, right_middle=left + right // 2,
    )  # fmt: skip
