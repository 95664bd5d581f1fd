"""Data: `load(**options) -> Data` by name."""

from edgesmith.plugins import Plugins

DATASETS = Plugins(
    "dataset",
    {
        "digits": "edgesmith.data.digits:load",
        "folder": "edgesmith.data.folder:load",
        "faces": "edgesmith.data.faces:load",
        "arrays": "edgesmith.data.arrays:load",
    },
)
