"""Composites and pages: what is drawn is what the masks say, from a seed, without a package too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from folioscope.train.composites import backdrops, objects
from folioscope.train.composites.compose import Composite, CompositeStyle, compose
from folioscope.train.composites.objects import SIDE, shelf
from folioscope.train.composites.page_objects import compose_page

STYLE = CompositeStyle(side=96, objects=(2, 4), size=(0.2, 0.6))
DRAW = {"composite": compose, "page": compose_page}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine without emoji, clip art and scikit-image."""
    monkeypatch.setattr(objects.fonts, "font_folders", lambda: [tmp_path])
    monkeypatch.setattr(objects.fonts, "data_folders", lambda: [tmp_path])
    monkeypatch.setattr(backdrops.importlib.util, "find_spec", lambda name: None)
    caches = (objects.shelf, objects._emoji_font, backdrops.photographs)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("kind", DRAW)
def test_a_seed_draws_the_same_picture_again(kind: str) -> None:
    one, same, other = (DRAW[kind](STYLE, seed) for seed in (5, 5, 6))
    assert one.image.tobytes() == same.image.tobytes()
    assert np.array_equal(one.masks, same.masks)
    assert one.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("kind", DRAW)
def test_masks_are_of_the_picture_and_do_not_overlap(kind: str) -> None:
    for seed in range(6):
        scene = DRAW[kind](STYLE, seed)
        assert max(scene.image.size) == STYLE.side
        assert scene.masks.shape[1:] == scene.image.size[::-1]
        assert scene.masks.sum((1, 2)).min() > 0
        assert scene.masks.sum(0).max() == 1


def test_an_object_looks_unlike_what_it_is_laid_on() -> None:
    """Its pixels differ from those just around it: the mask is where the object is, not a few pixels off."""
    steps, away = [], []
    for seed in range(12):
        scene = compose(replace(STYLE, objects=(1, 1), size=(0.4, 0.6)), seed)
        steps.append(contrast_at_the_rim(scene, 0))
        away.append(contrast_at_the_rim(scene, 6))
    assert np.mean(steps) > 1.5 * np.mean(away)


def contrast_at_the_rim(scene: Composite, shift: int) -> float:
    """Mean difference of neighbouring pixels across the mask's rim, the mask moved `shift` pixels to the right."""
    grey = np.asarray(scene.image.convert("L"), np.float32)
    mask = np.roll(scene.masks[0], shift, axis=1)
    across = mask[:, 1:] != mask[:, :-1]
    return float(np.abs(np.diff(grey, axis=1))[across].mean())


def test_no_object_is_in_both_splits() -> None:
    train, held_out = shelf("train"), shelf("held_out")
    assert not set(train.emoji) & set(held_out.emoji)
    assert not {objects._kind(path) for path in train.clip_art} & {objects._kind(path) for path in held_out.clip_art}
    assert not set(backdrops.PHOTOGRAPHS["train"]) & set(backdrops.PHOTOGRAPHS["held_out"])


def test_objects_fill_their_frame_and_are_solid() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        taken = shelf("train").draw(rng)
        alpha = np.asarray(taken.getchannel("A"))
        assert taken.mode == "RGBA"
        assert max(taken.size) <= SIDE
        assert alpha.any(0)[[0, -1]].all()
        assert alpha.any(1)[[0, -1]].all()


def test_a_wire_is_no_object() -> None:
    wire = np.zeros((100, 100, 4), np.uint8)
    wire[10:90, 10:13, 3] = wire[10:13, 10:90, 3] = wire[87:90, 10:90, 3] = wire[10:90, 87:90, 3] = 255
    solid = wire.copy()
    solid[10:90, 10:90, 3] = 255
    assert objects._usable(Image.fromarray(wire)) is None
    assert objects._usable(Image.fromarray(solid)) is not None


def test_a_bare_machine_draws_shapes_on_textures(bare: None) -> None:
    assert shelf("train").missing == ["fonts-noto-color-emoji", "openclipart-png"]
    assert backdrops.photographs("train") == ()
    assert len(compose(STYLE, 0).masks)


def test_photographs_are_found_where_scikit_image_is() -> None:
    pytest.importorskip("skimage", reason="photographs come from scikit-image")
    assert len(backdrops.photographs("train")) == len(backdrops.PHOTOGRAPHS["train"])
    assert len(backdrops.photographs("held_out")) == len(backdrops.PHOTOGRAPHS["held_out"])
