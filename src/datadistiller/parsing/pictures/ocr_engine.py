"""Text recognition by RapidOCR, whose models (PP-OCRv6 small) are in its wheel. Imported at the first picture."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pypdfium2.raw as pdfium
import rapidocr
from omegaconf import flag_override
from rapidocr import RapidOCR

from datadistiller.parsing import limits
from datadistiller.parsing.pictures.ocr_layout import Piece, Reading

#: Height, width, 3; blue, green, red.
Picture = npt.NDArray[np.uint8]
#: Corners of rectangles, in pixels: n, 4 (from the top left one, clockwise as the text runs), 2 (x, y).
_Boxes = npt.NDArray[np.float64]

#: Longest side of what is searched for text, pixels; with less, small print on a letter page begins to be missed.
_SEARCHED_SIDE = 1440
#: Shorter sides have no room for letters, pixels. The library enlarges thin lines to gigabytes.
_LEAST_SIDE = 8
#: What is less certain is no text.
_MIN_SCORE = 0.5
#: Pieces recognised between two looks at the clock.
_BATCH = 8
#: Pieces that tell whether a page is upside down, and how certain they are if it is not.
_SAMPLE = 5
_UPRIGHT_SCORE = 0.9
_SETTINGS = {
    "Global.log_level": "error",
    # It turns lines of print that stand upright, and so loses them (docs/adr/0016).
    "Global.use_cls": False,
    "Global.max_side_len": limits.MAX_RENDERED_SIDE,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Det.limit_type": "max",
    "Det.limit_side_len": _SEARCHED_SIDE,
    "Rec.rec_batch_num": 1,  # lines of unlike length together cost memory and time for their padding
}


class Engine:
    """Finds and reads text. Loading it takes a second or so; one core is used."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        with _memory_errors():
            self._ocr: Any = RapidOCR(params=_SETTINGS)
            with flag_override(self._ocr.cfg, "allow_objects", True):
                self._ocr.cfg.Det.session = _detector()

    def read(self, picture: Picture) -> Reading:
        """Reads a picture, whichever way it is turned. Raises ``MemoryError``, or what the library raises."""
        if min(picture.shape[:2]) < _LEAST_SIDE:
            return Reading((), True)
        until = time.process_time() + limits.RECOGNITION_SECONDS
        with _memory_errors():
            upright, boxes, turns = self._upright(picture)
            if not len(boxes):
                return Reading((), True)
            texts = self._texts(upright, boxes, until)
        levelled = _levelled(boxes)
        seen = _turned_back(boxes, turns, picture.shape[1], picture.shape[0])
        pieces = [
            Piece(text, _around(levelled[n]), _around(seen[n])) for n, (text, score) in enumerate(texts)
            if score >= _MIN_SCORE and text.strip()
        ]  # fmt: skip
        return Reading(pieces, len(texts) == len(boxes))

    def read_page(self, page: Any, scale: float) -> Reading:
        """Renders a page of pdfium's at ``scale`` pixels a point, and reads that. Raises as ``read`` does."""
        bitmap = page.render(scale=scale, force_bitmap_format=pdfium.FPDFBitmap_BGR)
        try:
            return self.read(bitmap.to_numpy())
        finally:
            bitmap.close()

    def _upright(self, picture: Picture) -> tuple[Picture, _Boxes, int]:
        """The picture as it reads, the boxes in it, and how many quarter turns to the left that took."""
        boxes, turns = self._find(picture), 0
        if len(boxes) and _mostly_tall(boxes):
            picture, turns = _turn(picture, 1), 1
            boxes = self._find(picture)
        if len(boxes) and self._upside_down(picture, boxes):
            picture, turns = _turn(picture, 2), turns + 2
            boxes = self._find(picture)
        return picture, boxes, turns

    def _find(self, picture: Picture) -> _Boxes:
        found = self._ocr(picture, use_det=True, use_cls=False, use_rec=False).boxes
        return np.zeros((0, 4, 2)) if found is None else np.asarray(found, np.float64)

    def _upside_down(self, picture: Picture, boxes: _Boxes) -> bool:
        """True if the longest pieces read better upside down."""
        longest = boxes[np.argsort(-_lengths(boxes)[0])[:_SAMPLE]]
        crops = self._crops(picture, longest)
        score = _mean(self._recognise(crops))
        return score < _UPRIGHT_SCORE and _mean(self._recognise([_turn(crop, 2) for crop in crops])) > score

    def _texts(self, picture: Picture, boxes: _Boxes, until: float) -> list[tuple[str, float]]:
        """Text and certainty of each box, until time is up."""
        texts: list[tuple[str, float]] = []
        for at in range(0, len(boxes), _BATCH):
            texts += self._recognise(self._crops(picture, boxes[at : at + _BATCH]))
            if time.process_time() > until:
                break
        return texts

    def _crops(self, picture: Picture, boxes: _Boxes) -> list[Picture]:
        crops: list[Picture] = self._ocr.crop_text_regions(picture, boxes.astype(np.float32))
        return crops

    def _recognise(self, crops: list[Picture]) -> list[tuple[str, float]]:
        read = self._ocr.recognize_txt(crops)
        return list(zip(read.txts, read.scores, strict=True))


def _detector() -> ort.InferenceSession:
    """The model that finds text, without the layout of tensors that costs 120 MB more on a page."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = Path(rapidocr.__file__).with_name("models") / "PP-OCRv6_det_small.onnx"
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """What the libraries raise when memory is short, as Python's error, which ends the process."""
    try:
        yield
    except Exception as error:
        if "alloc" in str(error).lower() or "memory" in str(error).lower():
            raise MemoryError from None
        raise


def _turn(picture: Picture, quarters: int) -> Picture:
    return np.ascontiguousarray(np.rot90(picture, quarters))


def _mean(read: Sequence[tuple[str, float]]) -> float:
    return sum(score for _, score in read) / max(1, len(read))


def _lengths(boxes: _Boxes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Widths and heights."""
    return np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1), np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)


def _mostly_tall(boxes: _Boxes) -> bool:
    widths, heights = _lengths(boxes)
    tall = heights > 1.5 * widths
    return bool(heights[tall].sum() > widths[~tall].sum())


def _levelled(boxes: _Boxes) -> _Boxes:
    """The boxes with the slant of the page taken out: that of half of the text is less, of half more."""
    edges = boxes[:, 1] - boxes[:, 0]
    widths, heights = _lengths(boxes)
    long = widths > 3 * heights
    if not long.any():
        return boxes
    slant = -float(np.median(np.arctan2(edges[long, 1], edges[long, 0])))
    turn: Any = np.array([[np.cos(slant), -np.sin(slant)], [np.sin(slant), np.cos(slant)]])
    return np.asarray(boxes @ turn.T)


def _turned_back(boxes: _Boxes, turns: int, width: int, height: int) -> _Boxes:
    """Where the boxes are on the picture of that width and height before its quarter turns to the left."""
    for n in range(turns, 0, -1):
        before = width if n % 2 else height  # the width of the picture that this turn was applied to
        boxes = np.stack([before - boxes[..., 1], boxes[..., 0]], axis=-1)
    return boxes


def _around(corners: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right, bottom
