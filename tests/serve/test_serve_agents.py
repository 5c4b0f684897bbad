"""The Model Context Protocol, spoken by its own client with the command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters, stdio_client
from PIL import Image

from folioscope.read import Reader
from folioscope.segment import Segmenter
from folioscope.serve.agents import Agents
from folioscope.serve.options import ServeOptions
from live_server import picture
from random_sam import random_sam
from scripted import scripted_checkpoint


async def conversation(model: Path, page: Path, data: Path) -> tuple[list[str], dict[str, Any], Any]:
    arguments = ["-m", "folioscope", "serve", "--mcp", "--model", str(model), "--data", str(data)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        answer = await session.call_tool("read", {"path": str(page)})
        wrong = await session.call_tool("read", {"path": str(page.with_name("missing.png"))})
        return tools, json.loads(answer.content[0].text), wrong  # pyright: ignore


def test_a_client_reads_a_page(tmp_path: Path, monkeypatch: Any) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(picture())
    (tmp_path / "model").mkdir()
    model = scripted_checkpoint(tmp_path / "model")
    tools, answer, wrong = asyncio.run(asyncio.wait_for(conversation(model, page, tmp_path), 90))
    assert {"read", "locate"} <= set(tools)
    assert answer["markdown"] == "# Hello\n\n![](images/0.jpg)"
    assert [region["label"] for region in answer["pages"][0]["regions"]] == ["title", "image"]
    assert "No such file" in wrong.content[0].text


def test_tools(scripted: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    Image.new("RGB", (90, 60), "white").save(page)
    agents = Agents(scripted, Segmenter(random_sam()), ServeOptions(data=tmp_path))
    try:
        found = asyncio.run(agents.segment(str(page), points=[[30, 20]]))
        assert found["size"] == (90, 60)
        assert found["area"] == 0 or found["outlines"]
        assert asyncio.run(agents.locate(str(page), "Total"))["size"] == (90, 60)
    finally:
        agents.close()
