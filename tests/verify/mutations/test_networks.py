"""The table of faults in all networks: complete, and as the document has it."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import network_mutations, support
from benchmarks.network_mutations import ATTENTION, MUTATIONS, NO_EFFECT, NORM, RESIDUAL
from tests.warm import ROOT

DOCUMENT = ROOT / "docs" / "verification.md"


def test_the_document_has_the_table() -> None:
    table = network_mutations.markdown(network_mutations.rows())
    assert table in DOCUMENT.read_text(encoding="utf-8")


def test_every_network_shows_every_kind_of_fault() -> None:
    rows = network_mutations.rows()
    assert {row["network"] for row in rows} == set(support.networks())
    caught = Counter((row["network"], row["mutation"]) for row in rows if row["caught"] == "yes")
    for network, mutation in {(row["network"], row["mutation"]) for row in rows}:
        assert caught[network, mutation], (network, mutation)
    for mutation in (ATTENTION, RESIDUAL):
        found = {row["caught"] for row in rows if row["mutation"] == mutation}
        assert found == {"yes", NO_EFFECT} or found == {"yes"}, mutation
    assert {row["mutation"] for row in rows} == set(MUTATIONS)


@pytest.mark.parametrize("network", ["mobilevit_xxs", "mobile_former_96m"])
def test_it_is_what_is_measured(network: str) -> None:
    measured = network_mutations.measure(network)
    known = [tuple(row.values()) for row in network_mutations.rows() if row["network"] == network]
    assert [row[:4] for row in measured] == [row[:4] for row in known]
    for one, other in zip(measured, known, strict=True):
        assert float(one[4]) == pytest.approx(float(other[4]), abs=1.5)


def test_a_network_without_a_fault_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_mutations, "_faults", lambda network, image: [(NORM, "", _nothing)])
    ((*_, caught, snr, _ratio),) = network_mutations.measure("mobilevit_xxs")
    assert caught == "no"
    assert float(snr) > 90


def _nothing():
    from contextlib import nullcontext

    return nullcontext()
