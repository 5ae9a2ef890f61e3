"""Mobile-Former (Chen et al., CVPR 2022, arXiv 2108.05895): a MobileNet beside a few tokens.

Blocks, widths and tokens of the networks: mobile_former.py of the authors' code,
AAboys/MobileFormer@f447310; how blocks compute: dna_blocks.py there. Tensors have their names.
Images may have any size.
"""

from __future__ import annotations

from typing import Any

from mvdeploy.models.families._classifiers import BILINEAR, Classifiers, Variant

# Of a block: expansions, one for each of its depthwise convolutions, and channels.
Rows = tuple[tuple[tuple[int, ...], int], ...]

_ROWS_96M: Rows = (
    ((6, 4), 16),
    ((6, 4), 32),
    ((3,), 32),
    ((6, 4), 64),
    ((4,), 64),
    ((6,), 88),
    ((6, 4), 128),
    ((6,), 128),
)


def _rows(widths: tuple[int, int, int, int, int], early: tuple[int, int]) -> Rows:
    """Return the blocks of the larger networks, which differ in little.

    Args:
        widths: channels at strides 4, 8, 16, again 16, and 32.
        early: expansions of the second blocks at strides 4 and 8.
    """
    a, b, c, wide, d = widths
    return (
        ((6, 4), a),
        ((early[0],), a),
        ((6, 4), b),
        ((early[1],), b),
        ((6, 4), c),
        ((4,), c),
        *(((6,), wide),) * 2,
        ((6, 4), d),
        *(((6,), d),) * 2,
    )


def _variant(
    title: str, rows: Rows, last: int, stem: int = 12, tokens: tuple[int, int] = (6, 192)
) -> Variant:
    sizes: dict[str, Any] = {"rows": rows, "stem": stem, "tokens": tokens, "last": last}
    return Variant(f"Mobile-Former-{title}", sizes)


names, describe, defaults, check, preprocessing, build = Classifiers(
    network="mvdeploy.models.families.mobile_former.network:MobileFormer",
    variants={
        "mobile_former_96m": _variant("96M", _ROWS_96M, 1280, tokens=(4, 128)),
        "mobile_former_151m": _variant("151M", _rows((16, 32, 64, 88, 128), (3, 3)), 1280),
        "mobile_former_214m": _variant("214M", _rows((20, 40, 80, 112, 160), (3, 4)), 1600),
        "mobile_former_294m": _variant("294M", _rows((24, 48, 96, 128, 192), (4, 4)), 1920, 16),
    },
    images=BILINEAR,
    about="(Chen et al., 2022)",
)
