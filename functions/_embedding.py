"""Pieces as a page that loads nothing can show them: pictures scaled down, clips and posters as `data:` URIs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from functions._pages import size
from shared.domain.platforms import Platform, find_platform, length, split_title, thread_parts
from shared.errors import PipelineError
from shared.ports import Json

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SIDE = 1024  # pixels of the longer side
MANY_PICTURES = 60  # above it they are embedded at MANY_SIDE, so that the page stays one a phone can open
MANY_SIDE = 640
JPEG_QUALITY = 82
MAX_VIDEO_BYTES = 8_000_000
MAX_TEXT_CHARS = 100_000
LINKED = "file:///"  # what a browser can open; any other address is shown, not linked
PLAYABLE = frozenset({"video/mp4", "video/webm"})

ReadPiece = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Shown:
    """A piece on the page.

    Attributes:
        form: image, video, text or file.
        facts: what it is, e.g. "1024 × 1024 · image/png · 1.2 MB".
        href: where the original is, if a browser can open it.
        src, poster: `data:` URIs; None when there is nothing to show.
        problem: why it is not shown, or not whole.
        parts: a text's posts, each with its length when a platform counts it.
    """

    form: str
    uri: str
    facts: str
    href: str | None = None
    src: str | None = None
    poster: str | None = None
    problem: str | None = None
    title: str | None = None
    parts: tuple[tuple[str, str | None], ...] = ()
    is_json: bool = False


class Embedder:
    """Shows pieces, embedding at most *max_bytes* of pictures and clips in all; the rest is linked."""

    def __init__(self, read_piece: ReadPiece, max_bytes: int, side: int = PICTURE_SIDE) -> None:
        self._read = read_piece
        self._left = max_bytes
        self._side = side

    def show(self, piece: Json, platform_name: str | None = None) -> Shown:
        """Return how the page shows a piece of a result."""
        media_type = str(piece["media_type"])
        bare = Shown("file", str(piece["uri"]), facts_of(piece), href=link_to(str(piece["uri"])))
        if piece.get("text") is not None:
            return _text(bare, str(piece["text"]), media_type, platform_name)
        try:
            if media_type.startswith("image/"):
                return self._picture(replace(bare, form="image"))
            if media_type in PLAYABLE:
                return self._video(replace(bare, form="video"), media_type, int(piece["size_bytes"]))
        except PipelineError as error:
            return replace(bare, problem=f"the file could not be read: {error}")
        return bare

    def _picture(self, shown: Shown) -> Shown:
        if self._left <= 0:
            return replace(shown, problem="not embedded, to keep this page small")
        data = thumbnail(self._read(shown.uri), self._side)
        if data is None:
            return replace(shown, problem="the file is not a picture that can be opened")
        return replace(shown, src=self._embedded(data, "image/jpeg"))

    def _video(self, shown: Shown, media_type: str, size_bytes: int) -> Shown:
        if self._left <= 0:
            return replace(shown, problem="not embedded, to keep this page small")
        data = self._read(shown.uri)
        poster = poster_frame(data, self._side)
        if poster is None:
            return replace(shown, problem="the file is not a clip that can be opened")
        shown = replace(shown, poster=self._embedded(poster, "image/jpeg"))
        if size_bytes > MAX_VIDEO_BYTES or len(data) > min(MAX_VIDEO_BYTES, self._left):
            return replace(shown, problem="too large to play here; this is one of its frames")
        return replace(shown, src=self._embedded(data, media_type))

    def _embedded(self, data: bytes, media_type: str) -> str:
        self._left -= len(data)
        return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def facts_of(piece: Json) -> str:
    """Return what is known of a piece: dimensions, duration, type, size."""
    text = piece.get("text")
    found = [
        f"{piece['width']} × {piece['height']}" if piece.get("width") and piece.get("height") else None,
        f"{piece['duration_s']:g} s" if piece.get("duration_s") else None,
        f"{len(text.split()):,} words" if text is not None else None,
        piece["media_type"],
        size(int(piece["size_bytes"])),
    ]
    return " · ".join(str(item) for item in found if item)


def link_to(uri: str) -> str | None:
    """Return *uri* if a browser may be sent there from a page of ours."""
    return uri if uri.startswith(LINKED) else None


# ---------------------------------------------------------------- pictures and frames


def thumbnail(data: bytes, side: int) -> bytes | None:
    """Return a JPEG whose longer side has at most *side* pixels; None when *data* is no picture we open."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            picture.draft("RGB", (side, side))
            return _jpeg(ImageOps.exif_transpose(picture), side)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None


def poster_frame(data: bytes, side: int) -> bytes | None:
    """Return a frame from the first third of a clip as JPEG; None when *data* is no clip that decodes."""
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            if container.duration:
                container.seek(container.duration // 3)
            frame = next(container.decode(video=0))
            return _jpeg(frame.to_image(), side)  # type: ignore[no-untyped-call]
    except (av.FFmpegError, StopIteration, IndexError, ValueError):
        return None


def _jpeg(picture: Image, side: int) -> bytes:
    if picture.mode in ("RGBA", "LA", "P"):
        from PIL import Image

        layered = picture.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        picture = Image.alpha_composite(ground, layered)
    picture = picture.convert("RGB")
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


# ---------------------------------------------------------------- texts


def _text(bare: Shown, text: str, media_type: str, platform_name: str | None) -> Shown:
    """Lay a text out: JSON indented, a thread as its posts, a title apart from its text."""
    cut = text[:MAX_TEXT_CHARS]
    problem = f"only the first {MAX_TEXT_CHARS:,} characters are shown" if len(cut) < len(text) else None
    shown = replace(bare, form="text", problem=problem)
    pretty = _pretty_json(cut) if media_type == "application/json" or cut.lstrip()[:1] in ("{", "[") else None
    if pretty is not None:
        return replace(shown, parts=((pretty, None),), is_json=True)
    platform = find_platform(platform_name) if platform_name else None
    if platform is None:
        return replace(shown, parts=((cut, None),))
    title, body = split_title(cut, platform)
    posts = thread_parts(body) if platform.thread else [body.strip()]
    return replace(shown, title=title, parts=tuple((post, _counted(post, platform)) for post in posts))


def _counted(post: str, platform: Platform) -> str:
    return f"{length(post, platform.unit):,} of {platform.max_chars:,}"


def _pretty_json(text: str) -> str | None:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
