"""What people upload is taken for what it is, cleaned and made small, or refused with a sentence."""

import io
import struct
import zlib

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from channels.models import Picture
from channels.pictures import MAX_STORED, MAX_UPLOAD, BadPicture, prepare
from tests.pictures import drawn, file, noise


def opened(prepared) -> Image.Image:
    return Image.open(io.BytesIO(prepared.content))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that says it has this size, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


# ── What is taken ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "content_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_it_keeps_what_it_is(kind, content_type):
    found = prepare(file(kind=kind))
    assert (found.content_type, found.width, found.height) == (content_type, 64, 48)
    assert opened(found).format == kind
    assert opened(found).size == (64, 48)


def test_where_a_camera_was_is_gone_and_the_picture_stands_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # held sideways: to be turned right by 90 degrees
    exif[ExifTags.Base.Make] = "Camera of Anna"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (45.0, 28.0, 0.0)
    data = file(kind="JPEG", exif=exif, comment=b"Anna at home", quality=95)
    assert b"Camera of Anna" in data
    assert b"Anna at home" in data
    found = prepare(data)
    assert b"Anna" not in found.content
    assert b"Exif" not in found.content
    assert not opened(found).getexif()
    assert (found.width, found.height) == (48, 64)
    upright = opened(found).convert("L")
    assert upright.getpixel((40, 5)) > 200  # what was on the left stands at the top right
    assert upright.getpixel((5, 5)) < 150


def test_texts_and_profiles_in_a_png_are_gone():
    info = PngInfo()
    info.add_text("Author", "Anna Bianchi")
    info.add_itxt("XML:com.adobe.xmp", "<x>Anna Bianchi</x>")
    data = file(pnginfo=info, icc_profile=b"profile of Anna", dpi=(300, 300))
    found = prepare(data)
    assert b"Anna" not in found.content
    assert opened(found).info == {}


def test_transparency_is_kept_while_it_fits_and_white_where_it_does_not():
    small = prepare(file(drawn(mode="RGBA", colour=(0, 128, 128, 255))))
    assert opened(small).getpixel((1, 1))[3] == 0
    large = noise((700, 700)).convert("RGBA")
    large.paste((0, 0, 0, 0), (0, 0, 100, 100))
    found = prepare(file(large))
    assert found.content_type == "image/jpeg"
    assert min(opened(found).getpixel((20, 20))) > 230


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_kind_of_pixel_comes_out_right(mode):
    if mode == "I;16":
        picture = Image.frombytes("I;16", (64, 48), struct.pack("<H", 0xFFFF) * 64 * 48)
    else:
        picture = Image.new("RGB", (64, 48), "white").convert(mode)
    found = opened(prepare(file(picture, "JPEG" if mode == "CMYK" else "PNG")))
    assert found.convert("RGB").getpixel((20, 20)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_one_is_made_small_enough_for_every_network(kind):
    data = file(noise((1200, 1000)), kind, **({"quality": 100} if kind == "JPEG" else {}))
    assert MAX_STORED < len(data) < MAX_UPLOAD
    found = prepare(data)
    assert found.content_type == "image/jpeg"
    assert len(found.content) <= MAX_STORED < 1_000_000
    assert opened(found).size == (found.width, found.height)
    assert found.width / found.height == pytest.approx(1.2, abs=0.01)


def test_a_picture_with_others_behind_it_as_phones_make_them_counts_as_one():
    data = file(drawn(), "MPO", save_all=True, append_images=[drawn(colour="red")])
    assert prepare(data).content_type == "image/jpeg"


# ── What is refused ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (file(drawn().convert("P"), "GIF"), "neither a PNG nor a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "neither a PNG nor a JPEG"),
        (b"", "neither a PNG nor a JPEG"),
        (file(drawn(), "WEBP"), "neither a PNG nor a JPEG"),
        (file(noise((60, 60)))[:-2000], "damaged"),
        (file(noise((200, 200)), "JPEG")[:9000], "damaged"),
        (png(100, 100, b"\0" * 10), "damaged"),
        (png(4097, 10), "4097 × 10 pixels; at most 4096 × 4096"),
        (png(30_000, 30_000), "far more pixels than the 4096 × 4096"),
        (png(12_000, 12_000), "4096 × 4096"),
        (png(3, 100, b"\0" * 1000), "3 × 100 pixels; it needs 4 × 4"),
        (file(drawn(), save_all=True, append_images=[drawn(colour="red")]), "animated"),
        (file() + b"\0" * MAX_UPLOAD, "5.1 MB; at most 5 MB"),
    ],
    ids=[
        *("gif", "svg", "empty", "webp", "cut png", "cut jpeg", "lies", "wide", "bomb", "half a bomb", "tiny"),
        *("animated", "heavy"),
    ],
)
def test_a_file_that_is_no_such_picture_is_refused_with_a_sentence(data, says):
    with pytest.raises(BadPicture) as caught:
        prepare(data)
    assert says in str(caught.value)


# ── What is kept ────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_the_same_picture_is_kept_once():
    first, second = Picture.keep(prepare(file())), Picture.keep(prepare(file()))
    other = Picture.keep(prepare(file(drawn(colour="red"))))
    assert first == second != other
    assert Picture.objects.count() == 2
    assert first.filename == f"{first.sha256}.png"
    assert len(first.sha256) == 64
