"""Models: `build(**options) -> (nn.Module, Card)` by name."""

from edgesmith.plugins import Plugins

MODELS = Plugins(
    "model",
    {
        "mobilefacenet": "edgesmith.models.mobilefacenet:build",
        "resnet": "edgesmith.models.resnet:build",
        "timm": "edgesmith.models.timm:build",
    },
)
