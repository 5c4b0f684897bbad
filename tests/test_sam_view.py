"""The square that SAM sees, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from folioscope.views import SAM_MEAN, SAM_STD, SamFrame, sam_view, unmap_masks


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((2646, 1764), (1024, 683)),
        ((900, 600), (1024, 683)),
        ((320, 533), (615, 1024)),
        ((901, 123), (1024, 140)),
        ((1024, 1024), (1024, 1024)),
        ((5000, 1), (1024, 1)),
        ((1, 1), (1024, 1024)),
    ],
)
def test_the_longer_side_fills_the_square(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    frame = SamFrame(size, 1024)
    assert frame.scaled == scaled
    assert frame.ratios == (scaled[0] / size[0], scaled[1] / size[1])


def test_pixels_are_normalised_and_the_rest_is_their_mean() -> None:
    view = sam_view(Image.new("RGB", (40, 20), (255, 0, 51)), 64)
    expected = (torch.tensor([1, 0, 0.2]) - torch.tensor(SAM_MEAN)) / torch.tensor(SAM_STD)
    assert view.pixels.shape == (3, 64, 64)
    torch.testing.assert_close(view.pixels[:, :32], expected[:, None, None].expand(3, 32, 64))
    assert not view.pixels[:, 32:].any()


def test_the_resizing_is_pillows() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    pixels = sam_view(image, 32).pixels[:, :19].permute(1, 2, 0).numpy()
    bytes_ = np.rint((pixels * SAM_STD + SAM_MEAN) * 255)
    assert (bytes_ == np.array(image.resize((32, 19), Image.Resampling.BILINEAR))).all()


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (7, 7), (300, 1)])
def test_masks_come_back_to_where_the_image_was(size: tuple[int, int]) -> None:
    """Logits that are x, then y, in the square's pixels are so in the image's, but for the edges."""
    frame, cell = SamFrame(size, 64), torch.arange(16) * 4 + 2.0
    low = torch.stack([cell.expand(16, 16), cell[:, None].expand(16, 16)])
    x, y = next(unmap_masks(low.to(torch.bfloat16)[None], frame.placement))[0]
    assert x.dtype == torch.float32
    assert x.shape == y.shape == size[::-1]
    for found, length, ratio in ((x[0], size[0], frame.ratios[0]), (y[:, 0], size[1], frame.ratios[1])):
        expected = ((torch.arange(length) + 0.5) * ratio).clamp(2, 62)
        assert (found - expected).abs().max() <= max(1, ratio)
