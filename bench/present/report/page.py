"""The HTML page: one file that asks the network for nothing.

Every name from a file or a task is escaped by Jinja's autoescape, also inside JSON (`tojson`
escapes `<`, `>`, `&` and `'`). Should anything slip through all the same, the page's content
security policy lets only its own two scripts run, by their hashes, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present.decisions.amounts import points
from sparsebench.bench.present.escape import lines
from sparsebench.bench.present.report import contents
from sparsebench.bench.present.report.build import Report
from sparsebench.bench.present.report.explorer import explorers, legend
from sparsebench.bench.present.report.forest import forest_of
from sparsebench.bench.present.report.runs import fact_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = "templates"


def templates() -> Environment:
    """Where the pages come from: everything that is printed into one is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sparsebench.bench.present.report", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.globals["breakable"] = _breakable
    return environment


def html_page(report: Report) -> str:
    """The whole page."""
    from markupsafe import Markup

    environment = templates()
    # BokehJS reads references in the order in which its JSON defines them.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    plots = explorers(report.cells, report.margin)
    scripts = [_bokeh()] if plots else []
    scripts.append(asset("report.js"))
    methods, engines = legend(report.cells)
    cells = [table.filled() for table in contents.cell_tables(report)]
    return environment.get_template("report.html.j2").render(
        report=report,
        points=points,
        margins={
            margin: {"answered": answered, "forest": forest_of(answered)}
            for margin, answered in ((m, report.headlines(m)) for m in report.answers)
        },
        policy=policy(scripts),
        scripts=[Markup(script) for script in scripts],
        css=Markup(asset("report.css")),
        facets=_facets(report),
        plots=plots,
        methods=methods,
        engines=engines,
        cell_tables=cells,
        count=sum(len(table.lines) for table in cells),
        more_tables=[table.filled() for table in contents.more_tables(report)],
        beside=contents.beside_table(report) if report.beside else None,
        difference=contents.difference_table(report) if report.differences else None,
        problem=contents.problem_table(report),
        engine=contents.engine_table(report),
        weights=contents.weight_table(report),
        machine_line=describe_machine,
        fact=fact_text,
    )


def _facets(report: Report) -> dict[str, list[str]]:
    """Facet -> its values, of facets with more than one."""
    found: dict[str, dict[str, None]] = {name: {} for name in contents.FACETS}
    for cell in report.cells:
        record = cell.record
        values = (
            cell.run, record.workload, record.task.name, record.backbone.method,
            record.engine.name,
        )  # fmt: skip
        for name, value in zip(contents.FACETS, values, strict=True):
            found[name][value] = None
    return {name: sorted(values) for name, values in found.items() if len(values) > 1}


def _breakable(text: str) -> Markup:
    """A name that a line may break in after its parts."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/@])", r"\1<wbr>", str(escape(lines(text)))))


def _finalized(value: Any) -> Any:
    """Text without control characters; what is marked as HTML of ours stays."""
    return lines(str(value)) if type(value) is str or isinstance(value, PurePath) else value


def asset(name: str) -> str:
    """The text of a file beside the templates."""
    return (files("sparsebench.bench.present.report") / TEMPLATES / name).read_text("utf-8")


def _bokeh() -> str:
    """BokehJS without widgets, tables, WebGL and MathJax."""
    from bokeh.resources import Resources

    return Resources(mode="inline", components=["bokeh"]).js_raw[0]


def policy(scripts: list[str]) -> str:
    """A content security policy under which nothing but these scripts runs, or is fetched."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    ]
    allowed = " ".join(hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )
