"""DeiT as a torch module, four heads wide.

Hugo Touvron, Matthieu Cord, Matthijs Douze, Francisco Massa, Alexandre Sablayrolles and Hervé
Jégou: "Training data-efficient image transformers & distillation through attention", ICML 2021,
arXiv 2012.12877 (facebookresearch/deit). Ti+ is from the ConViT paper (d'Ascoli et al., ICML 2021,
arXiv 2103.10697), which widens DeiT-Ti from three heads of 64 to four; the MobileViT paper's
Figure 7 has it as the DeiT of 10 M parameters. Names in the state dict are those of DeiT's
``models.py`` and of timm.
"""

from __future__ import annotations

from torch import Tensor, nn

from mvdeploy.models.families import _vit
from mvdeploy.records import Category

DIM, HEADS, DEPTH, RATIO, PATCH = 256, 4, 12, 4, 16
EPS = 1e-6


class DeiT(nn.Module):
    """(B, 3, H, W) → (B, classes).

    Args:
        num_classes: outputs of the classifier.
        image_size: height and width, multiples of 16; the table of positions depends on it.
    """

    category = Category.PRE_AND_POST

    def __init__(self, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        tokens = 1 + (image_size[0] // PATCH) * (image_size[1] // PATCH)
        self.patch_embed = _vit.PatchEmbed(PATCH, DIM)
        self.cls_token = _vit.learned(1, 1, DIM)
        self.pos_embed = _vit.learned(1, tokens, DIM)
        self.blocks = nn.Sequential(
            *(_vit.Block(DIM, _vit.Attention(DIM, HEADS), RATIO, EPS) for _ in range(DEPTH))
        )
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _vit.prepend(self.cls_token, self.patch_embed(x)) + self.pos_embed
        x = self.norm(self.blocks(x))
        out: Tensor = self.head(x[:, :1].flatten(1))
        return out
