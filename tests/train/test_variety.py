"""Pages with other proportions and strokes: what stands on them, and where, stays true."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from folioscope.train import variety
from folioscope.train.render import PageStyle, TrainingPage, render_page


@pytest.fixture(scope="module")
def page() -> TrainingPage:
    return render_page(PageStyle(side=256, lines=(4, 4), degrade=0, layout=0), 5)


def ink_in(page: TrainingPage, box: np.ndarray) -> float:
    """The darkest pixel's darkness in a box, 0..255."""
    x1, y1, x2, y2 = box.round().astype(int)
    return 255 - float(np.asarray(page.image.convert("L"))[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].min())


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_stretched_page_says_where_its_glyphs_are(
    page: TrainingPage, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variety, "varied_image", lambda image, rng: variety._stretched(image, factor))
    drawn = variety.varied(page, np.random.default_rng(0))
    assert drawn.image.size == (round(page.image.width * factor), round(page.image.height / factor))
    assert all(ink_in(drawn, box) > 100 for box in drawn.glyphs[:, 1:])
    parts = [one.blocks / np.tile(one.image.size, 2) for one in (page, drawn)]
    np.testing.assert_allclose(parts[0], parts[1], atol=1e-5)
    places = [one.plain_xy / one.image.size for one in (page, drawn)]
    np.testing.assert_allclose(places[0], places[1], atol=1e-5)
    assert (drawn.grounded, drawn.plain) == (page.grounded, page.plain)


@pytest.mark.parametrize(("amount", "sign"), [(0.4, -1), (-0.4, 1)])
def test_ink_spreads_or_wears(page: TrainingPage, amount: float, sign: int) -> None:
    light = [float(np.asarray(one.convert("L")).mean()) for one in (page.image, variety._inked(page.image, amount))]
    assert np.sign(light[1] - light[0]) == sign
    blank = Image.new("RGB", (8, 8), (200, 210, 220))
    assert np.array_equal(np.asarray(variety._inked(blank, amount)), np.asarray(blank))


def test_pages_vary_and_repeat(page: TrainingPage) -> None:
    def seen(seed: int) -> tuple[tuple[int, int], bytes]:
        image = variety.varied(page, np.random.default_rng(seed)).image
        return image.size, image.tobytes()

    assert seen(1) == seen(1)
    assert len({seen(seed) for seed in range(12)}) > 6
