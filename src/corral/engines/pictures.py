"""Pictures as they are decoded: of bounded size, by FFmpeg's decoders of pictures alone, and never a film or a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from corral.errors import CorralError, Kind

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MOST_BYTES = 64 * 1024**2
MOST_PIXELS = 100_000_000
"""Of a picture that is decoded: 400 MB of memory, for a moment."""
_WHOLE = {"err_detect": "explode"}
"""A JPEG that is cut off is an error; FFmpeg makes its rest grey otherwise."""
_FORMATS = "png_pipe,apng,jpeg_pipe,webp_pipe,gif,bmp_pipe,tiff_pipe"
"""FFmpeg's names of pictures; its other formats are films, and lists that have it open what they name."""


class PictureError(CorralError):
    """A file is not a picture that can be decoded."""

    code: ClassVar[str] = "picture.undecodable"
    kind: ClassVar[Kind] = Kind.INVALID


def decode_picture(source: Path, *, most_pixels: int = MOST_PIXELS, is_whole: bool = False) -> VideoFrame:
    """Return the picture, or the first of a file that has several; blocks.

    FFmpeg refuses more than `most_pixels` before it takes memory, and counts a margin of each row, too. With `is_whole`
    a file that is cut off is refused.

    Raises: PictureError.
    """
    import av  # 40 MB of memory, for the first picture
    from av.error import FFmpegError

    if source.stat().st_size > MOST_BYTES:
        raise PictureError(f"the picture has more than {MOST_BYTES:,} bytes")
    bound = {"max_pixels": str(most_pixels)}
    try:
        with av.open(str(source), options={**bound, "format_whitelist": _FORMATS}) as container:  # this decodes, too
            stream = container.streams.video[0]
            stream.codec_context.options = {**bound, **_WHOLE} if is_whole else bound
            if stream.codec_context.width * stream.codec_context.height == 0:
                raise PictureError(f"the picture's size cannot be read, or is above {most_pixels:,} pixels")
            return next(container.decode(stream))
    except (FFmpegError, IndexError, StopIteration) as error:
        raise PictureError(f"the file is not a picture that can be read: {type(error).__name__}") from error
