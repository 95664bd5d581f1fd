"""A reference interpreter of Core ML's MIL programs over torch: runs an .mlpackage on any machine."""

from edgesmith.runtimes.mil.model import Model, load
from edgesmith.runtimes.mil.numerics import MODES

__all__ = ["MODES", "Model", "load"]
