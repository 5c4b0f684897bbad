"""Images embedded once, then cut up click by click; or everything at once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from folioscope.export.mask_files import best_of, mask_json
from folioscope.export.masks import mask_png, polygons
from folioscope.masks import EverythingOptions, Mask, MaskPrompt
from folioscope.pages import open_page, page_numbers
from folioscope.segment import Scene, Segmenter
from folioscope.segment.prompts import given_prompt
from folioscope.serve.cutter import Cutter
from folioscope.serve.errors import REFUSALS, Refused
from folioscope.serve.going import unless_gone
from folioscope.serve.inputs import Upload, body_of, body_schema, needed, upload_from_text
from folioscope.serve.segment_fields import EmbedFields, EverythingFields, MaskFields, SegmentFields
from folioscope.serve.state import State, state_of
from folioscope.types import Page

router = APIRouter(tags=["segment"], responses=REFUSALS)

PNG, BYTES = "image/png", "application/octet-stream"


def segmenter_of(state: State) -> tuple[Segmenter, Cutter]:
    """The segmenter and its owner. Raises Refused if the server has none."""
    if state.segmenter is None or state.cutter is None:
        raise Refused(404, "this server has no segmenter; --segmenter gives it one", "no_segmenter")
    return state.segmenter, state.cutter


@router.post("/v1/segment/embeddings", openapi_extra=body_schema(EmbedFields))
async def embeddings(request: Request) -> dict[str, Any]:
    """Embed a picture, so that clicks on it are answered at once. The id is good for as long as it is used."""
    state = state_of(request)
    _, cutter = segmenter_of(state)
    cutter.admit()
    upload, _ = await body_of(request, EmbedFields, state.options)
    name, scene = await unless_gone(request, _embedded(state, needed(upload)))
    return {"id": name, "size": scene.frame.size, "expires_in": round(60 * state.options.scene_minutes)}


@router.get("/v1/segment/embeddings/{scene}", response_class=Response, responses={200: {"content": {BYTES: {}}}})
async def embedding(request: Request, scene: str) -> Response:
    """An embedding, for who decodes prompts at home: a file of safetensors that `folioscope.Scene.load` reads.

    The tensor `embedding`, float32 (C, h, w); in the metadata the `frame`, with the image's size and the square's side.
    """
    state = state_of(request)
    segmenter_of(state)
    found = state.scenes.find(scene)
    content = await run_in_threadpool(replace(found, embedding=found.embedding.float()).to_bytes)
    return Response(content, media_type=BYTES)


@router.get("/v1/segment/decoder", response_class=Response, responses={200: {"content": {BYTES: {}}}})
async def decoder(request: Request) -> Response:
    """The mask decoder as an ONNX file, where the server gives it away."""
    if (path := state_of(request).decoder) is None:
        raise Refused(404, "this server keeps its decoder; --browser-decoder gives it away", "no_decoder")
    return FileResponse(path, media_type=BYTES)


@router.post("/v1/segment", openapi_extra=body_schema(SegmentFields, required=False))
async def segment(request: Request) -> Response:
    """Cut out what points, boxes or a rough mask mean.

    Each object's masks come in the model's order, `best` being the place of the one it thinks best of. With
    "Accept: image/png" the first object's best mask comes as a picture.
    """
    state = state_of(request)
    segmenter, cutter = segmenter_of(state)
    cutter.admit()
    upload, fields = await body_of(request, SegmentFields, state.options)
    name, scene = await unless_gone(request, _scene(state, upload, fields))
    prompts = await _prompts(state, scene, fields)
    as_picture = PNG in request.headers.get("accept", "")
    alone = fields.only_best or as_picture
    found = await unless_gone(
        request,
        cutter.do(
            "predict", lambda _: segmenter.predict_many(scene, prompts, multimask=fields.multimask, only_best=alone)
        ),
    )
    if as_picture:
        return Response(await run_in_threadpool(mask_png, found[0][best_of(found[0])]), media_type=PNG)
    objects = [{"best": best_of(masks), "masks": [_shown(mask, fields.format) for mask in masks]} for masks in found]
    return JSONResponse({"scene": name, "size": scene.frame.size, "objects": objects})


@router.post("/v1/segment/all", openapi_extra=body_schema(EverythingFields, required=False))
async def segment_all(request: Request) -> dict[str, Any]:
    """Cut out everything, without a prompt: the masks best first."""
    state = state_of(request)
    segmenter, cutter = segmenter_of(state)
    cutter.admit()
    upload, fields = await body_of(request, EverythingFields, state.options)
    options = EverythingOptions(**{key: value for key, value in fields if key not in MaskFields.model_fields})
    source: Callable[[], Scene | Page]
    if upload is None:
        scene = _kept(state, fields)
        source, size = (lambda: scene), scene.frame.size
    else:
        await _check_size(state, needed(upload))
        source, size = (lambda: _page(state, upload)), None
    masks = await unless_gone(
        request,
        cutter.do("everything", lambda between: segmenter.segment_all(source(), options, progress=between), long=True),
    )
    return {"size": masks[0].size if masks else size, "masks": [_shown(mask, fields.format) for mask in masks]}


async def _scene(state: State, upload: Upload | None, fields: MaskFields) -> tuple[str | None, Scene]:
    """The scene of an upload, newly kept, or the one that an id stands for. Raises Refused."""
    if upload is None:
        return fields.scene, _kept(state, fields)
    if fields.scene is not None:
        raise Refused(400, "file, scene: give one of them", "invalid_field", param="scene")
    return await _embedded(state, needed(upload))


def _kept(state: State, fields: MaskFields) -> Scene:
    if fields.scene is None:
        raise Refused(400, "file, scene: give a picture, or the id of an embedded one", "no_file", param="file")
    return state.scenes.find(fields.scene)


async def _embedded(state: State, upload: Upload) -> tuple[str, Scene]:
    segmenter, cutter = segmenter_of(state)
    await _check_size(state, upload)
    scene = await cutter.do("embed", lambda _: segmenter.embed(_page(state, upload)))
    return state.scenes.keep(scene), scene


async def _check_size(state: State, upload: Upload) -> None:
    """Refuses, before it waits, what would be refused at its turn."""
    await run_in_threadpool(page_numbers, upload.open(), pages="1", max_pixels=state.options.max_pixels)


def _page(state: State, upload: Upload) -> Page:
    return open_page(upload.open(), max_pixels=state.options.max_pixels)


async def _prompts(state: State, scene: Scene, fields: SegmentFields) -> Sequence[MaskPrompt]:
    alone = (fields.points, fields.labels, fields.box, fields.mask)
    if fields.boxes is None:
        if fields.points is None and fields.box is None and fields.mask is None:
            raise Refused(400, "points, box, boxes, mask: give at least one", "no_prompt")
        mask = None
        if fields.mask is not None:
            upload = await upload_from_text(fields.mask, state.options, "mask")
            page = await run_in_threadpool(_page, state, upload)
            mask = scene.mask_prompt(page.image)
        return [given_prompt(fields.points, fields.labels, fields.box, mask)]
    if any(prompt is not None for prompt in alone):
        raise Refused(
            400, "boxes: stand for an object each; leave the other prompts out", "invalid_field", param="boxes"
        )
    return [given_prompt(None, None, box, None) for box in fields.boxes]


def _shown(mask: Mask, form: str) -> dict[str, Any]:
    """A mask as JSON: what was measured, and its shape in one form."""
    shown = mask_json(mask)
    if form == "rle":
        return shown
    del shown["rle"]
    return {**shown, form: base64.b64encode(mask_png(mask)).decode("ascii") if form == "png" else polygons(mask)}
