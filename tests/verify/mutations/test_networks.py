"""The table of faults in all networks: complete, and as the document has it."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest

from benchmarks import network_mutations, support
from benchmarks.network_mutations import MUTATIONS, NO_EFFECT, NORM
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
    unseen = [row for row in rows if row["caught"] == "no" and row["mutation"] != NORM]
    # A LayerNorm reads the halved result alone, which changes it by its epsilon.
    assert [row["place"] for row in unseen] == ["blocks.2.revert_projs"]
    assert {row["mutation"] for row in rows} == set(MUTATIONS)


@pytest.mark.parametrize("network", ["mobilevit_xxs", "mobile_former_96m"])
def test_it_is_what_is_measured(network: str) -> None:
    measured = network_mutations.measure(network)
    known = [tuple(row.values()) for row in network_mutations.rows() if row["network"] == network]
    assert [row[:4] for row in measured] == [row[:4] for row in known]
    for one, other in zip(measured, known, strict=True):
        assert float(one[4]) == pytest.approx(float(other[4]), abs=1.5)


def test_a_network_without_a_fault_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        network_mutations, "_faults", lambda network, image: [(NORM, "", nullcontext)]
    )
    ((*_, caught, snr, _ratio),) = network_mutations.measure("mobilevit_xxs")
    assert (caught, float(snr) > 90) == ("no", True)


def test_what_changes_nothing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        network_mutations, "_faults", lambda network, image: [("x", "", nullcontext)]
    )
    ((*_, caught, _snr, _ratio),) = network_mutations.measure("mobilevit_xxs")
    assert caught == NO_EFFECT
