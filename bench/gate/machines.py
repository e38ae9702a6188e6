"""A gate's report for machines: JUnit XML, GitHub annotations, JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sparsebench.bench.gate.report import GateReport
from sparsebench.bench.gate.words import details, headline, line_of
from sparsebench.bench.present import escape
from sparsebench.bench.records.plain import plain


def junit_xml(report: GateReport, baseline: Path) -> str:
    """One test suite, one test case a cell; what fails the gate is a failure there.

    The format that Jenkins, GitLab and GitHub actions read (the schema of Apache Ant's
    JUnitReport): classname is workload and task, name is backbone and engine.
    """
    failing = report.failing
    suite = ElementTree.Element(
        "testsuite",
        name="sparsebench check",
        tests=str(len(report.verdicts)),
        failures=str(len(failing)),
        errors="0",
        skipped=str(sum(v.status == "blind" and v not in failing for v in report.verdicts)),
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
        if verdict in failing:
            message = escape.xml("; ".join(verdict.reasons)) or line.mark
            ElementTree.SubElement(
                case, "failure", message=message, type=verdict.status
            ).text = told
        elif verdict.status == "blind":
            ElementTree.SubElement(case, "skipped", message="too noisy to tell")
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
        if verdict in report.failing:
            text = "\n".join(details(verdict, report, baseline))
            title = escape.workflow_value(verdict.name)
            yield f"::error title={title}::{escape.workflow_data(text)}"
    level = "error" if report.failing else "notice"
    yield f"::{level} title=sparsebench::{escape.workflow_data(headline(report))}"


def report_json(report: GateReport) -> dict[str, Any]:
    """Everything, for ``--json``."""
    data: dict[str, Any] = plain(report)
    for line, verdict in zip(data["verdicts"], report.verdicts, strict=True):
        line["name"] = verdict.name
        line["failing"] = verdict in report.failing
    return {**data, "headline": headline(report), "exit_code": report.exit_code}
