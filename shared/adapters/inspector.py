"""Opens pieces and measures them. Decoders are loaded with the first piece, so importing this costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from shared.domain.quality import ImageMeasures, Undecodable, VideoMeasures


class Inspector:
    """Measures pictures and clips, and holds JSON against schemas. Safe in threads: it keeps nothing."""

    def __init__(
        self,
        *,
        max_image_pixels: int = 40_000_000,
        max_image_bytes: int = 64 << 20,
        max_video_bytes: int = 2 << 30,
        max_video_s: float = 600.0,
        max_video_side: int = 4096,
        deadline_s: float = 240.0,
    ) -> None:
        """Set what is refused unopened, and after how many seconds a clip is given up."""
        self._image = {"max_pixels": max_image_pixels, "max_bytes": max_image_bytes}
        self._video: dict[str, Any] = {
            "max_bytes": max_video_bytes,
            "max_duration_s": max_video_s,
            "max_side": max_video_side,
            "deadline_s": deadline_s,
        }

    def image(self, data: bytes) -> ImageMeasures | Undecodable:
        """Return the figures of a PNG, JPEG or WebP file; whatever the bytes are, this answers."""
        from shared.adapters.inspect_image import ImageLimits, measure_image

        return measure_image(data, ImageLimits(**self._image))

    def video(self, file: BinaryIO, size_bytes: int) -> VideoMeasures | Undecodable:
        """Return the figures of an MP4, MOV or WebM clip, streamed from *file*, which can seek.

        Only errors of reading *file* itself are raised; whatever is in it makes an answer.
        """
        from shared.adapters.inspect_video import VideoLimits, measure_video

        return measure_video(file, size_bytes, VideoLimits(**self._video))

    def text_errors(self, text: str, schema: dict[str, Any]) -> list[str]:
        """Return what is wrong with *text* as JSON of *schema*; empty when nothing is."""
        from shared.adapters.inspect_schema import text_errors

        return text_errors(text, schema)

    def schema_errors(self, instance: Any, schema: dict[str, Any]) -> list[str]:
        """Return what is wrong with *instance* by *schema*; empty when nothing is."""
        from shared.adapters.inspect_schema import schema_errors

        return schema_errors(instance, schema)

    def schema_problem(self, schema: Any) -> str | None:
        """Return why *schema* is no JSON schema that we accept; None when it is one."""
        from shared.adapters.inspect_schema import schema_problem

        return schema_problem(schema)
