"""A battery for the stand-in phone: its current depends on whether a runner is there."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.android import tables
from tests.android.phone import Phone

HOME = "/sys/class/power_supply/battery"
REST_UA, RUNNING_UA, NOISE_UA, UV = 180_000, 690_000, 2_000, 3_912_000
WATTS_ABOVE_REST = (RUNNING_UA - REST_UA) * UV * 1e-12
"""What a runner makes it give more."""

_STEP_S = 0.05


class Battery:
    """Gives what the table says while it is open; a context manager.

    Args:
        phone: taken off its cable.
        unit: microamperes in which the current is told.
        sign: of the current while it gives.
        files: whether it is told in files; otherwise by a program alone.
    """

    def __init__(
        self,
        phone: Phone,
        unit: int = 1,
        sign: int = 1,
        files: bool = True,
    ) -> None:
        self._phone, self._unit, self._sign, self._files = phone, unit, sign, files
        self._charges: Callable[[], bool] = lambda: False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._random = random.Random(3)

    def charge_at(self, moment: Callable[[], bool]) -> None:
        """Put the phone at its cable again once something is so."""
        self._charges = moment

    def __enter__(self) -> Self:
        self._phone.set_battery(86, powered=False)
        text = self._phone.read(tables.BATTERY).replace("status: 2", "status: 3")
        self._phone.write(tables.BATTERY, text)
        if self._files:
            (self._phone.root / HOME[1:]).mkdir(parents=True, exist_ok=True)
            for name, value in (
                ("type", "Battery"),
                ("status", "Discharging"),
                ("voltage_now", UV),
            ):
                self._phone.write(f"{HOME}/{name}", f"{value}\n")
        self._tell()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._ending.wait(_STEP_S):
            self._tell()
            if self._charges():
                self._phone.set_battery(86)
                self._charges = lambda: False

    def _tell(self) -> None:
        # A runner's number lies there from its start to its end.
        runs = any(self._phone.tmp.glob("mvdeploy/run-*/pid"))
        current = (RUNNING_UA if runs else REST_UA) + self._random.randint(-NOISE_UA, NOISE_UA)
        place = f"{HOME}/current_now" if self._files else tables.CURRENT
        # Of one length, and written at once: whoever reads it meanwhile gets a whole number.
        path = self._phone.root / place[1:]
        part = path.with_name(f"{path.name}.part")
        part.write_text(f"{self._sign * current // self._unit}\n")
        part.replace(path)
