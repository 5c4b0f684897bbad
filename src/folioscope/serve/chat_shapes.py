"""The shapes of OpenAI's chat completions, and what of them this model can follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from folioscope.serve.errors import Refused
from folioscope.tokens import IMAGE, PROMPTS

LARGE = 100_000

SYSTEM = ("system", "developer")
"""Roles of messages that say how to behave."""


class ImageUrl(BaseModel):
    url: str = Field(description="A data URL, or from hosts that the server allows an address.")
    detail: str | None = None


class Part(BaseModel):
    type: Literal["text", "image_url"]
    text: str | None = Field(None, max_length=10_000)
    image_url: ImageUrl | str | None = Field(None, description="Some clients send the address itself.")


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its parts of text, each on lines of its own."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text).strip()
        return (self.content or "").strip()

    @property
    def images(self) -> list[str]:
        """The addresses of its pictures."""
        parts = self.content if isinstance(self.content, list) else []
        given = [part.image_url for part in parts if part.image_url]
        return [image if isinstance(image, str) else image.url for image in given]


class StreamOptions(BaseModel):
    include_usage: bool | None = False


class NgramRule(BaseModel):
    """What clients of vLLM's recipe send along."""

    ngram_size: int | None = Field(default=None, ge=0, le=LARGE)
    window_size: int | None = Field(default=None, ge=0, le=LARGE)


class ChatRequest(BaseModel):
    """OpenAI's request; what would change the answer and is not known here is refused."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: str | None = None
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=LARGE)
    seed: int | None = None
    mode: str | None = Field(None, description="Folioscope's own: see /v1/read.")
    vllm_xargs: NgramRule | None = None


NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([],),
    "tools": ([],),
    "functions": ([],),
    "logprobs": (False,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "skip_special_tokens": (False,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "ignore_eos": (False,),
    "use_beam_search": (False,),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
}
"""Parameters that the model cannot follow, and the values with which they ask for nothing."""


def check_parameters(asked: ChatRequest) -> None:
    """Raises Refused for a parameter that would change the answer elsewhere, and cannot here."""
    for name, neutral in NEUTRAL.items():
        value = (asked.model_extra or {}).get(name)
        if value is not None and value not in neutral:
            raise Refused(
                400, f"{name}: this model cannot follow it; leave it out", "unsupported_parameter", param=name
            )


def generate_fields(asked: ChatRequest) -> dict[str, Any]:
    """What the request says about the choice of tokens, in our names; None is the reader's own default."""
    rule = asked.vllm_xargs or NgramRule()
    return {
        "max_new_tokens": asked.max_completion_tokens or asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "seed": asked.seed,
        "no_repeat_ngram_size": rule.ngram_size,
        "ngram_window": rule.window_size,
    }


def prompt_and_image(messages: Sequence[Message]) -> tuple[str, str]:
    """The prompt as the model takes it, and the image's address. Raises Refused.

    The model knows no roles and no history, so it is given the last message and the image of that, or the latest before
    it. System messages are for models that talk: they are the prompt where the user's message has none.
    """
    if not messages or messages[-1].role != "user":
        raise _unreadable("the last one must be the user's: it says what is to be read")
    asked = [message for message in messages if message.role == "user"]
    images = next((message.images for message in reversed(asked) if message.images), [])
    if len(images) != 1:
        raise _unreadable(
            f"{len(images)} images, the model reads one at a time; /v1/read takes documents of many pages"
        )
    told = [message.text for message in messages if message.role in SYSTEM]
    return _with_image_mark(asked[-1].text or "\n".join(filter(None, told))), images[0]


def _unreadable(problem: str) -> Refused:
    return Refused(400, f"messages: {problem}", "unsupported_messages", param="messages")


def _with_image_mark(text: str) -> str:
    """The text where the model expects it, after the image; presets and texts that say where as they are."""
    text = text.strip()
    if not text:
        return "markdown"
    known = text in PROMPTS or text.startswith("locate:") or IMAGE in text
    return text if known else f"{IMAGE}\n{text}"
