"""The page at /, driven as a person would: opened so that nothing fails in silence, clicked, and looked at."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from conftest import ROOT

PICTURES = ROOT / "docs" / "pictures"


def opened(browser: Any, address: str, **settings: Any) -> Iterator[Any]:
    """A page that may not load anything from elsewhere, nor fail in silence."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
    page, problems = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: problems.append(request.url) if not local(request.url, address) else None)
    page.goto(address)
    yield page
    context.close()
    assert problems == []


def local(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def until(page: Any, condition: str) -> None:
    """Waits as Playwright's own does, which this page's policy forbids to evaluate strings in it."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"it did not come to pass: {condition}")


def finished(page: Any) -> None:
    page.wait_for_selector("body[data-state=over]")


def drop(page: Any, file: Path, kind: str) -> None:
    data = base64.b64encode(file.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([data, name, type]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type }));
          return transfer;
        }""",
        [data, file.name, kind],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def disc(path: Path) -> Path:
    """A picture with one object nobody can miss."""
    image = Image.new("RGB", (400, 300), (235, 235, 225))
    ImageDraw.Draw(image).ellipse((120, 70, 280, 230), fill=(200, 30, 40))
    image.save(path)
    return path


def point_at(page: Any, x: float, y: float) -> None:
    """The mouse to these pixels of the picture of 400 x 300."""
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + x * box["width"] / 400, box["y"] + y * box["height"] / 300, steps=3)


def click_at(page: Any, x: float, y: float, **how: Any) -> None:
    """On these pixels of the picture of 400 x 300."""
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + x * box["width"] / 400, box["y"] + y * box["height"] / 300, **how)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    point_at(page, *start)
    page.mouse.down()
    point_at(page, *end)
    page.mouse.up()


def mask_pixels(page: Any) -> dict[str, int]:
    return page.evaluate(
        """() => {
          const canvas = document.querySelector("#masks");
          const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let all = 0;
          for (let at = 3; at < data.length; at += 4) all += data[at] > 0;
          return { all, here: Number(data[4 * (150 * width + 200) + 3] > 0) };
        }"""
    )


def picture(page: Any, name: str) -> None:
    """For the README, where FOLIOSCOPE_PICTURES says that new ones are wanted."""
    if os.environ.get("FOLIOSCOPE_PICTURES"):
        getattr(page, "page", page).wait_for_timeout(400)  # for colours that fade in
        shot = Image.open(io.BytesIO(page.screenshot()))
        shot.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(PICTURES / name, optimize=True)
