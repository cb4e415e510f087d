"""Pictures (png, jpeg, tiff, webp, bmp, gif, jp2) by Pillow, their text by recognition. A TIFF may have many pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, limits
from datadistiller.parsing.pictures import ocr, ocr_layout

if TYPE_CHECKING:
    from PIL.Image import Image

    from datadistiller.parsing.pictures.ocr_engine import Picture

#: Media type -> Pillow's name of the only decoder that gets to see the file.
_DECODERS = {
    formats.PNG: "PNG",
    formats.JPEG: "JPEG",
    formats.TIFF: "TIFF",
    formats.WEBP: "WEBP",
    formats.BMP: "BMP",
    formats.GIF: "GIF",
    formats.JP2: "JPEG2000",
}
#: Pictures with a longer side below this are read at twice their size, pixels.
_SMALL_SIDE = 800
#: The EXIF tag that says how a picture is turned, and its first value of a picture that lies on its side.
_ORIENTATION, _LYING = 0x0112, 5


class PictureParser:
    """Reads what is written on pictures."""

    name = "rapidocr"
    media_types = tuple(_DECODERS)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page each. Raises ``errors.DamagedDocument``, ``errors.LimitExceeded``."""
        if not ocr.installed():
            yield Header(self.name, media_type, "", 1)
            yield Page(1, "")
            yield from ocr.warnings(0, 0, 0, unread=1)
            return
        with opened(path, media_type) as image:
            count = int(getattr(image, "n_frames", 1)) if media_type == formats.TIFF else 1
            yield Header(self.name, media_type, "", count)
            read = part = empty = 0
            for number in range(first_page if media_type == formats.TIFF else 1, count + 1):
                page, whole = self._page(image, number, count)
                yield page
                read += bool(page.text)
                part += not whole
                empty += not page.text and page.problem is None
        yield from ocr.warnings(read, part, empty)

    def _page(self, image: Image, number: int, count: int) -> tuple[Page, bool]:
        """A page, and whether it was read to its end."""
        try:
            with decoding():
                image.seek(number - 1)
                check_size(image)
                size, picture, unit = prepared(image)
            reading = ocr.engine().read(picture)
        except errors.UnreadableDocument as error:
            if count == 1:
                raise
            return Page(number, "", problem=error.problem()), True
        return ocr_layout.page(number, "", reading.pieces, size, unit), reading.whole


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Pillow's many errors as ours."""
    from PIL import Image

    try:
        yield
    except (errors.DataDistillerError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large() from None
    except Exception as error:
        raise errors.DamagedDocument(
            f"The picture is damaged, or not what its type says ({type(error).__name__})."
        ) from None


@contextlib.contextmanager
def opened(path: Path, media_type: str) -> Iterator[Image]:
    """The picture, of which only the header was read."""
    from PIL import Image

    with contextlib.ExitStack() as stack:
        with decoding():
            image = stack.enter_context(Image.open(path, formats=[_DECODERS[media_type]]))
            check_size(image)
        yield image


def check_size(image: Image) -> None:
    """Looks at the header only: nothing is decoded yet."""
    if image.width * image.height > limits.MAX_PIXELS:
        raise _too_large()


def _too_large() -> errors.LimitExceeded:
    return errors.LimitExceeded(
        f"The picture has more than {limits.MAX_PIXELS:,} pixels.", hint="Scale it down, or split it."
    )


def prepared(image: Image) -> tuple[tuple[float, float], Picture, float]:
    """Size as shown, the pixels as they are read, and what one of those is in pixels as shown."""
    from PIL.Image import Resampling

    full = max(image.size)
    size = image.size[::-1] if image.getexif().get(_ORIENTATION, 1) >= _LYING else image.size
    image.draft("RGB", (limits.MAX_RENDERED_SIDE, limits.MAX_RENDERED_SIDE))  # JPEG can be decoded at a fraction
    shown = upright(image)
    longest = max(shown.size)
    side = min(limits.MAX_RENDERED_SIDE, longest) if full >= _SMALL_SIDE else 2 * longest
    width, height = (max(1, round(length * side / longest)) for length in shown.size)
    scaled = shown if side == longest else shown.resize((width, height), Resampling.LANCZOS)
    return size, np.ascontiguousarray(np.asarray(scaled)[:, :, ::-1]), full / side


def upright(image: Image) -> Image:
    """The picture in red, green and blue on white, turned as it is shown, no larger than it need be."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(_plain(image))


def _plain(image: Image) -> Image:
    """The picture in red, green and blue on white, no larger than it need be."""
    from PIL import Image as pillow

    if image.mode.startswith(("I", "F")):
        image = pillow.fromarray(_stretched(np.asarray(image)))
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.reduce(max(1, max(image.size) // limits.MAX_RENDERED_SIDE))
    if image.mode == "RGBA":
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _stretched(values: np.ndarray[Any, Any]) -> Picture:
    """Brightness of more than eight bits: from the darkest to the lightest point there is."""
    finite = np.nan_to_num(values.astype(np.float32))
    low, high = float(finite.min()), float(finite.max())
    return np.asarray((finite - low) * (255 / max(high - low, 1e-6)), np.uint8)
