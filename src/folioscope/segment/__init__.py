"""The verb segment: an image is embedded once, and cut up as often as one likes.

    segmenter = Segmenter.from_pretrained("facebook/sam-vit-base")
    scene = segmenter.embed("truck.jpg")
    masks = segmenter.predict(scene, points=[[450, 600]])

Coordinates are (x, y) in pixels of the image, upright.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from folioscope import hub
from folioscope.masks import EverythingOptions, Mask, MaskPrompt
from folioscope.model.sam import Prediction, Sam
from folioscope.pages import Source, open_page
from folioscope.placement import AUTO, best_dtype, choose_device, choose_dtype
from folioscope.segment.everything import Progress, everything
from folioscope.segment.prompts import as_tensors, checked, given_prompt
from folioscope.segment.scene import Scene, kept
from folioscope.segment.upscale import best, masks_of
from folioscope.storage import weight_files
from folioscope.types import CheckpointError, InputError, Page
from folioscope.views import sam_view
from folioscope.vision import Kind, quicken
from folioscope.weights import load_sam

__all__ = ["EverythingOptions", "Mask", "MaskPrompt", "Scene", "Segmenter"]

EMBEDDED = hub.SEGMENTER

EMBEDDED_OPTIONS = EverythingOptions(
    points_per_side=16, pred_iou_thresh=0.5, stability_score_thresh=0.6, stability_score_offset=0.3
)
"""A small network thinks less of its masks than a large one does, and its logits are nearer to 0."""

DECODED_AT_ONCE = 16
"""Prompts: at the published size each takes some 25 MB while it is decoded."""


class Segmenter:
    """Cuts objects out of images with one checkpoint. Keeps nothing between calls, so that threads may share it.

    Attributes:
        model: The checkpoint.
        source: Its folder, file or hub id, for messages.
        options: How everything is cut out where `segment_all` is not told: Meta's defaults, and other thresholds for
            the embedded segmenter. Change single fields with `dataclasses.replace(segmenter.options, …)`.
    """

    def __init__(self, model: Sam, source: str = "model", options: EverythingOptions | None = None) -> None:
        self.model, self.source, self.options = model, source, options or EverythingOptions()

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        device: str | torch.device = AUTO,
        dtype: str | torch.dtype | None = AUTO,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Segmenter:
        """Load a checkpoint. See `hub.resolve` for the other arguments.

        Args:
            path_or_id: A folder; a file such as `sam_vit_b_01ec64.pth`; a hub id such as "facebook/sam-vit-huge"; or
                None for the embedded segmenter.
            device: "cpu", "cuda", "cuda:1", "mps"; "auto" is the first there is of CUDA, MPS and CPU.
            dtype: Of the weights, "float32", "bfloat16" or "float16"; "auto" is as `best_dtype` says; None keeps what
                is stored. "int8", on a CPU: bfloat16 weights, and an image encoder that multiplies integers.

        Raises:
            InputError: No such device or dtype.
            CheckpointError: The checkpoint is not there, is damaged, or is no Segment Anything.
        """
        place, (kind, asked) = choose_device(str(device)), _precision(str(dtype or AUTO).removeprefix("torch."))
        path = _located(
            path_or_id, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        if dtype == AUTO:
            files = [path] if path.is_file() else weight_files(path)
            asked = best_dtype(place, sum(file.stat().st_size for file in files))
        if kind and place.type != "cpu":
            raise InputError(f"dtype {kind} on {place}: integers are for the CPU; use bfloat16 or float16 there")
        model = load_sam(path, device=place, dtype=asked)
        options = EMBEDDED_OPTIONS if path_or_id is None else None
        return cls(quicken(model, kind) if place.type == "cpu" else model, str(path_or_id or path), options)

    def embed(self, image: Source | Page, *, keep_in: str | Path | None = None) -> Scene:
        """Encode an image: a path, bytes, stream, Pillow image, array (height, width[, 1, 3 or 4]), or opened page.

        It is turned upright as its EXIF says, and transparency becomes white.

        Args:
            image: Of a PDF or TIFF, the first page.
            keep_in: A folder: the embedding is taken from there if these weights have embedded these pixels before, and
                else is kept there, in a file that `Scene.load` reads too.

        Raises:
            InputError: The image cannot be had.
            OutputError: The folder cannot be written.
        """
        return self._scene(_opened(image), keep_in)

    def _scene(self, page: Page, keep_in: str | Path | None) -> Scene:
        if keep_in is None:
            return self.embed_many([page])[0]
        return kept(keep_in, page, self.model.vit, lambda: self._scene(page, None))

    @torch.no_grad()
    def embed_many(self, images: Sequence[Source | Page], *, batch_size: int = 1) -> list[Scene]:
        """Encode images of any sizes, `batch_size` at once; see `embed`."""
        views = [sam_view(_opened(image).image, self.model.config.vit.image_size) for image in images]
        batches = [views[start : start + batch_size] for start in range(0, len(views), batch_size)]
        embeddings = [
            embedding
            for batch in batches
            for embedding in self.model.embed(torch.stack([view.pixels for view in batch]))
        ]
        return [Scene(embedding.clone(), view.frame) for embedding, view in zip(embeddings, views, strict=True)]

    def predict(
        self,
        scene: Scene,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        *,
        multimask: bool = True,
    ) -> list[Mask]:
        """Cut out one object; without any prompt, whatever the model takes for one.

        Args:
            scene: From `embed`.
            points: (P, 2) x, y.
            labels: (P,): 1 on the object, 0 beside it; None is all 1.
            box: (4,) x1, y1, x2, y2 around the object.
            mask: (4h, 4w) logits of an earlier prediction, `Mask.low_logits`.
            multimask: Give three masks, for a prompt that can mean a part, more, or the whole; else one.

        Returns:
            The masks in the model's order; `max(masks, key=lambda mask: mask.score)` is the one it thinks best of.

        Raises:
            InputError: A prompt cannot be, or the scene is another model's.
        """
        return self.predict_many(scene, [given_prompt(points, labels, box, mask)], multimask=multimask)[0]

    def predict_many(
        self,
        scene: Scene,
        prompts: Sequence[MaskPrompt],
        *,
        multimask: bool = True,
        only_best: bool = False,
        batch_size: int = DECODED_AT_ONCE,
    ) -> list[list[Mask]]:
        """Cut out several objects, each as `predict` does, whatever kinds and numbers of prompts the others have.

        Args:
            prompts: One for each object.
            only_best: Of each object's masks, give the one that the model thinks best of; the others are never brought
                to the size of the photo, which takes most of the time where that is large.
            batch_size: Objects decoded at once.

        Returns:
            For each object, its masks. They hold their runs and low-resolution logits only, so that hundreds of a large
            photo fit in memory: beside them, 64 prompts for one of 12 megapixels take less than 1 GB on the way.
        """
        if not len(prompts):
            raise InputError("prompts: an empty list; expected one MaskPrompt for each object")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected at least 1")
        side = 4 * scene.embedding.shape[-1]
        given = [checked(prompt, scene.frame.size, side) for prompt in prompts]
        masks = []
        for batch in _batches(given, batch_size):
            prediction = self.decode(scene, batch, multimask=multimask)
            logits, iou = best(prediction) if only_best else (prediction.logits[0], prediction.iou[0])
            masks += masks_of(logits, iou, batch, scene.frame)
        return masks

    @torch.no_grad()
    def decode(self, scene: Scene, prompts: Sequence[MaskPrompt], *, multimask: bool = True) -> Prediction:
        """Low-resolution masks (1, N, M, 4h, 4w) of N prompts; as `predict_many`, but unchecked and all at once."""
        vit = self.model.config.vit
        expected = (self.model.config.width, vit.grid, vit.grid)
        if tuple(scene.embedding.shape) != expected or scene.frame.side != vit.image_size:
            raise InputError(
                f"scene: expected an embedding of shape {expected}, given {tuple(scene.embedding.shape)}; "
                "embed the image with this model"
            )
        given = as_tensors(prompts, scene.frame)
        return self.model.predict(
            scene.embedding[None],
            points=given.points,
            labels=given.labels,
            boxes=given.boxes,
            masks=given.masks,
            multimask=multimask,
        )

    def segment_all(
        self,
        image: Source | Page | Scene,
        options: EverythingOptions | None = None,
        *,
        progress: Progress | None = None,
        keep_in: str | Path | None = None,
    ) -> list[Mask]:
        """Cut out everything: a grid of points is the prompt, and only good masks that differ are kept.

        Args:
            image: As for `embed`; or what that returned, for options without crops.
            options: Those of Meta's generator; None is `self.options`.
            progress: Called with how many batches of points are done, and how many there are.
            keep_in: As for `embed`, for the embedding of the image and of each crop.

        Returns:
            The masks, best first, with `score`, `stability`, `crop` and the point as their prompt; maybe none.

        Raises:
            InputError: The image cannot be had, or a scene is given and crops are asked for.
        """
        options = options or self.options
        if isinstance(image, Scene):
            if options.crop_n_layers:
                raise InputError(f"crop_n_layers={options.crop_n_layers}: a scene has no crops; give the image")
            return everything(self, image.frame.size, lambda _: image, options, progress)
        page = _opened(image)

        def embed(crop: tuple[int, int, int, int]) -> Scene:
            return self._scene(replace(page, image=page.image.crop(crop)), keep_in)

        return everything(self, page.image.size, embed, options, progress)


def _located(path_or_id: str | Path | None, **where: Any) -> Path:
    """The file or folder of a checkpoint, downloaded if need be; `where` is as of `hub.resolve`."""
    if path_or_id is None:
        if not EMBEDDED.is_dir():
            raise CheckpointError("this installation has no embedded segmenter; give a folder, file or hub id")
        return EMBEDDED
    path = Path(path_or_id).expanduser()
    return path if path.is_file() else hub.resolve(path_or_id, **where)


def _opened(image: Source | Page) -> Page:
    return image if isinstance(image, Page) else open_page(image)


def _precision(name: str) -> tuple[Kind | None, torch.dtype | None]:
    """The kind of integers and the dtype of weights that a name asks for; None leaves that open."""
    return ("int8", torch.bfloat16) if name == "int8" else (None, choose_dtype(name, also=["int8"]))


def _batches(prompts: Sequence[MaskPrompt], size: int) -> Iterator[list[MaskPrompt]]:
    """The prompts in order, at most `size` at once, those with a mask apart from those without."""
    for _, alike in groupby(prompts, key=lambda prompt: prompt.mask is not None):
        group = list(alike)
        for start in range(0, len(group), size):
            yield group[start : start + size]
