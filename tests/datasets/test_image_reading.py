import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import pixels, save
from PIL import Image, features

from crediting.datasets.finding import ENDINGS
from crediting.datasets.reading import FORMATS, Frame, UnreadableError, read_image
from crediting.errors import ConfigError

AS_IT_IS = Frame.of(None, channels=3, resize="lanczos")
GREY = Frame.of(None, channels=1, resize="lanczos")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff", ".ppm"])
def test_lossless_formats_give_their_pixels(ending, tmp_path):
    file = save(tmp_path / f"a{ending}", 1)
    found = read_image(file, AS_IT_IS)
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels(1).transpose(2, 0, 1))


@pytest.mark.parametrize(("ending", "library"), [(".jpg", "jpg"), (".webp", "webp")])
def test_lossy_formats_come_close(ending, library, tmp_path):
    assert features.check(library)
    smooth = np.add.outer(np.arange(32), np.arange(40))[..., None].repeat(3, axis=2) * 3
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / f"a{ending}", quality=95)
    found = read_image(tmp_path / f"a{ending}", AS_IT_IS).transpose(1, 2, 0)
    assert np.abs(found.astype(int) - smooth).max() < 8


def test_every_ending_is_of_a_format_that_is_read():
    Image.init()
    known = Image.registered_extensions()
    assert {known[ending] for ending in ENDINGS} <= set(FORMATS)
    assert set(FORMATS) <= set(Image.OPEN)


def test_the_content_counts_and_not_the_ending(tmp_path):
    save(tmp_path / "a.png", 2).rename(tmp_path / "a.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg", AS_IT_IS), pixels(2).transpose(2, 0, 1))


def test_formats_that_would_start_other_programs_are_refused(tmp_path):
    Image.fromarray(pixels(0)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match="is no image of a known format"):
        read_image(tmp_path / "a.png", AS_IT_IS)


# ------------------------------------------------------------------------------ colours


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_colours_become_red_green_blue_or_grey(mode, tmp_path):
    original = Image.fromarray(pixels(3)).convert(mode)
    file = tmp_path / ("a.png" if mode in ("1", "L", "P", "RGB") else "a.tif")
    original.save(file)
    stored = Image.open(file)
    assert np.array_equal(
        read_image(file, AS_IT_IS), np.asarray(stored.convert("RGB")).transpose(2, 0, 1)
    )
    grey = read_image(file, GREY)
    assert grey.shape == (1, 6, 8)
    luma = np.asarray(stored.convert("RGB"), dtype=float) @ [0.299, 0.587, 0.114]
    assert np.abs(grey[0] - luma).max() < 2


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode, tmp_path):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(0, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)])
    image.convert(mode).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", AS_IT_IS)[:, 0].tolist() == [[0, 255, 204]] * 3


def test_a_transparent_colour_of_a_palette_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    found = read_image(tmp_path / "a.png", AS_IT_IS)
    assert found[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    levels = np.array([[0, 257, 128 * 257, 65535, 300]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    for frame in (AS_IT_IS, GREY):
        assert read_image(tmp_path / "a.png", frame)[0, 0].tolist() == [0, 1, 128, 255, 1]


def test_sixteen_bits_become_the_nearest_of_eight(tmp_path):
    """65,535 levels are 255 of 257 each: 254 of those and 128 more are nearer to 254, 129 not."""
    levels = np.array([[254 * 257 + 128, 254 * 257 + 129, 128, 129]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", GREY)[0, 0].tolist() == [254, 255, 0, 1]


def test_sixteen_bits_know_what_is_transparent_and_what_is_a_negative(tmp_path):
    levels = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png", transparency=257)
    assert read_image(tmp_path / "a.png", GREY)[0, 0].tolist() == [0, 255, 128, 255]
    for white_is, expected in ((65535, [0, 1, 128, 255]), (0, [255, 254, 127, 0])):
        tags = {262: int(white_is > 0)}
        Image.fromarray(levels).save(tmp_path / "a.tif", tiffinfo=tags)
        assert read_image(tmp_path / "a.tif", GREY)[0, 0].tolist() == expected


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(dtype, tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=dtype)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableError, match=r"has 32-bit pixels.*save it in 8 bits"):
        read_image(tmp_path / "a.tif", AS_IT_IS)


# ------------------------------------------------------------------------------ size


def test_the_image_is_turned_as_the_camera_was(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its right side
    file = save(tmp_path / "a.png", 4, exif=exif)
    turned = np.rot90(pixels(4), -1)
    assert np.array_equal(read_image(file, AS_IT_IS), turned.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("height", "width", "scaled", "box"),
    [
        (20, 60, (30, 10), (10, 0, 20, 10)),
        (60, 20, (10, 30), (0, 10, 10, 20)),
        (20, 20, (10, 10), (0, 0, 10, 10)),
    ],
)
def test_the_shorter_side_is_scaled_and_the_centre_kept(height, width, scaled, box, tmp_path):
    file = save(tmp_path / "a.png", 5, height, width)
    found = read_image(file, Frame.of(10, 3, "lanczos")).transpose(1, 2, 0)
    whole = Image.open(file).resize(scaled, Image.Resampling.LANCZOS)
    assert np.abs(found.astype(int) - np.asarray(whole.crop(box))).max() <= 1


def test_height_comes_before_width(tmp_path):
    file = save(tmp_path / "a.png", 5, 40, 40)
    assert read_image(file, Frame.of([5, 9], 3, "bicubic")).shape == (3, 5, 9)


def test_scaling_is_that_of_pillow_with_the_chosen_filter(tmp_path):
    file = save(tmp_path / "a.png", 6, 12, 12)
    found = {
        name: read_image(file, Frame.of(5, 3, name)).transpose(1, 2, 0)
        for name in ("lanczos", "bicubic")
    }
    for name, scaled in found.items():
        expected = Image.open(file).resize((5, 5), Image.Resampling[name.upper()])
        assert np.array_equal(scaled, np.asarray(expected))
    assert not np.array_equal(found["lanczos"], found["bicubic"])


def test_an_image_of_the_right_size_is_not_touched(tmp_path):
    file = save(tmp_path / "a.png", 7)
    assert np.array_equal(
        read_image(file, Frame.of([6, 8], 3, "lanczos")), pixels(7).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("size", [0, -3, [4], [4, 0], [4, 4, 4], [4.0, 4], True])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ConfigError, match=r"dataset\.size: expected a number of pixels, \[height"):
        Frame.of(size, 3, "lanczos")


def test_bad_channels_and_filters_are_refused():
    with pytest.raises(ConfigError, match=r"dataset\.channels: expected 3 .* got 4"):
        Frame.of(None, 4, "lanczos")
    with pytest.raises(ConfigError, match=r"dataset\.resize: .*'lanczos', 'bicubic'.*'nearest'"):
        Frame.of(None, 3, "nearest")


# ------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tif"])
def test_truncated_files_are_refused(ending, tmp_path):
    file = save(tmp_path / f"a{ending}", 8, 64, 64)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(UnreadableError, match=r"cannot be decoded|is no image"):
        read_image(file, AS_IT_IS)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_refused(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableError):
        read_image(tmp_path / "a.png", AS_IT_IS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 30_000])
def test_decompression_bombs_are_refused_unopened(side, tmp_path):
    """A header that announces 10^8 (Pillow warns) or 9 * 10^8 pixels (it refuses)."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    stream = io.BytesIO()
    stream.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
    stream.write(chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    with pytest.raises(
        UnreadableError, match=r"has too many pixels to be opened safely.*shrink it"
    ):
        read_image(tmp_path / "a.png", AS_IT_IS)


def test_files_that_may_not_be_read_are_told_apart(tmp_path, monkeypatch):
    file = save(tmp_path / "a.png", 9)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", denied)
    with pytest.raises(UnreadableError, match="may not be read: permission denied"):
        read_image(file, AS_IT_IS)
