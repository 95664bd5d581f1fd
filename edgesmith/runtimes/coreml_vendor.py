"""coremltools, imported without what it and its packages log about libraries that only macOS or a GPU has."""

from __future__ import annotations

import logging

_LOGGERS = [logging.getLogger(name) for name in ("coremltools", "torchao", "torch.utils._pytree")]
_levels = [logger.level for logger in _LOGGERS]
for _logger in _LOGGERS:
    _logger.setLevel(logging.ERROR)
try:
    import coremltools
finally:
    for _logger, _level in zip(_LOGGERS, _levels):
        _logger.setLevel(_level)

__all__ = ["coremltools"]
