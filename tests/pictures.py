"""Pictures as people choose them: small, large, with what a camera writes into them."""

import io
import random
from typing import Any

from PIL import Image

from channels import pictures
from channels.models import Picture


def drawn(size: tuple[int, int] = (64, 48), colour: Any = "teal", mode: str = "RGB") -> Image.Image:
    """A picture whose left upper quarter differs from the rest, so that turning it shows."""
    one = Image.new(mode, size, colour)
    one.paste("white" if mode != "RGBA" else (255, 255, 255, 0), (0, 0, size[0] // 2, size[1] // 2))
    return one


def noise(size: tuple[int, int]) -> Image.Image:
    """What no format can make small."""
    return Image.frombytes("RGB", size, random.Random(7).randbytes(size[0] * size[1] * 3))


def file(picture: Image.Image | None = None, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    (picture or drawn()).save(out, kind, **options)
    return out.getvalue()


def kept(picture: Image.Image | None = None, kind: str = "PNG") -> Picture:
    """A saved row. Inside a transaction, as every test's database is."""
    return Picture.keep(pictures.prepare(file(picture, kind)))
