"""Architecture search by annealing and pruning (ASAP): spaces, their supernets, and the task that prunes them."""

from edgesmith.plugins import Plugins

SPACES = Plugins(
    "space",
    {
        "cells": "edgesmith.compress.asap.cells:cells",
        "chain": "edgesmith.compress.asap.chain:chain_space",
    },
)
