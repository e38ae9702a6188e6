"""A gate's report for machines: JUnit XML, GitHub annotations, JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sparsebench.bench.gate.report import BLIND, CANNOT_TELL, GateReport
from sparsebench.bench.gate.words import details, headline, line_of
from sparsebench.bench.present import escape
from sparsebench.bench.records.plain import plain


def junit_xml(report: GateReport, baseline: Path) -> str:
    """One test suite, one test case a cell; what fails the gate is a failure there.

    The format that Jenkins, GitLab and GitHub actions read (the schema of Apache Ant's
    JUnitReport): classname is workload and task, name is backbone and engine.
    """
    # What nobody can tell is an error as long as no option decides it.
    open_is = "error" if report.settings.inconclusive is None else "skipped"
    blind = sum(not report.fails(verdict) for verdict in report.blind)
    suite = ElementTree.Element(
        "testsuite",
        name="sparsebench check",
        tests=str(len(report.verdicts)),
        failures=str(len(report.failing)),
        errors=str(blind if open_is == "error" else 0),
        skipped=str(blind if open_is == "skipped" else 0),
    )
    for verdict in report.verdicts:
        key = verdict.key
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=escape.xml(f"{key['workload']}.{key['task']}"),
            name=escape.xml(f"{key['backbone']} on {key['engine']}"),
        )
        line = line_of(verdict)
        told = escape.xml("\n".join(details(verdict, report, baseline)))
        if report.fails(verdict):
            message = escape.xml("; ".join((*verdict.reasons, *verdict.unknown))) or line.mark
            ElementTree.SubElement(
                case, "failure", message=message, type=verdict.status
            ).text = told
        elif verdict.status == BLIND:
            message = "inconclusive: " + "; ".join(verdict.unknown)
            ElementTree.SubElement(case, open_is, message=message).text = told
        output = ElementTree.SubElement(case, "system-out")
        output.text = f"{line.kind}: {line.before} -> {line.now} {line.change}".strip()
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github_annotations(report: GateReport, baseline: Path) -> Iterator[str]:
    """Workflow commands that GitHub shows beside a pull request.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for verdict in report.verdicts:
        if report.fails(verdict):
            text = "\n".join(details(verdict, report, baseline))
            title = escape.workflow_value(verdict.name)
            yield f"::error title={title}::{escape.workflow_data(text)}"
        elif verdict.status == BLIND:
            text = "\n".join(details(verdict, report, baseline))
            title = escape.workflow_value(verdict.name)
            yield f"::warning title={title}::{escape.workflow_data(text)}"
    level = {0: "notice", CANNOT_TELL: "warning"}.get(report.exit_code, "error")
    yield f"::{level} title=sparsebench::{escape.workflow_data(headline(report))}"


def report_json(report: GateReport) -> dict[str, Any]:
    """Everything, for ``--json``."""
    data: dict[str, Any] = plain(report)
    for line, verdict in zip(data["verdicts"], report.verdicts, strict=True):
        line["name"] = verdict.name
        line["failing"] = report.fails(verdict)
    return {**data, "headline": headline(report), "exit_code": report.exit_code}
