"""`HistoryEntry`: what a history keeps of one case of one run."""

from __future__ import annotations

import dataclasses

from mvdeploy.records.baseline import BaselineCase
from mvdeploy.records.device import Reading


@dataclasses.dataclass(frozen=True)
class HistoryEntry:
    """One result.

    Attributes:
        run: name of its run.
        created: when the run was, ISO 8601, UTC.
        mvdeploy: version that measured.
        file_sha256: of the exported file; empty where that is not known.
        network: which network it is, with its weights and what was made of it, by name.
        case: the raw samples, and the conditions they were taken under.
    """

    run: str
    created: str
    mvdeploy: str
    file_sha256: str
    network: dict[str, Reading]
    case: BaselineCase

    @property
    def alike(self) -> dict[str, Reading]:
        """Everything that results of one series have in common: network and conditions."""
        return {**self.network, **self.case.conditions}
