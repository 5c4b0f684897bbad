"""Draw the example pages of this folder: small pages of printed English, as the embedded reader knows them.

    python examples/draw.py

Needs the DejaVu, Liberation and Lato typefaces (Debian: fonts-dejavu, fonts-liberation, fonts-lato).
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
INK, BLUE = (25, 25, 30), (30, 60, 120)

Line = tuple[int, int, str, str, int]
"""x, y, text, typeface file, size in pixels."""

LETTER: list[Line] = [
    (28, 26, "Garden notes", "DejaVuSerif-Bold.ttf", 32),
    (28, 96, "The first frost came early", "DejaVuSerif.ttf", 22),
    (28, 126, "this year. We picked 14 kg", "DejaVuSerif.ttf", 22),
    (28, 156, "of apples on 3 October.", "DejaVuSerif.ttf", 22),
]
RECEIPT: list[Line] = [
    (40, 30, "Receipt No. 2047-B", "LiberationSans-Bold.ttf", 28),
    (40, 92, "Coffee and cake £7.80", "LiberationSans-Regular.ttf", 24),
    (40, 126, "Paid by card, 16:42", "LiberationSans-Regular.ttf", 24),
]
NOTICE: list[list[Line]] = [
    [
        (36, 40, "Library opening hours", "Lato-Bold.ttf", 30),
        (36, 110, "Monday to Friday 9-18", "Lato-Regular.ttf", 24),
        (36, 142, "Saturday 10-14", "Lato-Regular.ttf", 24),
    ],
    [
        (36, 40, "Closed on 24 December.", "Lato-Regular.ttf", 26),
        (36, 80, "Questions? Write to", "Lato-Regular.ttf", 26),
        (36, 120, "desk@library.example", "Lato-Regular.ttf", 26),
    ],
]


def page(size: tuple[int, int], lines: list[Line], picture: tuple[int, int, int, int] | None = None) -> Image.Image:
    """A white page with its lines, and a picture of a hill under a sun if there is a box for it."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, y, text, face, pixels in lines:
        draw.text((x, y), text, fill=INK, font=ImageFont.truetype(face, pixels))
    if picture:
        x1, y1, x2, y2 = picture
        draw.rectangle(picture, fill=(190, 215, 240))
        draw.ellipse((x2 - 70, y1 + 15, x2 - 30, y1 + 55), fill=(250, 210, 70))
        draw.polygon([(x1, y2), (x1 + (x2 - x1) // 3, y1 + 40), (x2, y2)], fill=(70, 130, 80))
        draw.rectangle(picture, outline=BLUE)
    return image


def main() -> None:
    page((384, 330), LETTER, (28, 206, 250, 310)).save(HERE / "letter.png")
    page((384, 190), RECEIPT).save(HERE / "receipt.png")
    first, second = (page((384, 220), lines) for lines in NOTICE)
    # 72 / 144 of a pixel is a point at the resolution that PDFs are read at
    first.save(HERE / "notice.pdf", save_all=True, append_images=[second], resolution=144)


if __name__ == "__main__":
    main()
