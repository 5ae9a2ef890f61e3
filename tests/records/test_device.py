from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.records import DeviceProfile, codec
from mvdeploy.records.device import Cluster, CoolDown, core_mask

FIRST = {
    "schema_version": 1,
    "record": "DeviceProfile",
    "name": "host",
    "title": "this machine",
    "link": "host",
    "engines": ["onnxruntime"],
    "aliases": ["local"],
    "threads": 1,
    "notes": "n",
}
"""A profile as it was saved before it told about the hardware."""


def test_profiles_that_were_saved_before_are_read() -> None:
    found = codec.loads(DeviceProfile, json.dumps(FIRST), "run.json")
    assert found.aliases == ("local",)
    assert (found.match, found.clusters, found.cores) == ({}, (), ())
    assert found.cool_down == CoolDown(0, 36.0, 300.0, 5.0)
    assert found.bandwidth_gb_s is None
    assert found.fixed_performance


def test_a_profile_is_saved_whole() -> None:
    profile = DeviceProfile(
        "p",
        "P",
        "adb",
        ("executorch",),
        match={"ro.product.device": ("flame",)},
        clusters=(Cluster("big", (4, 5), 2_000_000),),
        bandwidth_gb_s=34.1,
        cool_down=CoolDown(1, 30.0, 10.0, 1.0),
    )
    assert codec.loads(DeviceProfile, codec.dumps(profile), "x") == profile
    assert "mask" not in codec.dumps(profile)


@pytest.mark.parametrize(
    ("cores", "mask"),
    [
        ((), "0"),
        ((0,), "1"),
        ((4, 5, 6, 7), "f0"),
        ((7, 4), "90"),
        ((3, 3), "8"),
        ((35,), "800000000"),
    ],
)
def test_masks_are_hexadecimal(cores: tuple[int, ...], mask: str) -> None:
    assert core_mask(cores) == mask
    assert Cluster("x", cores, 1).mask == mask


@given(st.sets(st.integers(0, 200)))
def test_a_mask_has_a_bit_for_each_core(cores: set[int]) -> None:
    number = int(core_mask(cores), 16)
    assert {bit for bit in range(300) if number >> bit & 1} == cores
