"""Segment Anything: an image is embedded once, and prompted many times.

Source: Segment Anything (arXiv 2304.02643, section 3 and figure 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.sam_masks import MaskDecoder
from folioscope.model.sam_prompts import FOREGROUND, PromptEmbeddings, PromptEncoder
from folioscope.model.sam_vit import SamViT
from folioscope.model.two_way import Guidance, Trace


@dataclass(frozen=True)
class Prediction:
    """Masks of N objects in each of B images, M for each object.

    Attributes:
        logits: (B, N, M, 4h, 4w), above 0 inside the object; in the frame of the image as it was encoded.
        iou: (B, N, M), the model's estimate of each mask's IoU with the object; raw, so below 0 and above 1 too.
        attention_maps: (B, N, heads, T, h * w) of each of the decoder's blocks: the weights with which T tokens (IoU,
            masks, prompts) attend to the image. Empty, as the next, if no trace was asked for.
        image_updates: (B, N, h * w, C) of each block: what the image's positions take over from the tokens.
            transformers returns these, as (B * N, 1, h * w, C), under the name `mask_decoder_attentions`.
    """

    logits: Tensor
    iou: Tensor
    attention_maps: tuple[Tensor, ...] = ()
    image_updates: tuple[Tensor, ...] = ()


class Sam(nn.Module):
    """The whole network. Device and dtype are those of its weights."""

    def __init__(self, config: SamConfig):
        super().__init__()
        self.config = config
        self.vit = SamViT(config.vit)
        self.prompts = PromptEncoder(config)
        self.masks = MaskDecoder(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.masks.iou_token.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.masks.iou_token.weight.device

    def embed(self, pixels: Tensor) -> Tensor:
        """Encode (B, 3, S, S) normalised pixels to (B, C, h, w), h = w = S / patch_size.

        S is `config.vit.image_size`, or another multiple of the patch, for which the position tables are resized.
        """
        return self.vit(pixels.to(self.device, self.dtype))

    def predict(
        self,
        embeddings: Tensor,
        *,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = True,
        mask_padding: bool = True,
        attention_similarity: Tensor | None = None,
        similarity_after_softmax: bool = False,
        target_embedding: Tensor | None = None,
        trace: bool = False,
    ) -> Prediction:
        """Segment N objects in each of B embedded images; without any prompt, one.

        Args:
            embeddings: (B, C, h, w), from `embed`.
            points: (B, N, P, 2) pixels (x, y) of the image as it was encoded.
            labels: (B, N, P): 1 on the object, 0 beside it, -1 not a point, -10 padding; None is all 1.
            boxes: (B, N, 4) x1, y1, x2, y2 in the same pixels; four times -10 is padding.
            masks: (B, N, 4h, 4w) logits of an earlier prediction, or (B, 1, 4h, 4w), one for all objects.
            multimask: Return the `config.multimask_outputs` masks for an ambiguous prompt, or one for a clear one.
            mask_padding: Give every object the result that it has without padding. If False, padded points are
                tokens of zeros that others attend to, and padded boxes are boxes, as in the published code.
            attention_similarity: Broadcasts to (B * N, heads, T, h * w), T the number of tokens; see `Guidance`.
            similarity_after_softmax: Whether it is added to the attention's weights instead of its logits.
            target_embedding: Broadcasts to (B, N, T, C); see `Guidance`.
            trace: Return the decoder's attention maps as well.
        """
        grid = (embeddings.shape[2], embeddings.shape[3])
        prompts = self.encode_prompts(len(embeddings), grid, points, labels, boxes, masks, mask_padding)
        guidance = self._guidance(attention_similarity, similarity_after_softmax, target_embedding)
        seen = Trace()
        image = embeddings.to(self.device, self.dtype)
        logits, iou = self.masks(image, self.prompts.image_positions(grid), prompts, guidance, seen if trace else None)
        chosen = slice(1, None) if multimask else slice(1)
        return Prediction(logits[:, :, chosen], iou[:, :, chosen], tuple(seen.maps), tuple(seen.updates))

    def encode_prompts(
        self,
        images: int,
        grid: tuple[int, int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        mask_padding: bool = True,
    ) -> PromptEmbeddings:
        """Encode the prompts of `predict` for `images` images that were encoded to `grid` (h, w) positions."""
        points, labels = self._points(images, points, labels, boxes, masks)
        boxes = None if boxes is None else boxes.to(self.device)
        masks = None if masks is None else masks.to(self.device, self.dtype)
        return self.prompts(points, labels, boxes, masks, grid, mask_padding)

    def _points(
        self, images: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Points (B, N, P, 2) and labels (B, N, P), empty if there are none, of as many objects as are prompted for."""
        if points is None:
            objects = next((prompt.shape[1] for prompt in (boxes, masks) if prompt is not None), 1)
            points, labels = torch.zeros(images, objects, 0, 2), None
        for prompt in (points, boxes, masks):
            assert prompt is None or len(prompt) == images, "prompts and embeddings of different batches"
        assert boxes is None or boxes.shape[1] == points.shape[1], "points and boxes of different objects"
        if labels is None:
            labels = torch.full(points.shape[:3], FOREGROUND)
        return points.to(self.device), labels.to(self.device)

    def _guidance(self, similarity: Tensor | None, after_softmax: bool, target: Tensor | None) -> Guidance:
        similarity, target = (
            None if given is None else given.to(self.device, self.dtype) for given in (similarity, target)
        )
        if after_softmax:
            return Guidance(weights=similarity, target=target)
        return Guidance(logits=similarity, target=target)
