from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image

from shared.domain.dimensions import IMAGE_ASPECT_RATIOS, image_pixels
from shared.providers.studio.brief import SUBJECTS, read_brief
from shared.providers.studio.finish import measure
from shared.providers.studio.image import render_image

STYLES = (None, "photographic", "digital-art", "cinematic", "anime", "sketch", "artistic", "minimalist")
PROMPTS = {
    "landscape": "mountain valley at sunset",
    "sea": "a lighthouse by the sea",
    "forest": "misty forest trail",
    "city": "neon city street in the rain at night",
    "hall": "lecture on black holes, poster",
    "space": "a planet with rings",
    "product": "luxury perfume bottle",
    "botanical": "rose bouquet",
    "abstract": "jazz album cover",
    "portrait": "portrait of a woman",
}


def decoded(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def grade(picture):
    """The definition of the quality gate, computed independently of the renderer."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    sharpness, brightness, contrast = cv2.Laplacian(gray, cv2.CV_64F).var(), gray.mean(), gray.std()
    score = 3 * (sharpness > 1000) or 2 * (sharpness > 500) or 1 * (sharpness > 100)
    score += 2 * (100 <= brightness <= 200) or 1 * (50 <= brightness <= 250)
    score += 2 * (contrast > 50) or 1 * (contrast > 25)
    return "A" if score >= 6 else "B" if score >= 4 else "C"


def fingerprint(picture):
    """dHash: 64 bits, the sign of the horizontal gradient at 9 x 8 pixels."""
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    return small[:, 1:] > small[:, :-1]


def draw(prompt, style=None, seed=1, side=256, **more):
    return render_image(prompt, width=side, height=side, seed=seed, style=style, **more)


@pytest.mark.parametrize("subject", PROMPTS)
def test_every_subject_gets_the_best_grade_in_any_style(subject):
    first = list(PROMPTS).index(subject)
    for seed, style in enumerate(
        (None, STYLES[1 + first % 7], STYLES[1 + (first + 3) % 7], STYLES[1 + (first + 5) % 7])
    ):
        assert grade(decoded(draw(PROMPTS[subject], style, seed))) == "A", style


@pytest.mark.parametrize("aspect_ratio", IMAGE_ASPECT_RATIOS)
def test_every_aspect_ratio_has_its_exact_size_and_the_best_grade(aspect_ratio):
    width, height = image_pixels(aspect_ratio, "512")
    prompt, style = list(PROMPTS.values())[height % 10], STYLES[width % len(STYLES)]
    picture = decoded(render_image(prompt, width=width, height=height, seed=3, style=style))
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    assert grade(picture) == "A"


@pytest.mark.parametrize(("size", "media_type"), [("1K", "image/png"), ("1K", "image/jpeg"), ("2K", "image/png")])
def test_larger_pictures_keep_the_best_grade(size, media_type):
    width, height = image_pixels("16:9", size)
    picture = decoded(render_image("calm sea", width=width, height=height, seed=5, media_type=media_type))
    assert picture.shape == (height, width, 3)
    assert grade(picture) == "A"


def test_a_picture_over_the_working_size_is_enlarged_and_still_sharp():
    picture = decoded(render_image("abstract shapes", width=3200, height=1600, seed=1, media_type="image/jpeg"))
    assert picture.shape == (1600, 3200, 3)
    assert grade(picture) == "A"


@pytest.mark.parametrize("detail", [0.5, 0.75, 1.0])
def test_less_detail_still_gets_the_best_grade(detail):
    for style in (None, "minimalist"):
        assert grade(decoded(draw("a coffee cup", style, detail=detail))) == "A"


@pytest.mark.parametrize(
    "mood", ["white snow and fog", "noir midnight storm", "golden luxury", "夕焼けの海", "?!", "🙂🙂🙂🙂🙂"]
)
def test_bright_dark_and_wordless_prompts_stay_within_the_bounds(mood):
    for seed in range(2):
        sharpness, brightness, contrast = measure(decoded(draw(mood, seed=seed)))
        assert sharpness > 1000
        assert 60 < brightness < 195
        assert contrast > 50


@pytest.mark.parametrize(("media_type", "format_name"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_the_file_is_of_the_type_asked(media_type, format_name):
    image = Image.open(BytesIO(draw("a fox", media_type=media_type)))
    image.load()
    assert image.format == format_name
    assert image.mode == "RGB"


@pytest.mark.parametrize("style", [None, "sketch", "artistic", "minimalist"])
def test_the_same_arguments_give_the_same_bytes_also_in_threads(style):
    first = draw("red fox in the snow", style, seed=9)
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda _: draw("red fox in the snow", style, seed=9), range(2)))
    assert all(other == first for other in others)


@pytest.mark.parametrize("prompt", PROMPTS.values())
def test_seeds_give_clearly_different_pictures(prompt):
    prints = [fingerprint(decoded(draw(prompt, seed=seed))) for seed in range(4)]
    assert min(int((a != b).sum()) for a, b in combinations(prints, 2)) >= 6


def test_styles_give_clearly_different_pictures_of_one_scene():
    pictures = [decoded(draw("perfume bottle", style)).astype(int) for style in STYLES]
    assert min(np.abs(a - b).mean() for a, b in combinations(pictures, 2)) > 8


def test_prompts_give_different_pictures():
    prints = [fingerprint(decoded(draw(prompt))) for prompt in PROMPTS.values()]
    assert min(int((a != b).sum()) for a, b in combinations(prints, 2)) >= 6


def test_a_gradient_has_no_bands():
    sky = decoded(render_image("clear blue sky over the sea", width=512, height=512, seed=2))[:120, :, 1].astype(int)
    runs = np.abs(np.diff(sky, axis=0)) > 0
    assert runs.mean() > 0.5  # grain: neighbours differ, so no row of equal steps can be seen


@pytest.mark.parametrize("subject", PROMPTS)
def test_the_words_of_the_prompt_choose_the_subject(subject):
    assert read_brief(PROMPTS[subject], 1, None).subject == subject
    assert subject in SUBJECTS


@pytest.mark.parametrize(
    ("prompt", "palette"),
    [
        ("mountain lake at sunset", "sunset"),
        ("ocean at night", "night"),
        ("neon city", "neon"),
        ("winter forest", "winter"),
        ("golden watch", "gold"),
    ],
)
def test_the_words_of_the_prompt_choose_the_colours(prompt, palette):
    assert read_brief(prompt, 1, None).palette.name == palette


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("A photo of a red fox in the snow at dawn, cinematic lighting", "RED FOX IN THE SNOW"),
        ("jazz album cover with abstract shapes", "JAZZ WITH ABSTRACT SHAPES"),
        ("Café crème on a table", "CAFE CREME ON A TABLE"),
        ("夕焼けの海と山", ""),
        ("Professional photograph of a lighthouse", "LIGHTHOUSE"),
    ],
)
def test_the_title_is_the_core_of_the_prompt_in_letters_the_font_has(prompt, title):
    assert read_brief(prompt, 1, None).title == title


def test_a_poster_is_framed_by_paper_and_titled():
    picture = decoded(render_image("jazz festival poster", width=416, height=624, seed=1))
    border = np.concatenate([picture[:12].reshape(-1, 3), picture[:, :12].reshape(-1, 3)])
    assert border.min() > 150
    below = picture[-70:-8, 30:-30].min(axis=2)
    assert (below < 90).any()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (88, 712), (208, 96), (101, 77)])
def test_small_and_odd_sizes_are_exact(width, height):
    for prompt in list(PROMPTS.values())[:: 1 if width < 100 else 3]:
        assert decoded(render_image(prompt, width=width, height=height, seed=2)).shape == (height, width, 3)


def test_another_media_type_is_refused():
    with pytest.raises(ValueError, match="image/png, image/jpeg"):
        draw("a fox", media_type="image/webp")


def test_a_side_under_64_pixels_is_refused():
    with pytest.raises(ValueError, match="64 pixels"):
        render_image("a fox", width=640, height=63, seed=1)
