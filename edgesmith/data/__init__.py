"""Data: `load(**options) -> Data` by name."""

from edgesmith.plugins import Plugins

DATASETS = Plugins(
    "dataset",
    {
        "digits": "edgesmith.data.digits:load",
        "folder": "edgesmith.data.folder:load",
        "faces": "edgesmith.data.faces:load",
        "face-templates": "edgesmith.data.face_templates:load",
        "faces-rec": "edgesmith.data.face_records:load",
        "shards": "edgesmith.data.shards:load",
        "scenes": "edgesmith.data.scenes:load",
        "multilabel": "edgesmith.data.multilabel:load",
        "multilabel-shards": "edgesmith.data.multilabel_shards:load",
        "albums": "edgesmith.data.albums:load",
        "album-shards": "edgesmith.data.album_shards:load",
        "theme-albums": "edgesmith.data.theme_albums:load",
        "arrays": "edgesmith.data.arrays:load",
    },
)
