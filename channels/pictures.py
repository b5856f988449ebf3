"""A picture as it is kept: what it really is, without what a camera writes into it, and small enough for every network.

Pillow is imported where it is used: a worker that sends no picture need not load it.
"""

import math
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_UPLOAD = 5 * 1024 * 1024  # bytes
MAX_SIDE, MIN_SIDE = 4096, 4  # pixels; X takes nothing smaller
MAX_STORED = 976 * 1024  # bytes: what Bluesky takes (1,000,000) is the least of all
MAX_ALT = 1000  # characters: what X takes is the least of all
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg"}
# Tried in this order, at full size and then smaller and smaller.
QUALITIES = (90, 80, 70)


class BadPicture(ValueError):
    """It cannot be shown or sent. The message is for people, and says what to do."""


@dataclass(frozen=True)
class Prepared:
    content: bytes = field(repr=False)
    content_type: str
    width: int
    height: int


def prepare(data: bytes) -> Prepared:
    """The picture in an uploaded file, upright, drawn anew and at most MAX_STORED bytes. Raises BadPicture."""
    from PIL import Image

    if len(data) > MAX_UPLOAD:
        raise BadPicture(too_big(len(data)))
    try:
        # Only its first bytes are read here, whatever the name of the file says.
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as picture:
            _check_size(*picture.size)
            # A JPEG with several pictures in it (MPO) is what phones make; the first one counts.
            if picture.format == "PNG" and getattr(picture, "is_animated", False):
                raise BadPicture(_("It is animated: save it as a picture that does not move, and choose that."))
            return _encode(_clean(picture), picture.format == "PNG")
    except BadPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        said = _("It has far more pixels than the %(limit)s × %(limit)s that can be taken: make it smaller.")
        raise BadPicture(said % {"limit": MAX_SIDE}) from None
    except Image.UnidentifiedImageError:
        raise BadPicture(_("It is neither a PNG nor a JPEG: save it as one of these, and choose that.")) from None
    except Exception as error:  # a file can be broken in more ways than its decoder has names for
        raise BadPicture(_("It is damaged and cannot be read: save it anew, and choose that.")) from error


def too_big(size: int) -> str:
    """What is said of a file of so many bytes."""
    values = {"size": _megabytes(size), "limit": _megabytes(MAX_UPLOAD)}
    return _("It has %(size)s MB; at most %(limit)s MB can be taken: make it smaller, and choose it again.") % values


def _megabytes(size: int) -> str:
    return f"{math.ceil(size / 1024 / 1024 * 10) / 10:g}"


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        values = {"width": width, "height": height, "limit": MAX_SIDE}
        said = _("It has %(width)s × %(height)s pixels; at most %(limit)s × %(limit)s can be taken: make it smaller.")
        raise BadPicture(said % values)
    if min(width, height) < MIN_SIDE:
        values = {"width": width, "height": height, "limit": MIN_SIDE}
        said = _("It has %(width)s × %(height)s pixels; it needs %(limit)s × %(limit)s at least: choose a larger one.")
        raise BadPicture(said % values)


def _clean(picture: "Image") -> "Image":
    """The pixels alone, as a person sees them: turned as the camera was held, in colours that both formats know."""
    from PIL import ImageOps

    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits of grey
        upright = upright.point(lambda value: value / 256).convert("L")
    clean = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    clean.info = {}  # comments and profiles would be written out again
    return clean


def _encode(picture: "Image", lossless: bool) -> Prepared:
    if lossless:
        found = _saved(picture, "PNG")
        if len(found) <= MAX_STORED:
            return Prepared(found, "image/png", *picture.size)
    picture = _on_white(picture)
    while True:
        for quality in QUALITIES:
            found = _saved(picture, "JPEG", quality=quality)
            if len(found) <= MAX_STORED:
                return Prepared(found, "image/jpeg", *picture.size)
        picture = picture.resize((max(picture.width * 3 // 4, 1), max(picture.height * 3 // 4, 1)))


def _saved(picture: "Image", kind: str, **options: int) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _on_white(picture: "Image") -> "Image":
    """JPEG knows no transparency."""
    if picture.mode != "RGBA":
        return picture
    from PIL import Image

    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
