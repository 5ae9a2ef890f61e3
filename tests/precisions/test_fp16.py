"""What half precision costs, measured in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mvdeploy.precisions import fp16
from mvdeploy.records import Parity, ParityInput


class Sums(nn.Module):
    """Two operators, so that what is between them shows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0 + 2**-13]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight + 2048.0) - 2048.0


def test_weights_and_every_result_are_rounded() -> None:
    image = np.asarray([[1.0, 3.0, 0.75]], dtype=np.float32)
    network = Sums()
    with fp16.rounding(network) as rounded:
        found = rounded(torch.from_numpy(image)).detach().numpy()
    # Halves from 2048 on are whole numbers of two; the weight's last bits are below half's.
    np.testing.assert_array_equal(found, [[0.0, 4.0, 0.0]])
    assert float(network.weight.detach()) == 1.0 + 2**-13
    exact = network(torch.from_numpy(image)).detach().numpy()
    assert not np.array_equal(exact, found)


def test_float32_is_left_outside_of_it() -> None:
    with fp16.rounding(Sums()) as rounded:
        rounded(torch.ones(1, 1))
    assert float(torch.tensor(2049.0) - 2048) == 1.0


def judged(snr: float, rounding: float | None, top1: bool = True) -> bool:
    one = ParityInput("x", 0.5, snr, 1.0, top1, rounding)
    return Parity("e", (one,), None, 1.0, False, (), 45.0).accepts(one)


def test_the_demand_follows_what_rounding_costs() -> None:
    assert judged(46, None) and not judged(44, None)
    assert judged(46, 60) and not judged(44, 60)
    assert judged(36, 40) and not judged(33, 40)
    assert not judged(46, 60, top1=False)
    assert not judged(float("nan"), 60)


def test_the_demand_is_told() -> None:
    one = ParityInput("x", 0.5, 50.0, 1.0, True, 40.0)
    assert Parity("e", (one,), None, 1.0, True, (), 45.0).demand == (
        "SNR 45 dB, or as far as rounding allows: 34 dB"
    )
    clear = ParityInput("x", 0.5, 50.0, 1.0, True, 60.0)
    assert Parity("e", (clear,), None, 1.0, True, (), 45.0).demand == "SNR 45 dB"
    assert Parity("e", (clear,), 1e-4, 1.0, True).demand == "max abs 1e-04"


def test_what_a_network_returns_keeps_its_form() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"boxes": x + 2048.0, "scores": x}

    with fp16.rounding(Two()) as rounded:
        found = rounded(torch.ones(1, 1))
    assert found["boxes"].tolist() == [[2048.0]]
    assert found["scores"].tolist() == [[1.0]]


def several(*inputs: tuple[float, float]) -> Parity:
    """Return a comparison with an SNR and rounding's on each input."""
    found = tuple(
        ParityInput(str(n), 0.1, snr, 1.0, True, rounding)
        for n, (snr, rounding) in enumerate(inputs)
    )
    return Parity("e", found, None, 1.0, False, (), 45.0)


def test_more_is_allowed_on_one_input_where_the_others_are_exact() -> None:
    sound = several((38, 35), (36, 34), (28, 35))
    assert all(map(sound.accepts, sound.inputs))
    wrong = several((28, 35), (27, 34), (28, 35))
    assert not any(map(wrong.accepts, wrong.inputs))
    assert sound.demand.endswith("as far as rounding allows: 23 dB")
    assert wrong.demand.endswith("as far as rounding allows: 29 dB")
    unknown = several((38, 35), (float("nan"), 34), (28, 35))
    assert not unknown.accepts(unknown.inputs[1])


def test_luck_of_rounding_on_one_input_counts_for_nothing() -> None:
    lucky = several((35, 34), (35, 35), (33, 42))
    assert all(map(lucky.accepts, lucky.inputs))
    wrong = several((35, 34), (35, 35), (22, 42))
    assert [wrong.accepts(one) for one in wrong.inputs] == [True, True, False]
    assert wrong.worst.name == "2"
    assert wrong.demand == "SNR 45 dB, or as far as rounding allows: 23 dB"


def test_what_is_told_is_the_input_that_has_least_to_spare() -> None:
    one = several((60, 70), (36, 34), (50, 70))
    assert one.worst.name == "2"  # 5 dB above what is demanded, the second 8
    assert all(map(one.accepts, one.inputs))


class Divided(nn.Module):
    """Divides by what half precision has not, where it keeps out of mixed precision."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.kept:
            return x / (x + 1e-15)
        with torch.autocast("cpu", enabled=False):
            return x / (x + 1e-15)


def test_what_a_network_keeps_in_float32_is_not_rounded() -> None:
    zeros = torch.zeros(1, 3)
    with fp16.rounding(Divided(kept=True)) as rounded:
        assert rounded(zeros).tolist() == [[0.0, 0.0, 0.0]]
    with fp16.rounding(Divided(kept=False)) as rounded:
        assert rounded(zeros).isnan().all()


def test_autocast_is_left_as_it_was() -> None:
    before = torch.autocast.__enter__, torch.autocast.__exit__
    with fp16.rounding(Divided(kept=True)) as rounded:
        assert torch.autocast.__enter__ is not before[0]
        rounded(torch.zeros(1, 3))
    assert (torch.autocast.__enter__, torch.autocast.__exit__) == before


class Cached(nn.Module):
    """Keeps what it computed from its weights until it is trained, as attention biases are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0 + 2**-13, 3.0]))
        self.cache: list[torch.Tensor] = []

    def train(self, mode: bool = True) -> Cached:
        if mode:
            self.cache = []
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.cache:
            self.cache = [self.weight[torch.tensor([0, 1])]]
        return x + self.cache[0][0]


def test_what_a_network_keeps_of_its_weights_is_made_anew() -> None:
    network = Cached().eval()
    with torch.inference_mode():
        assert float(network(torch.zeros(1))) == 1.0 + 2**-13
    with fp16.rounding(network) as rounded, torch.inference_mode():
        assert float(rounded(torch.zeros(1))) == 1.0
    assert float(network(torch.zeros(1))) == 1.0 + 2**-13
