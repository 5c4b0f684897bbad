"""Segment Anything as users of the published models call it.

Source: `SamModel` of transformers 4.57 and 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from folioscope.config import SamConfig
from folioscope.model.sam import Prediction, Sam
from folioscope.model.sam_vit import VitTrace
from folioscope.placement import AUTO
from folioscope.pretrained.sam_inputs import SamInputs, check_broadcast
from folioscope.pretrained.sharing import Loading, ModelOutput, Shared
from folioscope.segment import Segmenter
from folioscope.weights import HF_NAMES, save_sam

OWN = "model."
"""What our names of weights begin with in a `SamModel`."""


@dataclass(frozen=True, eq=False)
class SamImageSegmentationOutput(ModelOutput):
    """Masks of N objects in each of B images, M for each object.

    Attributes:
        iou_scores: (B, N, M), estimates of each mask's IoU with the object; raw, so below 0 and above 1 too.
        pred_masks: (B, N, M, 4h, 4w) logits in the frame of the image as it was encoded, above 0 inside the object.
        vision_hidden_states: (B, h, w, C) each, if asked for: patches with positions, then the output of every layer.
        vision_attentions: Of each layer of the image encoder, if asked for: (B * heads, h * w, h * w), or
            (B * windows * heads, s * s, s * s) in windows of side s.
        mask_decoder_attentions: If asked for, of each layer, what transformers calls so: (B * N, 1, h * w, C), what
            the image's positions take over from the tokens.
        mask_decoder_attention_maps: If asked for, of each layer, attention itself: (B, N, heads, T, h * w), the
            weights with which T tokens (IoU, masks, prompts) attend to the image.
    """

    iou_scores: Tensor
    pred_masks: Tensor
    vision_hidden_states: tuple[Tensor, ...] | None = None
    vision_attentions: tuple[Tensor, ...] | None = None
    mask_decoder_attentions: tuple[Tensor, ...] | None = None
    mask_decoder_attention_maps: tuple[Tensor, ...] | None = None


class SamModel(Shared, nn.Module):
    """Segment Anything under the published names; `model` is the network itself.

    `state_dict`, `load_state_dict` and `named_parameters` speak the published names of weights, so that what is written
    for transformers' model, such as freezing by `name.startswith("vision_encoder")`, does here what it says.
    """

    def __init__(self, model: Sam):
        super().__init__()
        self.model = model
        self.register_state_dict_post_hook(_to_published)
        self.register_load_state_dict_pre_hook(_to_ours)

    @classmethod
    def from_pretrained(cls, path_or_id: str | Path | None = None, **options: Any) -> SamModel:
        """Load a checkpoint of either layout, in evaluation mode.

        Args:
            path_or_id: A folder, a file such as `sam_vit_b_01ec64.pth`, a hub id such as "facebook/sam-vit-base", or
                None for the embedded segmenter.
            options: dtype, device, revision and others: see `Loading`.

        Raises:
            CheckpointError: The checkpoint is missing, or cannot be loaded.
            InputError: No such dtype, or no such device here.
        """
        how = Loading(**options)
        dtype = None if how.asked == AUTO else how.asked
        return cls(Segmenter.from_pretrained(path_or_id, device=how.place, dtype=dtype, **how.where).model).eval()

    @property
    def config(self) -> SamConfig:
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def vision_encoder(self) -> nn.Module:
        return self.model.vit

    @property
    def shared_image_embedding(self) -> nn.Module:
        return self.model.prompts.positions

    @property
    def prompt_encoder(self) -> nn.Module:
        return self.model.prompts

    @property
    def mask_decoder(self) -> nn.Module:
        return self.model.masks

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As of `nn.Module`, under the published names."""
        for name, parameter in super().named_parameters(*args, **kwargs):
            prefix, own, ours = name.rpartition(OWN)
            yield (f"{prefix}{HF_NAMES.published(ours)}" if own else name), parameter

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: Tensor | None = None,
        multimask_output: bool = True,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        *,
        mask_padding: bool = True,
        similarity_after_softmax: bool = False,
        original_sizes: Any = None,
        reshaped_input_sizes: Any = None,
        labels: Any = None,
    ) -> Any:
        """Segment N objects in each of B images; without any prompt, one.

        Args:
            pixel_values: (B, 3, S, S), from the processor; position tables are resized for an S that is not the
                checkpoint's. Or else:
            image_embeddings: (B, C, h, w), from `get_image_embeddings`.
            input_points: (B, N, P, 2) pixels (x, y) of the image as it is encoded.
            input_labels: (B, N, P): 1 on the object, 0 beside it, -1 not a point, -10 padding; None is all 1.
            input_boxes: (B, N, 4) x1, y1, x2, y2 in the same pixels; four times -10 is padding.
            input_masks: (B, 1, 4h, 4w) logits of an earlier prediction, shared by all objects as published, or
                (B, N, 4h, 4w), one for each.
            multimask_output: Three masks for an ambiguous prompt, or one for a clear one.
            attention_similarity: Broadcasts to (B * N, heads, T, h * w), T = 1 + masks (4) + prompt tokens; usually
                (1, 1, 1, h * w). Added to the decoder's attention to the image (PerSAM, arXiv 2305.03048).
            target_embedding: Broadcasts to (B, N, T, C); added to the decoder's tokens.
            output_attentions, output_hidden_states: Return them too; those of the image need `pixel_values`.
            return_dict: False returns a tuple.
            mask_padding: Give every object the result that it has without padding. False: padding leaks into the
                attention, as in the published code.
            similarity_after_softmax: Add `attention_similarity` to the attention's weights, and take the softmax once
                more, as PerSAM and transformers up to 4.53 do; False: to its logits, as transformers does since.
            original_sizes, reshaped_input_sizes, labels: Taken because a processor returns them, and of no effect.

        Returns:
            `SamImageSegmentationOutput`, or its tuple.

        Raises:
            InputError: An argument of another shape, or that cannot be; or neither or both of pixels and embeddings.
        """
        given = SamInputs(pixel_values, image_embeddings, input_points, input_labels, input_boxes, input_masks)
        seen = self._seen(given, output_hidden_states, output_attentions)
        images, _, *grid = seen.features.shape
        prompts = given.prompts((grid[0], grid[1]), images, self.config.vit.patch_size)
        self._check_guidance(prompts, seen.features.shape, attention_similarity, target_embedding)
        prediction = self.model.predict(
            seen.features,
            **prompts,
            multimask=multimask_output,
            mask_padding=mask_padding,
            attention_similarity=attention_similarity,
            similarity_after_softmax=similarity_after_softmax,
            target_embedding=target_embedding,
            trace=output_attentions,
        )
        outputs = _outputs(prediction, seen)
        return outputs if return_dict else outputs.to_tuple()

    def _seen(self, given: SamInputs, hidden_states: bool, attention_maps: bool) -> VitTrace:
        """The images, embedded; on the way, what is asked for."""
        given.check_image(self.config)
        if given.pixel_values is None:
            assert given.image_embeddings is not None
            return VitTrace(given.image_embeddings, ())
        if not (hidden_states or attention_maps):
            return VitTrace(self.model.embed(given.pixel_values), ())
        trace = self.model.vit.trace(given.pixel_values.to(self.device, self.dtype), attention_maps)
        return trace if hidden_states else VitTrace(trace.features, (), trace.attention_maps)

    def _check_guidance(
        self, prompts: Mapping[str, Tensor | None], shape: torch.Size, similarity: Tensor | None, target: Tensor | None
    ) -> None:
        points, boxes = prompts["points"], prompts["boxes"]
        objects = next((value.shape[1] for value in prompts.values() if value is not None), 1)
        closing = 2 if boxes is not None else int(points is not None)
        tokens = 2 + self.config.multimask_outputs + closing + (0 if points is None else points.shape[2])
        spots = shape[2] * shape[3]
        similar = (shape[0] * objects, self.config.decoder_heads, tokens, spots)
        check_broadcast("attention_similarity", similarity, similar, "(B * N, heads, T, h * w)")
        check_broadcast("target_embedding", target, (shape[0], objects, tokens, shape[1]), "(B, N, T, C)")

    @torch.no_grad()
    def get_image_embeddings(self, pixel_values: Tensor, **_: Any) -> Tensor:
        """Encode (B, 3, S, S) pixels from the processor as (B, C, h, w), to be prompted many times.

        Raises InputError for another shape. Options that transformers takes here ask for nothing that is returned.
        """
        SamInputs(pixel_values).check_image(self.config)
        return self.model.embed(pixel_values)

    @torch.no_grad()
    def get_prompt_embeddings(
        self,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Encode prompts, as of `forward`, for images of the checkpoint's own size.

        Returns:
            (B, N, T, C), a token for each point and each corner of a box, None without either; and (B, C, h, w), to be
            added to the image's embedding, or (B, N, C, h, w) if each object has its mask.

        Raises:
            InputError: A prompt that cannot be.
        """
        prompts = (input_points, input_labels, input_boxes, input_masks)
        given = SamInputs(None, None, *prompts)
        images = next((len(prompt) for prompt in prompts if prompt is not None), 1)
        grid = (self.config.vit.grid, self.config.vit.grid)
        checked = given.prompts(grid, images, self.config.vit.patch_size)
        encoded = self.model.encode_prompts(images, grid, **checked, mask_padding=False)
        dense = encoded.dense.expand(images, -1, -1, *grid)
        return encoded.sparse if encoded.sparse.shape[2] else None, dense[:, 0] if dense.shape[1] == 1 else dense

    @torch.no_grad()
    def get_image_wide_positional_embeddings(self) -> Tensor:
        """(1, C, h, w): the places of an image's patches, as the mask decoder knows them."""
        return self.model.prompts.image_positions((self.config.vit.grid, self.config.vit.grid))[None]

    def write(self, folder: Path, max_shard_size: int) -> None:
        save_sam(self.model, folder, max_shard_size=max_shard_size)


def _outputs(prediction: Prediction, seen: VitTrace) -> SamImageSegmentationOutput:
    """Under the published names; nothing where nothing was asked for."""
    updates = tuple(update.flatten(0, 1)[:, None] for update in prediction.image_updates)  # (B * N, 1, hw, C)
    return SamImageSegmentationOutput(
        iou_scores=prediction.iou,
        pred_masks=prediction.logits,
        vision_hidden_states=seen.hidden_states or None,
        vision_attentions=tuple(weights.flatten(0, 2) for weights in seen.attention_maps) or None,
        mask_decoder_attentions=updates or None,
        mask_decoder_attention_maps=prediction.attention_maps or None,
    )


def _to_published(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename what `state_dict` found, in place and in order."""
    ours = prefix + OWN
    for key in [key for key in state if key.startswith(ours)]:
        state[prefix + HF_NAMES.published(key.removeprefix(ours))] = state.pop(key)


def _to_ours(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename what `load_state_dict` is given; a name that is none stays, for it to complain of."""
    for key in [key for key in state if key.startswith(prefix)]:
        if (name := HF_NAMES.ours(key.removeprefix(prefix))) is not None:
            state[prefix + OWN + name] = state.pop(key)
