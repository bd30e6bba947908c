"""What floats in the air of a scene."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.scene import Sparks, Stage


def air(brief: Brief, stage: Stage) -> Sparks:
    """Return what floats in the air: motes, fireflies, snow."""
    rng = brief.rng("air")
    snowing = brief.palette.name == "winter"
    n = brief.count(110 if snowing else 44)
    size = stage.unit * (0.0015 + 0.0042 * rng.random(n) ** 3)
    strength = 0.25 + 0.6 * rng.random(n)
    places = np.stack(
        [rng.random(n) * stage.width, rng.random(n) * stage.height, size, strength, rng.random(n) * 6.28], axis=-1
    )
    fall = 0.06 if snowing else -0.012
    return Sparks(places, brief.palette.light, (stage.unit * 0.012, stage.unit * fall))
