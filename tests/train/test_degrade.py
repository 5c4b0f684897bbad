"""Damages: same size, same damage for the same seed, readable still; and skew that goes where its matrix says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from folioscope.train import degrade


def page(width: int = 160, height: int = 90) -> Image.Image:
    pixels = np.full((height, width, 3), 250, dtype=np.uint8)
    pixels[20:70:10, 20:140] = 10
    return Image.fromarray(pixels)


@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("damage", degrade._DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_changes_the_page_but_not_its_shape(damage, strength: float) -> None:
    damaged = damage(page(), np.random.default_rng(3), strength)
    assert damaged.size == page().size
    assert damaged.mode == "RGB"
    change = np.abs(np.asarray(damaged, dtype=float) - np.asarray(page(), dtype=float)).mean()
    assert 0.5 < change < 130


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_ink_stays_darker_than_paper(strength: float) -> None:
    for seed in range(40):
        grey = np.asarray(degrade.degrade(page(), np.random.default_rng(seed), strength).convert("L"), dtype=float)
        assert grey[12:17, 30:130].mean() - grey[30, 30:130].mean() > 20, seed


def test_the_same_seed_does_the_same_damage() -> None:
    first, second, other = (degrade.degrade(page(), np.random.default_rng(seed), 1.0) for seed in (5, 5, 6))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_skew_moves_points_as_its_matrix_says() -> None:
    pixels = np.zeros((120, 200, 3), dtype=np.uint8)
    pixels[30:33, 40:43] = 255
    turned = np.asarray(degrade.skew(Image.fromarray(pixels), 5.0, (0, 0, 0)), dtype=float)[..., 0]
    rows, columns = np.mgrid[0:120, 0:200] + 0.5
    middle = (turned * columns).sum() / turned.sum(), (turned * rows).sum() / turned.sum()
    a, b, c, d, e, f = degrade.skew_matrix((200, 120), 5.0)
    assert middle == pytest.approx((a * 41.5 + b * 31.5 + c, d * 41.5 + e * 31.5 + f), abs=0.1)


def test_skew_is_undone_by_its_opposite() -> None:
    there, back = (np.reshape([*degrade.skew_matrix((64, 48), angle), 0, 0, 1], (3, 3)) for angle in (1.5, -1.5))
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-9)


def test_skew_angles_stay_within_the_strength() -> None:
    angles = [degrade.skew_angle(np.random.default_rng(seed), 2.0) for seed in range(200)]
    assert 1.5 < max(map(abs, angles)) <= 2
    assert min(angles) < 0 < max(angles)
