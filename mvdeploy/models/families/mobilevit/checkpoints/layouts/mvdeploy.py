"""mvdeploy's own state dict: ``torch.save(mvdeploy.build(spec).state_dict(), FILE)``.

Fed as a network without a checkpoint is: RGB; 32 pixels of margin around the crop.
"""

from __future__ import annotations

from mvdeploy.models.families.mobilevit.checkpoints.names import Layout, Rule
from mvdeploy.records.spec import ImageRule

LAYOUT = Layout(
    channel_order="RGB",
    images=ImageRule(),
    images_of_heads=ImageRule(margin=0, fit="stretch"),
    rules=(Rule("{module}", "{module}"),),
)
