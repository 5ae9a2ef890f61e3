from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of the table by the stage's name."""
    lines = [line.split() for line in text.splitlines() if line]
    begin = next(i for i, line in enumerate(lines) if line[0] == "stage")
    end = next(i for i, line in enumerate(lines) if line[0] == "total")
    return {line[0]: line[1:] for line in lines[begin + 1 : end + 1]}


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_log_of_cvnets(typed: Mvdeploy) -> None:
    done = typed("describe", "mobilevit_xxs", "--macs", "cvnets")
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == {
        "conv_1": ["16x128x128", "464", "7.078"],
        "layer_1": ["16x128x128", "1,472", "21.496"],
        "layer_2": ["24x64x64", "7,696", "35.127"],
        "layer_3": ["48x32x32", "139,888", "162.316", "256", "4", "100.0", "%"],
        "layer_4": ["64x16x16", "341,824", "103.555", "64", "4", "100.0", "%"],
        "layer_5": ["80x8x8", "433,440", "32.692", "16", "4", "100.0", "%"],
        "conv_1x1_exp": ["320x8x8", "26,240", "1.638"],
        "classifier": ["1000", "321,000", "0.321"],
        "total": ["1,272,024", "364.224"],
    }
    assert "CVNets MACs (M)" in done.stdout
    assert "By the true rule: 408.985 M." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_both_totals_and_why_they_differ(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("describe", "mobilevit_xs", "--patches", "2,2,2", "--patches", "8,4,2")
    assert done.returncode == 0, done.stderr
    a, b = done.stdout.split("mobilevit_xs 8,4,2, input 1x3x256x256")
    assert "mobilevit_xs 2,2,2, input 1x3x256x256" in a
    assert rows(a)["total"] == ["2,317,848", "1,028.343"]
    assert rows(b)["total"] == ["2,317,848", "922.174"]
    assert rows(b)["layer_3"] == ["64x32x32", "297,152", "336.593", "16", "64", "13.5", "%"]
    assert "1,028.343 M by the true rule, 986.269 M by the rule of the CVNets log" in flat(a)
    assert "922.174 M by the true rule, 986.269 M by the rule of the CVNets log" in flat(b)
    for half in (a, b):
        assert "takes each attention product as B·P·N·d·d where B·P·N²·d is right" in flat(half)
    assert "layer_3 a pixel" not in flat(a)
    assert "In layer_3 a pixel is reached by only 13.5 % of the map (11.8 % at worst)" in flat(b)
    assert "the 8x8 patch is larger than the 3x3 window" in flat(b)
    assert flat(b).count("published") + flat(b).count("Published") == 1
    assert "74.8 % top-1 accuracy with 2,2,2 and 73.8 % with 8,4,2 (MobileViT paper" in flat(b)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy(
        *("describe", "mobilevit_xxs", "--patches", "8,4,2", "--patches", "3,3,3"),
        *("--image-size", "288", "--json", "--fused"),
    )
    assert done.returncode == 0, done.stderr
    b, three = json.loads(done.stdout)
    for printed in (b, three):
        assert printed["schema_version"] == 2
        assert printed["spec"]["image_size"] == [288, 288]
        for column in ("parameters", "macs", "macs_cvnets"):
            total = sum(stage[column] for stage in printed["stages"])
            assert total == printed["totals"][column]
        assert list(printed["coverage"]) == ["layer_3", "layer_4", "layer_5"]
        (folding,) = printed["passes"]
        assert folding["name"] == "fold_batchnorm"
        assert len(folding["changed"]) == 32
    assert b["totals"]["parameters"] == 1_272_024
    # The map of layer_4, 18 pixels, is resized for patches of 4: that closes its gaps.
    assert [f["code"] for f in b["findings"]] == ["patch_exceeds_kernel"]
    assert b["coverage"]["layer_3"]["mean"] < 1 == b["coverage"]["layer_4"]["min"]
    assert "8x8 patch is larger" in b["findings"][0]["sentence"]
    assert b["findings"][0]["values"]["source"] == "MobileViT paper, §C, Figure 8"
    assert {f["code"] for f in three["findings"]} == {"edge_out_of_reach"}
    assert "source" not in three["findings"][0]["values"]
    assert three["stages"][3]["unfolding"]["patch"] == {"height": 3, "width": 3}
    assert three["stages"][0]["unfolding"] is None


def test_fused_lists_what_was_folded(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("describe", "mobilevit_xxs", "--image-size", "64", "--fused")
    assert done.returncode == 0, done.stderr
    folded = [line.split() for line in done.stdout.splitlines() if line.startswith("  folded")]
    assert len(folded) == 32
    assert ["folded", "conv_1.norm", "into", "conv_1.conv"] in folded
    assert ["folded", "layer_3.1.fuse.norm", "into", "layer_3.1.fuse.conv"] in folded
    assert "BatchNorm: 32 folded, 0 left." in done.stdout
    assert "\n  left" not in done.stdout


def test_fused_says_what_was_left_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    from mvdeploy.cli.commands import describe
    from mvdeploy.records import PassReport

    report = PassReport("fold_batchnorm", ("a.norm into a.conv",), ("b: it did not run",), 1e-6)
    describe._show_pass(report)
    said = capsys.readouterr().out
    assert "BatchNorm: 1 folded, 1 left." in said
    assert "  folded  a.norm into a.conv\n  left    b: it did not run\n" in said
    describe._show_pass(PassReport("plain_weights", ("weight of a without WeightNorm",), (), 1e-9))
    said = capsys.readouterr().out
    assert "plain_weights: 1 changed, 0 left. The outputs moved by 1.0e-09 at most." in said
    assert "  changed  weight of a without WeightNorm\n" in said


def test_every_finding_has_its_words() -> None:
    import torch
    from torch import nn

    from mvdeploy import models
    from mvdeploy.cli.commands import describe
    from mvdeploy.models import stages

    spec = models.make_spec("mobilevit_xxs")
    network = nn.Sequential(nn.LSTM(8, 4))
    (finding,) = stages.describe(network, spec, torch.rand(2, 3, 8)).findings
    assert describe._sentence(finding).endswith("missing in the MACs: aten.mkldnn_rnn_layer.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mobilvit_s"], "mobilvit_s"),
        (["--patches", "2,2"], "2,2"),
        (["--patches", "64,2,2"], "64"),
        (["--image-size", "0"], "0"),
        (["--macs", "wrong"], "wrong"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input(mvdeploy: Mvdeploy, arguments: list[str], named: str) -> None:
    done = mvdeploy("describe", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    what, remedy = done.stderr.splitlines()
    assert what.startswith("Error: ")
    assert named in what
    assert remedy.endswith(".")


@pytest.mark.parametrize("arguments", [["--help"], ["mobilvit_s"], ["--macs", "wrong"]])
def test_help_and_usage_errors_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from mvdeploy.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit(10 * ('torch' in sys.modules or 'numpy' in sys.modules))\n"
    )
    command = [sys.executable, "-c", code, "describe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_how_fast_this_machine_multiplies_is_measured_once(
    mvdeploy: Mvdeploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    first = mvdeploy("describe", "--device", "host")
    assert first.returncode == 0, first.stderr
    assert "measure how fast this machine multiplies" in first.stderr
    cells = [line.split() for line in first.stdout.splitlines()]
    measured = {(line[0], line[1]) for line in cells if len(line) > 5}
    assert {("fp32", "1"), ("int8", "1"), ("bf16", "1")} <= measured
    again = mvdeploy("describe", "--device", "host", "--json")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    kept = json.loads(again.stdout)
    assert {rate["numbers"] for rate in kept["rates"]} >= {"fp32", "int8"}
    assert kept["measured"] in first.stdout


def test_again_is_for_a_device(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("describe", "mobilevit_xxs", "--again")
    assert done.returncode == 2
    assert "Add --device host." in done.stderr
