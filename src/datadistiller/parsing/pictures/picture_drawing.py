"""Draws pictures as they are shown: turned as the camera was, on white, scaled down, of a TIFF the page asked for."""

from __future__ import annotations

from pathlib import Path

from datadistiller.parsing.drawing import Raster, fitting
from datadistiller.parsing.pictures import picture


def draw(path: Path, media_type: str, page: int, width: int, most_pixels: int) -> Raster:
    """The picture, never larger than it is. Raises ``errors.DamagedDocument``, ``errors.LimitExceeded``."""
    with picture.opened(path, media_type) as image, picture.decoding():
        image.seek(page - 1)
        picture.check_size(image)
        shown = picture.upright(image)
        scale = min(1.0, fitting(shown.width, shown.height, width, most_pixels))
        size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
        if size != shown.size:
            shown = shown.resize(size)
        return Raster(*size, bytearray(shown.tobytes()))
