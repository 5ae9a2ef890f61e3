"""Checks as JUnit XML, which GitLab, Jenkins and others read.

A run is a test suite; a check is a test case of the class that is the case's name.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from mvdeploy.analysis.view import View
from mvdeploy.report.ci import Check, Outcome
from mvdeploy.text_format import clean


def text(view: View, checks: Sequence[Check]) -> str:
    """Return checks as an XML document."""
    numbers = Counter(check.outcome for check in checks)
    counts = {
        "tests": str(len(checks)),
        "failures": str(numbers[Outcome.FAILED]),
        "errors": str(numbers[Outcome.ERROR]),
        "skipped": str(numbers[Outcome.SKIPPED]),
    }
    whole = ET.Element("testsuites", {"name": "mvdeploy", **counts})
    suite = ET.SubElement(whole, "testsuite", {"name": clean(view.run.name), **counts})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(view):
        ET.SubElement(properties, "property", {"name": name, "value": value})
    names: set[tuple[str, str]] = set()
    for check in checks:
        _add(suite, check, names)
    ET.indent(whole)
    xml: str = ET.tostring(whole, encoding="unicode", short_empty_elements=True)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{xml}\n"


def _properties(view: View) -> tuple[tuple[str, str], ...]:
    devices = ", ".join(clean(device.profile.title) for device in view.devices)
    return (
        ("mvdeploy", clean(view.run.mvdeploy)),
        ("device", devices),
        ("command", clean(" ".join(view.run.command))),
    )


def _add(suite: ET.Element, check: Check, names: set[tuple[str, str]]) -> None:
    """Add a test case; a name that is there already would hide the first, and gets a number."""
    of, wanted = clean(check.case), clean(check.name)
    numbered = (f"{wanted} ({number})" for number in itertools.count(2))
    name = next(n for n in itertools.chain([wanted], numbered) if (of, n) not in names)
    names.add((of, name))
    case = ET.SubElement(suite, "testcase", {"classname": of, "name": name})
    sentence, note = clean(check.sentence), clean(check.note)
    said = "\n".join(filter(None, (sentence, note)))
    if check.outcome is Outcome.SKIPPED:
        ET.SubElement(case, "skipped", {"message": sentence}).text = said
    elif check.outcome is not Outcome.PASSED:
        kind = "failure" if check.outcome is Outcome.FAILED else "error"
        about = {"message": sentence, "type": wanted.partition(" ")[0]}
        ET.SubElement(case, kind, about).text = said
    elif said:
        ET.SubElement(case, "system-out").text = said
