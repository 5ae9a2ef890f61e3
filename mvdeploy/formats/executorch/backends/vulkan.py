"""GPUs, through Vulkan; lowered ahead of time on any machine."""

from __future__ import annotations

from typing import Any

RUNS_ON = "a device with a Vulkan driver and ExecuTorch's Vulkan backend, such as an Android phone"
FORMULATION = "plain"
REWRITINGS: tuple[str, ...] = ()
NEEDED: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()


def partitioners() -> list[Any]:
    """Return the partitioner with its defaults."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return [VulkanPartitioner()]
