"""Models: `build(**options) -> (nn.Module, Card)` by name."""

from edgesmith.plugins import Plugins

MODELS = Plugins(
    "model",
    {
        "mobilefacenet": "edgesmith.models.mobilefacenet:build",
        "asap_net": "edgesmith.models.asap_net:build",
