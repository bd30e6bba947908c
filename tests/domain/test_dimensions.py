import pytest

from shared.domain.dimensions import (
    IMAGE_ASPECT_RATIOS,
    IMAGE_SIZES,
    VIDEO_ASPECT_RATIOS,
    VIDEO_RESOLUTIONS,
    image_pixels,
    video_pixels,
)

SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("aspect_ratio", IMAGE_ASPECT_RATIOS)
def test_an_image_has_the_ratio_asked_the_area_of_its_size_and_sides_in_blocks_of_16(aspect_ratio, size):
    width, height = image_pixels(aspect_ratio, size)
    across, down = (int(part) for part in aspect_ratio.split(":"))
    assert width % 16 == 0
    assert height % 16 == 0
    assert width / height == pytest.approx(across / down, rel=0.02)
    assert width * height == pytest.approx(SIDES[size] ** 2, rel=0.06)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_a_square_image_has_exactly_the_sides_of_its_size(size):
    assert image_pixels("1:1", size) == (SIDES[size], SIDES[size])


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize(("wide", "tall"), [("16:9", "9:16"), ("3:2", "2:3"), ("8:1", "1:8")])
def test_a_ratio_and_its_inverse_have_nearly_the_same_area(wide, tall, size):
    (w1, h1), (w2, h2) = image_pixels(wide, size), image_pixels(tall, size)
    assert w1 * h1 == pytest.approx(w2 * h2, rel=0.06)
    assert w1 > h1
    assert w2 < h2


@pytest.mark.parametrize(
    ("aspect_ratio", "resolution", "pixels"),
    [
        ("16:9", "720p", (1280, 720)),
        ("9:16", "720p", (720, 1280)),
        ("1:1", "720p", (720, 720)),
        ("16:9", "1080p", (1920, 1080)),
        ("9:16", "1080p", (1080, 1920)),
        ("1:1", "1080p", (1080, 1080)),
        ("16:9", "4k", (3840, 2160)),
        ("9:16", "4k", (2160, 3840)),
        ("1:1", "4k", (2160, 2160)),
    ],
)
def test_a_video_has_the_pixels_its_resolution_names(aspect_ratio, resolution, pixels):
    assert video_pixels(aspect_ratio, resolution) == pixels


def test_every_video_combination_has_even_sides():
    sides = [side for a in VIDEO_ASPECT_RATIOS for r in VIDEO_RESOLUTIONS for side in video_pixels(a, r)]
    assert all(side % 2 == 0 for side in sides)


@pytest.mark.parametrize("aspect_ratio", ["", "1:0", "7:5", "16x9", "1:1 "])
def test_an_aspect_ratio_not_offered_is_refused_naming_those_that_are(aspect_ratio):
    with pytest.raises(ValueError, match=r"not one of .*16:9"):
        image_pixels(aspect_ratio, "1K")
    with pytest.raises(ValueError, match="not one of 16:9, 9:16, 1:1"):
        video_pixels(aspect_ratio, "720p")


@pytest.mark.parametrize("size", ["", "1k", "8K", "1024"])
def test_a_size_not_offered_is_refused_naming_those_that_are(size):
    with pytest.raises(ValueError, match="not one of 512, 1K, 2K, 4K"):
        image_pixels("1:1", size)


@pytest.mark.parametrize("resolution", ["", "480p", "4K", "1080"])
def test_a_resolution_not_offered_is_refused_naming_those_that_are(resolution):
    with pytest.raises(ValueError, match="not one of 720p, 1080p, 4k"):
        video_pixels("16:9", resolution)
