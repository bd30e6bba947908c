"""The words that the prompt optimiser may add, as data: replace them here or pass others to `optimise`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptWords:
    """Terms by what calls for them, the most telling first: the last ones go when the prompt gets too long.

    Attributes:
        styles: terms that make a piece of that style, by style.
        quality: terms every piece of that kind gets, by kind.
        negative: what no piece of that kind should show, by kind.
    """

    styles: Mapping[str, tuple[str, ...]]
    quality: Mapping[str, tuple[str, ...]]
    negative: Mapping[str, tuple[str, ...]]


DEFAULT_WORDS = PromptWords(
    styles={
        "photographic": ("photorealistic", "natural lighting", "realistic textures"),
        "digital-art": ("digital art", "vivid colors", "clean edges"),
        "cinematic": ("cinematic lighting", "film still", "dramatic composition"),
        "anime": ("anime style", "cel shading", "expressive linework"),
        "sketch": ("pencil sketch", "hand-drawn lines", "paper texture"),
        "artistic": ("painterly", "expressive brushwork", "rich colors"),
        "minimalist": ("minimalist composition", "clean background", "simple shapes"),
    },
    quality={
        "image": ("high quality", "sharp focus", "well composed"),
        "video": ("high quality", "smooth motion", "consistent lighting"),
    },
    negative={
        "image": ("low quality", "blurry", "distorted", "deformed hands", "watermark", "jpeg artifacts"),
        "video": ("low quality", "blurry", "flickering", "jittery motion", "distorted", "watermark"),
    },
)

# What vendors' safety filters often refuse, and what can stand in its place without changing what the picture is of.
SOFTER_WORDS: Mapping[str, str] = {
    "assassin": "mysterious figure",
    "battle": "dramatic encounter",
    "beheaded": "fallen",
    "blood": "red paint",
    "bloody": "crimson",
    "bomb": "large clock",
    "bombing": "fireworks",
    "bullet": "small metal object",
    "corpse": "resting figure",
    "dagger": "ornate object",
    "dead body": "resting figure",
    "drunk": "merry",
    "explosion": "burst of light",
    "explosive": "bright",
    "fight": "sparring match",
    "fighting": "sparring",
    "gore": "drama",
    "gory": "dramatic",
    "gun": "hand-held tool",
    "horror": "mystery",
    "kill": "confront",
    "killer": "mysterious figure",
    "killing": "confronting",
    "knife": "kitchen tool",
    "massacre": "tragedy",
    "murder": "mystery",
    "naked": "clothed",
    "nude": "clothed",
    "pistol": "hand-held tool",
    "rifle": "long tool",
    "scary": "mysterious",
    "seductive": "elegant",
    "sexy": "elegant",
    "shoot": "point",
    "shooting": "pointing",
    "slaughter": "chaos",
    "sword": "ceremonial staff",
    "terrifying": "awe-inspiring",
    "topless": "clothed",
    "violence": "tension",
    "violent": "intense",
    "war": "conflict",
    "weapon": "tool",
    "wound": "mark",
    "wounded": "weary",
}
