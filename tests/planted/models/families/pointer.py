"""A planted family: a network with two outputs."""

from __future__ import annotations

from mvdeploy.records import ModelSpec, Preprocessing


def names():
    return ("pointer",)


def tasks(name):
    return ("point",)


def describe(name):
    return "finds a point"


def defaults(name):
    return ModelSpec(model=name, patches=(), image_size=(32, 32), task="point", num_classes=5)


def check(spec):
    pass


def preprocessing(spec):
    return Preprocessing(resize=spec.image_size, crop=spec.image_size)


def build(spec):
    import torch
    from torch import nn

    from mvdeploy.records import Category

    class Pointer(nn.Module):
        category = Category.CONVOLUTION

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 8, 3, 2, 1)
            )
            self.where, self.what = nn.Linear(8, 2), nn.Linear(8, spec.num_classes)

        def forward(self, image):
            features = torch.relu(self.body(image)).mean((2, 3))
            return self.where(features), self.what(features)

    return Pointer()
