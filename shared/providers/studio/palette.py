"""Colours of an offline picture, chosen from the words of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.providers.studio.paint import Rgb, rgb


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one mood, sRGB 0..255.

    Attributes:
        sky: from zenith to horizon.
        light: sun, moon or lamp.
        haze: what distance fades into.
        land: the nearest, darkest ground.
        leaf: growth, cloth, mid-tone surfaces.
        accent, spice: two colours that may stand out.
        paper: ground of flat and drawn pictures.
        is_night: lit windows, stars and a moon.
    """

    name: str
    sky: tuple[Rgb, Rgb, Rgb]
    light: Rgb
    haze: Rgb
    land: Rgb
    leaf: Rgb
    accent: Rgb
    spice: Rgb
    paper: Rgb
    is_night: bool = False


_ROWS = """
sunset    #2c2f6b #d4587a #ffc478 #fff0c2 #f09d78 #23122f #6d3358 #ff6b4a #ffb347 #fbe9d4 day
dawn      #6d97cf #f1bfb6 #ffe7c4 #fff6dd #dcc3cf #25344c #5f7a8f #ee7f6d #f5cf7f #faf0e6 day
day       #1d6fc0 #74bde6 #e4f2ee #fffcec #aed4e4 #123a4d #3d7d62 #ff7a4d #ffcf5c #f4f1e6 day
ocean     #0f5c9e #4aa6cf #d8efe6 #fffae3 #93cbd8 #0c3448 #1f7f86 #ff8760 #ffd98a #eef4ee day
forest    #8fbfa8 #cfe2b8 #f8f4cc #fffad6 #b4d2ae #0d271d #2d6a43 #e8b24a #cf5240 #f3f0dc day
night     #0a1033 #22357a #7387c9 #f3f0d8 #4d62a8 #080c22 #23345f #f2b45a #8fb8ff #e6e6ee night
neon      #150733 #5b1c9c #ff5fa8 #ffd9f2 #8d41cf #0b0520 #31206b #12e2f5 #ff3d8d #f1e4f7 night
gold      #33231a #97632f #f3c98a #fff0c8 #d8a765 #1d120c #6e4526 #d99f2b #8a2434 #f7ecd7 day
winter    #7b9fc4 #c3d8e8 #f6ece4 #fff8ee #cfdeea #22405e #54799a #e15a34 #7fb0b5 #f3f5f7 day
desert    #3f9bc2 #efd0a2 #ffe6bd #fff7dd #eebf93 #6a2c1c #bf6638 #d1432b #f3a34c #faecd6 day
autumn    #6c8fb0 #e9c9a0 #ffe4ad #fff2cf #dcae84 #2f1a14 #a5501f #d8572a #f0b13c #f8ecd8 day
spring    #83b9de #f3cedb #fff0e2 #fff8ea #e3c9d6 #2f3e4e #6f9a63 #e8739a #f7c948 #fbf1ee day
storm     #39475a #77899b #cfd4d2 #f6f4ea #93a2ae #161d26 #3f5361 #d98b3a #7fa8b8 #ecece8 day
tropical  #0d8fb0 #5fd0c4 #fff0bf #fffbe0 #9fe0d0 #0c3b40 #138a5e #ff5f57 #ffc145 #f3f7e9 day
pastel    #a6b8e8 #e8c6e4 #fde8d8 #fffaf0 #d9cbe6 #4b4a78 #8fb3a6 #f28b9b #f6c879 #fbf4f2 day
vintage   #3f8087 #e2b877 #f6e3b6 #fff3d0 #d9b78a #26323a #6b7a4c #d2582f #e9a53a #f6e9cd day
rose      #6d3b66 #d98398 #fbd9c8 #fff1e0 #dba3a9 #32152b #8a4663 #e0486b #f4b183 #fbeee8 day
graphite  #23272e #5d6670 #c9cdcf #fafaf5 #8d969e #14171b #454d57 #e9633b #f0c24b #f2f1ed day
"""

# Words before the bar name a light or season and count three times as much as things that merely suggest one.
_WORDS = {
    "sunset": "sunset dusk evening golden-hour | warm fire flame lava orange volcano marathon",
    "dawn": "dawn sunrise morning mist misty fog foggy | calm serene peaceful yoga wellness breakfast",
    "day": "noon midday daylight | day sky blue summer sunny bright clear sport cycling travel mountain alpine",
    "ocean": "underwater | ocean sea water wave coast beach marine sail sailing harbour harbor lake river",
    "forest": "green | forest jungle wood woodland nature garden moss tea eco organic plant botanical leaf sustainable",
    "night": "night midnight moonlight nocturnal galaxy | moon star starry space cosmos dark planet astronaut",
    "neon": "neon cyberpunk synthwave vaporwave | futuristic cyber club techno electric robot ai gaming game data",
    "gold": "gold golden luxury luxurious | jewelry jewellery watch whisky honey perfume coffee chocolate leather",
    "winter": "winter snow snowy frozen arctic christmas | ice icy frost glacier ski",
    "desert": "desert sahara mars | sand dune canyon savanna savannah camel clay",
    "autumn": "autumn fall october harvest | pumpkin maple rustic cabin fox cosy cozy",
    "spring": "spring blossom sakura | flower cherry floral bloom meadow petal tulip bouquet",
    "storm": "storm rain rainy thunder noir lightning | grey gray cloudy moody industrial",
    "tropical": "tropical hawaii paradise | palm island mango parrot lagoon fruit juice smoothie",
    "pastel": "pastel dreamy | soft dream baby candy unicorn cute gentle skincare cream cosmetic serum",
    "vintage": "vintage retro 70s 60s | jazz poster old classic nostalgic record vinyl cafe",
    "rose": "rose pink romantic valentine | love wedding wine berry lipstick beauty",
    "graphite": "graphite monochrome steel | minimal tech technology phone laptop camera car conference business",
}


def _read(row: str) -> Palette:
    name, *codes, hour = row.split()
    top, middle, horizon, *rest = (rgb(code) for code in codes)
    light, haze, land, leaf, accent, spice, paper = rest
    sky = (top, middle, horizon)
    return Palette(name, sky, light, haze, land, leaf, accent, spice, paper, is_night=hour == "night")


PALETTES = {palette.name: palette for palette in (_read(row) for row in _ROWS.strip().splitlines())}
PALETTE_WORDS = {
    word: (name, weight)
    for name, words in _WORDS.items()
    for group, weight in zip(words.split("|"), (3.0, 1.0), strict=True)
    for word in group.split()
}


def choose_palette(told: Sequence[tuple[str, float]], draw: float, moods: tuple[str, ...]) -> Palette:
    """Return the palette the prompt's words speak for; one of *moods* by *draw* (0..1) where none does.

    Args:
        told: the words, each with its weight.
    """
    votes: dict[str, float] = {}
    for word, emphasis in told:
        if word in PALETTE_WORDS:
            name, weight = PALETTE_WORDS[word]
            votes[name] = votes.get(name, 0) + weight * emphasis
    if votes:
        return PALETTES[max(votes, key=lambda name: votes[name])]
    return PALETTES[moods[int(draw * len(moods)) % len(moods)]]
