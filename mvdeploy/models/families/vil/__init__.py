"""ViL, Vision Longformer (Zhang et al., ICCV 2021, arXiv 2103.15358): windows and a global token.

Stages: the architectures in the README of the authors' code, microsoft/vision-longformer@c9ce386;
how they compute: src/models/msvit.py and src/models/layers/ there. Tensors have their names. RPB
(relative position bias) is what the paper's table 9 reports as ViL-Tiny-RPB; APE has an absolute
position embedding instead.

Positions belong to the size of the map: weights depend on the image size, whose sides are multiples
of 32. Maps that 7x7 windows do not divide are padded, and what is padded is attended to by none.
"""

from __future__ import annotations

from typing import Any

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

# Channels, heads and blocks of each stage.
_TINY: tuple[tuple[int, int, int], ...] = ((48, 1, 1), (96, 3, 1), (192, 3, 9), (384, 6, 1))
_SMALL: tuple[tuple[int, int, int], ...] = ((96, 3, 1), (192, 3, 2), (384, 6, 8), (768, 12, 1))


def _variant(title: str, stages: tuple[tuple[int, int, int], ...], relative: bool) -> Variant:
    sizes: dict[str, Any] = {"stages": stages, "relative": relative}
    return Variant(f"{title} with {'relative' if relative else 'absolute'} positions", sizes)


names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.vil.network:ViL",
    variants={
        "vil_tiny": _variant("ViL-Tiny", _TINY, relative=True),
        "vil_tiny_ape": _variant("ViL-Tiny", _TINY, relative=False),
        "vil_small": _variant("ViL-Small", _SMALL, relative=True),
    },
    images=BILINEAR,
    about="(Zhang et al., 2021)",
    stride=32,
    sized=True,
)
