"""XPS documents and binary workbooks: what is read beyond the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import formats, limits, registry
from tests.fixtures import xlsb, xps
from tests.fixtures.xps import glyphs


def read(path: Path, media_type: str) -> list[Page]:
    return [item for item in registry.parser_of(media_type).parse(path, media_type) if isinstance(item, Page)]


class TestXps:
    """XPS documents."""

    def test_lines_in_reading_order_with_their_places(self, tmp_path: Path) -> None:
        page, _ = read(xps.write(tmp_path / "a.xps"), formats.XPS)
        assert page.text == "Of Ducks\n\nDucks swim in ponds."
        assert page.size == (612, 792) and not page.recognised
        line = page.lines[0]
        assert page.text[line.start : line.end] == "Of Ducks"
        assert (line.left, line.top, line.bottom) == pytest.approx((72, 72 - 0.8 * 24, 72 + 0.2 * 24))
        assert line.right == pytest.approx(72 + 8 * 0.55 * 24)

    def test_places_are_those_of_the_canvas_they_lie_in(self, tmp_path: Path) -> None:
        inner = glyphs("below", 0, 0, 10, 'Indices="1,100;2,50;3;4;5"')
        moved = (
            f'<Canvas RenderTransform="2,0,0,2,96,480"><Canvas><Canvas.RenderTransform><MatrixTransform '
            f'Matrix="1,0,0,1,0,48"/></Canvas.RenderTransform>{inner}</Canvas></Canvas>'
        )
        (page,) = read(xps.write(tmp_path / "a.xps", [[moved, glyphs("{}{above}", 96, 96)]]), formats.XPS)
        assert page.text == "{above}\nbelow"
        assert (page.lines[1].left, page.lines[1].bottom) == pytest.approx((72, 432 + 0.2 * 15))
        assert page.lines[1].right == pytest.approx(72 + (1 + 0.5 + 3 * 0.55) * 15)

    def test_a_damaged_page_costs_only_itself(self, tmp_path: Path) -> None:
        first, second = read(xps.write(tmp_path / "a.xps", [["<Glyphs"], [glyphs("Geese.", 9, 9)]]), formats.XPS)
        assert first.problem is not None and first.problem.code == "damaged"
        assert second.text == "Geese."


class TestXlsb:
    """Binary workbooks."""

    def test_sheets_with_their_header(self, tmp_path: Path) -> None:
        ponds, lakes = read(xlsb.write(tmp_path / "a.xlsb"), formats.XLSB)
        assert (ponds.label, lakes.label) == ("Ponds", "Lakes")
        assert ponds.text == "Of Ducks | Weight\nOf Ducks: Ducks swim in ponds.; Weight: 300.5"

    def test_a_bomb_is_refused_before_the_library_sees_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = xlsb.write(tmp_path / "a.xlsb")
        monkeypatch.setattr(limits, "MAX_EXPANDED_BYTES", 500)
        with pytest.raises(errors.LimitExceeded):
            read(path, formats.XLSB)
