"""OpenAI's chat completions: what an ordinary client gets is what the model writes."""

from __future__ import annotations

import httpx2
import openai
import pytest

from folioscope.read import Reader
from live_server import chat_body, data_url, error_of, events_of, picture
from scripted import raw, sheet


@pytest.fixture(scope="module")
def client(server: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


def messages(prompt: str) -> list:
    return chat_body(prompt)["messages"]


def said(role: str, *texts: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts] if texts[1:] else texts[0]}


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Free OCR.", "free"),
        ("<image>\nFree OCR.", "free"),
        ("<|grounding|>Convert the document to markdown.", "markdown"),
        ("<image>\n<|grounding|>Convert the document to markdown. ", "markdown"),
        ("markdown", "markdown"),
        ("<|grounding|>OCR this image.", "ocr"),
        ("", "markdown"),
    ],
)
def test_a_bare_client_gets_what_the_model_writes(client: openai.OpenAI, prompt: str, answer: str) -> None:
    done = client.chat.completions.create(model="folioscope", messages=messages(prompt))
    assert done.choices[0].message.content == raw(answer)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_it_is_what_the_reader_reads(client: openai.OpenAI, scripted: Reader) -> None:
    page = scripted.read(sheet((40, 60)), prompt="<image>\nFree OCR.").pages[0]
    done = client.chat.completions.create(model="folioscope", messages=messages("Free OCR."))
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (
        page.usage.prompt_tokens,
        page.usage.output_tokens,
    )
    assert done.choices[0].message.content == page.raw


FREE, ALONE = messages("Free OCR."), messages("")
MARKDOWN = "<|grounding|>Convert the document to markdown."


@pytest.mark.parametrize(
    ("talk", "answer"),
    [
        ([said("system", "You are a helpful assistant."), *FREE], "free"),
        ([said("developer", MARKDOWN), *FREE], "free"),
        ([said("system", "Free OCR."), *ALONE], "free"),
        ([said("system", "Free", "OCR."), *messages(MARKDOWN)], "markdown"),
        ([*FREE, said("assistant", "Hello"), *messages(MARKDOWN)], "markdown"),
        ([*messages(MARKDOWN), said("assistant", "Hello"), said("user", "Free OCR.")], "free"),
        ([*messages("Free OCR."), said("user", "")], "markdown"),
    ],
)
def test_of_a_talk_the_last_message_counts(client: openai.OpenAI, talk: list, answer: str) -> None:
    done = client.chat.completions.create(model="folioscope", messages=talk)
    assert done.choices[0].message.content == raw(answer)


def test_several_parts_of_text_are_lines(client: openai.OpenAI, scripted: Reader) -> None:
    body = messages("<|grounding|>OCR")
    body[0]["content"].append({"type": "text", "text": "this image."})
    page = scripted.read(sheet((40, 60)), prompt="<image>\n<|grounding|>OCR\nthis image.").pages[0]
    done = client.chat.completions.create(model="folioscope", messages=body)
    assert done.choices[0].message.content == page.raw


def test_an_address_may_stand_where_an_object_is_meant(server: str) -> None:
    body = chat_body()
    body["messages"][0]["content"][1]["image_url"] = data_url(picture())
    answer = httpx2.post(f"{server}/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == raw("free")


def test_streamed_pieces_join_to_the_text(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="folioscope", messages=messages("markdown"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == raw("markdown")
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_limit_of_tokens_is_a_length(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="folioscope", messages=messages("free"), max_completion_tokens=1)
    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("length", "Hello  \n\n\n\n")


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["folioscope"]
    assert client.models.retrieve("folioscope").object == "model"
    with pytest.raises(openai.NotFoundError, match="'gpt-4o': is not served here"):
        client.chat.completions.create(model="gpt-4o", messages=messages("free"))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat_body(n=2), 400, "unsupported_parameter"),
        (chat_body(stop=["."]), 400, "unsupported_parameter"),
        (chat_body(temperature=-1), 400, "invalid_field"),
        (chat_body(max_tokens=90_000), 400, "too_many_tokens"),
        (chat_body(max_tokens=10**30), 400, "invalid_field"),
        (chat_body(mode="huge"), 400, "invalid_field"),
        (chat_body("<image> and <image>"), 400, "invalid_input"),
        (chat_body(image=b"no picture"), 400, "invalid_input"),
        ({"messages": []}, 400, "unsupported_messages"),
        ({"messages": [{"role": "user", "content": "no image"}]}, 400, "unsupported_messages"),
        ({"messages": [*chat_body()["messages"], said("assistant", "Hello")]}, 400, "unsupported_messages"),
        ({"messages": [said("tool", "Hello"), *chat_body()["messages"]]}, 400, "invalid_field"),
        ({"messages": [said("system", "Free OCR.")]}, 400, "unsupported_messages"),
        (chat_body(response_format={"type": "json_object"}), 400, "unsupported_parameter"),
        (chat_body(modalities=["text", "audio"]), 400, "unsupported_parameter"),
        (chat_body(repetition_penalty=1.1), 400, "unsupported_parameter"),
        (chat_body(guided_json={}), 400, "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}]}]},
         400, "invalid_file"),
    ],
)  # fmt: skip
def test_refusals(server: str, body: dict, status: int, code: str) -> None:
    answer = httpx2.post(f"{server}/v1/chat/completions", json=body)
    assert error_of(answer)[:2] == (status, code)


def test_neutral_parameters_are_taken(server: str) -> None:
    body = chat_body(n=1, stop=None, logprobs=False, response_format={"type": "text"}, user="me", model="")
    body |= {"modalities": ["text"], "repetition_penalty": 1.0, "parallel_tool_calls": True, "store": False}
    body |= {"vllm_xargs": {"ngram_size": 30, "window_size": 90, "whitelist_token_ids": [1, 2]}}
    answer = httpx2.post(f"{server}/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == raw("free")


def test_an_error_before_the_first_token_has_a_status_though_streamed(server: str) -> None:
    broken = picture()[:60]
    answer = httpx2.post(f"{server}/v1/chat/completions", json=chat_body(image=broken, stream=True))
    assert error_of(answer)[:2] == (400, "invalid_input")


def test_a_stream_ends_with_done(server: str) -> None:
    with httpx2.stream("POST", f"{server}/v1/chat/completions", json=chat_body(stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [data for _, data in events_of(answer)][-1] == "[DONE]"


def test_data_urls_of_any_kind(server: str) -> None:
    for kind in ("image/jpeg", "application/octet-stream", "image/png;charset=x"):
        body = chat_body()
        body["messages"][0]["content"][1]["image_url"]["url"] = data_url(picture(), kind)
        assert httpx2.post(f"{server}/v1/chat/completions", json=body).status_code == 200
