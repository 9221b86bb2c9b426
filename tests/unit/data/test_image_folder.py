"""Data sets of one's own: what is read, and what is refused with the file's name."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from focal_curvature.data import arrays
from focal_curvature.data.image_folder import decode
from focal_curvature.files import listing

Tree = dict[str, bytes]


def picture(seed: int, size: tuple[int, int] = (6, 6), mode: str = "RGB", format: str = "PNG"):
    """Random pixels (H, W[, C]) and the file that holds them."""
    shape = (*size[::-1], len(mode)) if len(mode) > 1 else size[::-1]
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, format)
    return pixels, file.getvalue()


def tree(mode: str = "RGB") -> tuple[Tree, np.ndarray]:
    """Three training images and two test images of two classes; the pixels (N, C, H, W)."""
    paths = [
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/0.png",
        "test/cat/9.png",
        "test/dog/9.png",
    ]
    pictures = [picture(seed, mode=mode) for seed in range(len(paths))]
    files = {path: content for path, (_, content) in zip(paths, pictures, strict=True)}
    return files, np.stack([np.atleast_3d(pixels) for pixels, _ in pictures]).transpose(0, 3, 1, 2)


def folder(tmp_path: Path, files: Tree) -> Path:
    for name, content in files.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "mine"


def tar(tmp_path: Path, files: Tree, kind: str = "xz") -> Path:
    path = tmp_path / f"mine.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in reversed(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zip_(tmp_path: Path, files: Tree) -> Path:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in reversed(files.items()):
            archive.writestr(name, content)
    return path


PACKINGS = {
    "folder": folder,
    "tar.xz": tar,
    "tar.gz": lambda tmp_path, files: tar(tmp_path, files, "gz"),
    "zip": zip_,
}
packings = pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)


def refused(tmp_path: Path, source: Path, message: str, **arguments) -> None:
    with pytest.raises(ValueError, match=message) as error:
        decode(source, tmp_path / "out", name="mine", size=6, **arguments)
    assert "\n" not in str(error.value)
    assert str(source) in str(error.value)
    assert not (tmp_path / "out").exists()


@packings
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("root", ["", "enclosing/", "./"])
def test_pixels_labels_and_order(tmp_path, pack, mode, root):
    files, images = tree(mode)
    extra = {"README": b"text", "train/.DS_Store": b"?", "train/cat/.hidden": b"?"}
    source = pack(tmp_path, {root + path: content for path, content in (files | extra).items()})
    decode(source, tmp_path / "out", name="mine", size=6)
    found = arrays.read(tmp_path / "out")
    np.testing.assert_array_equal(found.images, images)
    assert found.labels.tolist() == [0, 0, 1, 0, 1]
    assert found.classes == ["cat", "dog"]
    assert found.pools == {"train": [0, 3], "test": [3, 5]}
    assert (found.name, found.scale) == ("mine", 255)


def test_classes_and_files_may_be_called_like_the_pools(tmp_path):
    files, images = tree()
    renamed = {path.replace("cat", "test").replace("dog", "train"): c for path, c in files.items()}
    decode(folder(tmp_path, renamed), tmp_path / "out", name="mine", size=6)
    found = arrays.read(tmp_path / "out")
    assert found.classes == ["test", "train"]
    np.testing.assert_array_equal(found.images, images)


def test_images_are_resized_to_squares(tmp_path):
    """A linear ramp stays one under bicubic resizing, away from the border."""
    files, _ = tree()
    ramp = np.broadcast_to(np.arange(0, 240, 5, dtype=np.uint8)[:, None], (48, 12))
    file = io.BytesIO()
    Image.fromarray(np.stack([ramp] * 3, axis=-1)).save(file, "PNG")
    files["train/cat/1.png"] = file.getvalue()
    decode(folder(tmp_path, files), tmp_path / "out", name="mine", size=6)
    found = arrays.read(tmp_path / "out").images[0]
    assert found.shape == (3, 6, 6)
    assert (found == found[:1, :, :1]).all()
    np.testing.assert_allclose(np.diff(found[0, 1:-1, 0].astype(int)), 40, atol=1)


# hashes


def test_hash_of_an_archive_is_recorded_and_held_against_the_expected_one(tmp_path):
    source = tar(tmp_path, tree()[0])
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    refused(tmp_path, source, f"expected sha256 {'0' * 64}, found {digest}", expected="0" * 64)
    decode(source, tmp_path / "out", name="mine", size=6, expected=digest)
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["sources"] == [{"name": "mine.tar.xz", "sha256": digest}]


def test_hash_of_a_folder_is_that_of_its_sha256sums(tmp_path):
    files, _ = tree()
    source = folder(tmp_path, files | {"README": b"does not count"})
    sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {path}\n" for path, c in files.items())
    digest = hashlib.sha256(sums.encode()).hexdigest()
    refused(tmp_path, source, f"found {digest}", expected="0" * 64)
    decode(source, tmp_path / "out", name="mine", size=6, expected=digest)


# what is refused


@packings
def test_corrupt_image(tmp_path, pack):
    files, _ = tree()
    files["test/dog/9.png"] = files["test/dog/9.png"][:60]
    refused(tmp_path, pack(tmp_path, files), r"test/dog/9\.png is not a readable image")


def test_truncated_jpeg(tmp_path):
    files, _ = tree()
    files["test/dog/9.jpg"] = picture(0, (64, 64), format="JPEG")[1][:-200]
    refused(tmp_path, folder(tmp_path, files), r"test/dog/9\.jpg is not a readable image")


def test_file_that_is_no_image(tmp_path):
    files, _ = tree()
    files["train/dog/notes.txt"] = b"good dogs"
    refused(tmp_path, folder(tmp_path, files), r"train/dog/notes\.txt is not a readable image")


@pytest.mark.parametrize(("mode", "other"), [("RGB", "L"), ("L", "RGB")])
def test_grayscale_among_colour(tmp_path, mode, other):
    files, _ = tree(mode)
    files["train/dog/0.png"] = picture(0, mode=other)[1]
    refused(
        tmp_path,
        folder(tmp_path, files),
        r"train/dog/0\.png and train/cat/1\.png: one is grayscale, the other colour",
    )


def test_transparent_image(tmp_path):
    files, _ = tree()
    files["train/dog/0.png"] = picture(0, mode="RGBA")[1]
    refused(tmp_path, folder(tmp_path, files), r"train/dog/0\.png is of mode RGBA: convert")


@packings
@pytest.mark.parametrize("missing", ["train/dog/0.png", "test/cat/9.png"])
def test_class_without_images_in_a_pool(tmp_path, pack, missing):
    files, _ = tree()
    del files[missing]
    refused(tmp_path, pack(tmp_path, files), f"no image in {missing.rpartition('/')[0]}")


def test_empty_folder_of_a_class(tmp_path):
    source = folder(tmp_path, tree()[0])
    for pool in ("train", "test"):
        (source / pool / "bird").mkdir()
    refused(tmp_path, source, "no image in train/bird")


def test_empty_folder_in_an_archive(tmp_path):
    source = zip_(tmp_path, tree()[0] | {"train/bird/": b""})
    refused(tmp_path, source, "no image in train/bird")


def test_folder_without_pools(tmp_path):
    refused(tmp_path, folder(tmp_path, {"README": b""}), "no image in train/<class>")


@pytest.mark.parametrize("stray", ["val/cat/1.png", "train/cat/more/1.png", "a/b/train/cat/1.png"])
def test_images_out_of_place(tmp_path, stray):
    files, _ = tree()
    files[stray] = files["train/cat/1.png"]
    refused(tmp_path, folder(tmp_path, files), f"{stray} is not train/<class>/<image>")


def test_two_trees_in_one(tmp_path):
    files, _ = tree()
    double = {f"{root}/{path}": c for root in ("v1", "v2") for path, c in files.items()}
    refused(tmp_path, tar(tmp_path, double), "more than one place: v1, v2")


@pytest.mark.parametrize("pack", [tar, zip_])
@pytest.mark.parametrize(
    "path", ["../train/cat/7.png", "/train/cat/7.png", "train/../../cat/7.png"]
)
def test_paths_that_lead_out_of_the_archive(tmp_path, pack, path):
    files, _ = tree()
    files[path] = files["train/cat/1.png"]
    refused(tmp_path, pack(tmp_path, files), f"{path} leads out of the archive")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive(tmp_path, kind):
    source = tar(tmp_path, tree()[0], "")
    with tarfile.open(source, "a") as archive:
        info = tarfile.TarInfo("train/cat/3.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refused(tmp_path, source, r"train/cat/3\.png is a link or a device")


@pytest.mark.parametrize("pack", [tar, PACKINGS["tar.gz"], zip_])
def test_truncated_archive(tmp_path, pack):
    source = pack(tmp_path, tree()[0])
    source.write_bytes(source.read_bytes()[:-150])
    refused(tmp_path, source, "cannot be read|neither a folder nor a whole tar or zip file")


def test_file_that_is_no_archive(tmp_path):
    source = tmp_path / "mine.tar"
    source.write_bytes(b"nothing of the kind" * 100)
    refused(tmp_path, source, "neither a folder nor a whole tar or zip file")


def test_source_that_does_not_exist(tmp_path):
    refused(tmp_path, tmp_path / "nowhere", "cannot be read")


# what a person sees, and what tools leave behind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(tmp_path, orientation):
    upright = np.zeros((6, 6, 3), np.uint8)
    upright[0, 1:3] = 200  # off the diagonals, so that every orientation differs
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
    files, _ = tree()
    files["train/cat/1.png"] = file.getvalue()
    decode(folder(tmp_path, files), tmp_path / "out", name="mine", size=6)
    found = arrays.read(tmp_path / "out").images[0]
    np.testing.assert_array_equal(found, upright.transpose(2, 0, 1))


@pytest.mark.parametrize("format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_several_frames(tmp_path, format):
    frames = [Image.fromarray(picture(seed)[0]) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    files, _ = tree()
    files["train/cat/1.png"] = file.getvalue()
    refused(tmp_path, folder(tmp_path, files), r"train/cat/1\.png has 3 frames: keep one")


@packings
def test_a_single_class(tmp_path, pack):
    files = {path: content for path, content in tree()[0].items() if "cat" in path}
    refused(tmp_path, pack(tmp_path, files), "cat is the only class")


@packings
@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "ehthumbs.db", "__MACOSX/x"])
def test_what_file_managers_leave_behind_is_skipped(tmp_path, pack, name):
    files, images = tree()
    extra = {f"{place}/{name}": b"?" for place in ("train", "train/cat", "test/dog")}
    decode(pack(tmp_path, files | extra), tmp_path / "out", name="mine", size=6)
    np.testing.assert_array_equal(arrays.read(tmp_path / "out").images, images)


def test_linked_folders_and_files_are_followed(tmp_path):
    files, images = tree()
    source = folder(tmp_path, files)
    (source / "train/cat").rename(tmp_path / "elsewhere")
    (source / "train/cat").symlink_to(tmp_path / "elsewhere")
    (source / "test/dog/9.png").rename(tmp_path / "9.png")
    (source / "test/dog/9.png").symlink_to(tmp_path / "9.png")
    decode(source, tmp_path / "out", name="mine", size=6)
    np.testing.assert_array_equal(arrays.read(tmp_path / "out").images, images)


def test_a_link_to_nothing(tmp_path):
    source = folder(tmp_path, tree()[0])
    (source / "train/cat/3.png").symlink_to(tmp_path / "gone.png")
    refused(tmp_path, source, r"train/cat/3\.png cannot be read")


def test_a_link_to_what_it_is_in_ends(tmp_path):
    files, images = tree()
    source = folder(tmp_path, files)
    (source / "again").symlink_to(source)
    (source / "above").symlink_to(tmp_path)
    decode(source, tmp_path / "out", name="mine", size=6)
    np.testing.assert_array_equal(arrays.read(tmp_path / "out").images, images)


def test_zip_of_windows_with_backslashes(tmp_path):
    files, images = tree()
    source = zip_(tmp_path, {path.replace("/", "\\"): content for path, content in files.items()})
    decode(source, tmp_path / "out", name="mine", size=6)
    np.testing.assert_array_equal(arrays.read(tmp_path / "out").images, images)


def changed_member(source: Path, offset: int, central: int, value: int) -> None:
    """Write a 16-bit field of the last member's two headers."""
    content = bytearray(source.read_bytes())
    for signature, place in ((b"PK\x03\x04", offset), (b"PK\x01\x02", central)):
        at = content.rindex(signature) + place
        content[at : at + 2] = value.to_bytes(2, "little")
    source.write_bytes(content)


def test_zip_with_a_password(tmp_path):
    source = zip_(tmp_path, tree()[0])
    changed_member(source, 6, 8, 1)
    refused(tmp_path, source, r"train/cat/1\.png cannot be read \(.*(password|encrypted)")


@pytest.mark.parametrize("method", [9, 14, 99], ids=["Deflate64", "broken LZMA", "unknown"])
def test_zip_compressed_otherwise(tmp_path, method):
    source = zip_(tmp_path, tree()[0])
    changed_member(source, 8, 10, method)
    refused(tmp_path, source, r"train/cat/1\.png cannot be read \(")


@packings
def test_names_in_another_normal_form_are_one_class(tmp_path, pack):
    files, images = tree()
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    renamed = {
        path.replace("cat", composed if path.startswith("train") else decomposed): content
        for path, content in files.items()
    }
    decode(pack(tmp_path, renamed), tmp_path / "out", name="mine", size=6)
    found = arrays.read(tmp_path / "out")
    assert found.classes == [composed, "dog"]
    np.testing.assert_array_equal(found.images, images)


def test_zip_with_utf8_names_that_does_not_say_so(tmp_path):
    files, _ = tree()
    source = zip_(tmp_path, {p.replace("cat", "caf\u00e9"): c for p, c in files.items()})
    with zipfile.ZipFile(source) as archive:
        assert all(info.flag_bits & 0x800 for info in archive.infolist() if "caf" in info.filename)
    content = bytearray(source.read_bytes())
    for signature, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + place] &= ~0x08
    source.write_bytes(content)
    decode(source, tmp_path / "out", name="mine", size=6)
    assert arrays.read(tmp_path / "out").classes == ["caf\u00e9", "dog"]


@pytest.mark.parametrize("pack", [folder, PACKINGS["tar.gz"]], ids=["folder", "tar.gz"])
def test_names_in_another_encoding(tmp_path, pack):
    files, _ = tree()
    files["train/caf\udce9/1.png"] = files["train/cat/1.png"]  # a byte of Latin 1
    refused(tmp_path, pack(tmp_path, files), r"'train/caf\\udce9.*' is not UTF-8")


@pytest.mark.parametrize("pack", [tar, zip_], ids=["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice(tmp_path, pack):
    files, _ = tree()
    files["train/./cat/1.png"] = files["train/cat/2.png"]
    refused(tmp_path, pack(tmp_path, files), r"train/cat/1\.png is there twice")


def test_listing_changes_with_every_change_that_matters(tmp_path):
    source = folder(tmp_path, tree()[0])
    seen = [listing(source)]
    assert listing(source) == seen[0]
    image = source / "train/cat/1.png"

    def added():
        (source / "test/dog/10.png").write_bytes(image.read_bytes())

    def relabelled():
        image.rename(source / "train/dog/1.png")

    def replaced():
        file = source / "train/cat/2.png"
        size, before = file.stat().st_size, file.stat().st_mtime_ns
        file.write_bytes(b"x" * size)
        os.utime(file, ns=(before + 1, before + 1))

    def removed():
        (source / "test/dog/10.png").unlink()

    for change in (added, relabelled, replaced, removed):
        change()
        seen.append(listing(source))
    assert len(set(seen)) == 5
    (source / "test/cat/link.png").symlink_to(tmp_path / "gone.png")
    assert listing(source) not in seen


def test_listing_of_an_archive(tmp_path):
    source = zip_(tmp_path, tree()[0])
    before = listing(source)
    os.utime(source, ns=(1, 1))
    assert listing(source) != before
