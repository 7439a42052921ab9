"""Everything that can be wrong with somebody's own images, and how it is said."""

import json
import os
import re
import socket
import sys
from pathlib import Path

import pyarrow
import pytest
from picture_files import save
from pyarrow import parquet
from test_image_folder import folder

from crediting.datasets import image_files
from crediting.errors import DataError

NEWER = sys.version_info >= (3, 14)
NO_PATH = "(cannot be looked up|there is no such file)" if NEWER else "cannot be looked up"
"""What is said of text that can be no path; newer Pythons say of some that nothing is there."""


@pytest.fixture
def photos(tmp_path):
    """Two contributors with two sound images each."""
    for i, name in enumerate(("ada/1.png", "ada/2.png", "bo/1.png", "bo/2.png")):
        save(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


def only_problem(root, **settings):
    first, problem = said_by_images(root, **settings)
    assert first.endswith(" cannot be used as it is:")
    return problem


def said_by_images(root, **settings):
    with pytest.raises(DataError) as caught:
        folder(root, **settings).training_images()
    return str(caught.value).splitlines()


def csv_of(photos, *lines, header="path,contributor"):
    manifest = photos.parent / "m.csv"
    manifest.write_text("\n".join([header, *lines]))
    return str(manifest)


ROWS = ("ada/1.png,ada", "ada/2.png,ada", "bo/1.png,bo", "bo/2.png,bo")


# ------------------------------------------------------------------------------ where files lie


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"dataset\.root: there is no folder {tmp_path}/photos"):
        folder(tmp_path / "photos").columns()


def test_an_empty_root(tmp_path):
    assert "there is no folder in it; expected one per contributor" in only_problem(tmp_path)


def test_a_contributor_without_images(photos):
    (photos / "cy").mkdir()
    assert "photos/cy: there is no image in this folder; expected files ending in .png" in (
        only_problem(photos)
    )


def test_ignored_endings_are_listed_where_nothing_else_is(photos):
    (photos / "cy").mkdir()
    for name in ("a.txt", "b.XMP", "c"):
        (photos / "cy" / name).touch()
    assert "no image in this folder (ignored: files with .txt, .xmp, no ending)" in (
        only_problem(photos)
    )


def test_pictures_that_cannot_be_read_here_are_not_ignored(photos):
    (photos / "ada/3.HEIC").touch()
    assert "ada/3.HEIC: cannot read .heic files; save it as PNG or JPEG" in only_problem(photos)


@pytest.mark.parametrize("name", ["3", "3.bak", "3.JPG_large"])
def test_pictures_of_other_endings_are_not_ignored(name, photos):
    save(photos / "ada/picture.jpg", 9).rename(photos / "ada" / name)
    (photos / "ada/README").write_text("no picture")
    (photos / "ada/empty").touch()
    ending = Path(name).suffix.lower() or "nothing"
    assert f"{name}: is a picture, but its name ends in {ending}; rename" in only_problem(photos)


@pytest.mark.parametrize("name", ["stray.png", "STRAY.JPG", "stray.heic", "stray"])
def test_an_image_beside_the_contributors(name, photos):
    save(photos / "stray.png", 9).rename(photos / name)
    assert f"{name}: lies in no contributor's folder" in only_problem(photos)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ('=HYPERLINK("x","y")', True),
        ("@SUM(1+1)*cmd", True),
        ("-1+cmd|x", True),
        ("@ada", False),
        ("-ada", False),
        ("a=b", False),
    ],
)
def test_names_that_a_spreadsheet_would_compute(name, refused, photos):
    (photos / "ada").rename(photos / name)
    if refused:
        assert "would be computed as a formula by a spreadsheet" in only_problem(photos)
    else:
        assert name in folder(photos).columns()["contributor"]


def test_beside_other_problems_only_so_many_images_are_looked_into(photos, monkeypatch):
    (photos / "cy").mkdir()
    (photos / "bo/1.png").write_text("no image")
    (photos / "bo/2.png").write_text("no image")
    monkeypatch.setattr(image_files, "_BESIDE_OTHERS", 3)
    lines = said_by_images(photos)
    assert [line.split(": ")[0].strip(" -").rpartition("/")[2] for line in lines[1:3]] == [
        "cy",
        "1.png",
    ]
    assert lines[3] == "  - only 3 of 4 images were looked into, as the above is wrong already"


def test_links_that_lead_out(photos, tmp_path):
    secret = save(tmp_path / "elsewhere/secret.png", 9)
    (photos / "ada/3.png").symlink_to(secret)
    (photos / "bo/more").symlink_to(secret.parent)
    (photos / "ada/inside.png").symlink_to(photos / "ada/1.png")
    lines = said_by_images(photos)
    assert len(lines) == 3
    assert re.search(r"ada/3\.png: lies outside .*, or is a link that leads out of it", lines[1])
    assert "bo/more: is a link to a folder, and those are not followed" in lines[2]


def test_links_in_rings_and_into_nothing(photos):
    (photos / "ada/3.png").symlink_to(photos / "ada/4.png")
    (photos / "ada/4.png").symlink_to(photos / "ada/3.png")
    (photos / "bo/3.png").symlink_to(photos / "bo/gone.png")
    lines = said_by_images(photos)
    assert len(lines) == 4
    assert "bo/3.png: there is no such file" in lines[-1]


def test_what_is_no_regular_file(photos):
    os.mkfifo(photos / "ada/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(photos / "bo/socket.png"))
        lines = said_by_images(photos)
    assert [line.endswith("is no regular file") for line in lines] == [False, True, True]


def test_folders_that_may_not_be_listed(photos, monkeypatch):
    scan = os.scandir

    def guarded(path):
        if str(path).endswith("photos/bo"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert "photos/bo: cannot be listed (Permission denied)" in only_problem(photos)


def test_a_reference_folder_among_the_contributors(photos):
    save(photos / "reference/1.png", 9)
    save(photos / "reference/2.png", 10)
    assert "dataset.reference: " in only_problem(photos, reference=str(photos / "reference"))


def test_a_reference_folder_that_is_not_there(photos, tmp_path):
    problem = only_problem(photos, reference=str(tmp_path / "held"))
    assert re.search(r"dataset\.reference: .*/held: cannot be listed \(No such file", problem)


# ------------------------------------------------------------------------------ images


def test_damaged_images_of_both_kinds_are_named(photos, tmp_path):
    (photos / "ada/3.png").write_text("no image")
    cut = save(photos / "bo/3.jpg", 9, 64, 64)
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "held").mkdir()
    (tmp_path / "held/1.png").touch()
    lines = said_by_images(photos, reference=str(tmp_path / "held"))
    assert len(lines) == 4
    assert "ada/3.png: is no image of a known format (PNG, JPEG" in lines[1]
    assert re.search(r"bo/3\.jpg: is damaged .*truncated", lines[2])
    assert "held/1.png: is no image of a known format" in lines[3]


def test_the_same_image_of_two_contributors(photos):
    save(photos / "ada/9.bmp", 2)
    problem = only_problem(photos)
    assert re.search(
        r"ada/9\.bmp \(ada\), .*bo/1\.png \(bo\): these are the same image, and two", problem
    )


def test_of_many_who_own_the_same_image_the_rest_is_counted(photos):
    for number in range(24):
        save(photos / f"one{number:02d}/1.png", 7)
        save(photos / f"one{number:02d}/2.png", 100 + number)
    problem = only_problem(photos)
    assert problem.count("(one") == 20
    assert "one19/1.png (one19) and 4 more: these are the same image" in problem


def test_the_same_image_twice_of_one_contributor_is_no_problem(photos):
    save(photos / "ada/9.png", 0)
    assert len(folder(photos).training_images()) == 5


def test_the_same_image_in_the_reference_is_no_problem(photos, tmp_path):
    save(tmp_path / "held/1.png", 0)
    assert len(folder(photos, reference=str(tmp_path / "held")).reference_images()) == 1


def test_several_sizes(photos):
    save(photos / "ada/9.png", 9, 7, 8)
    problem = only_problem(photos)
    assert "the images have 2 sizes, height x width: 6x8 (4 files, for instance " in problem
    assert re.search(r"7x8 \(1 files, .*ada/9\.png\); set dataset\.size=<pixels>", problem)
    assert folder(photos, size=4).training_images().shape == (5, 3, 4, 4)


def test_a_reference_of_another_size(photos, tmp_path):
    save(tmp_path / "held/1.png", 9, 7, 8)
    assert "2 sizes" in only_problem(photos, reference=str(tmp_path / "held"))


def test_a_contributor_with_one_image(photos):
    save(photos / "cy/1.png", 9)
    assert "cy/1.png: is the only image of cy; add another, or set" in only_problem(photos)
    assert len(folder(photos, allow_single=True).columns()["path"]) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("new\nline", r"'new\\nline' holds line breaks"),
        (" cy", "' cy' begins or ends with a space"),
    ],
)
def test_names_that_would_spoil_tables(name, message, photos):
    save(photos / name / "1.png", 8)
    save(photos / name / "2.png", 9)
    assert re.search(f"the name of the contributor {message}", only_problem(photos))


def test_folder_names_that_are_no_text(photos):
    for name in (b"1.png", b"2.png"):
        folder_name = os.fsencode(photos) + b"/\xff"
        save(photos / os.fsdecode(folder_name + b"/" + name), name[0])
    assert r"'\udcff' holds line breaks or other characters" in only_problem(photos)


def test_file_names_of_several_lines_stay_on_one_in_messages(photos):
    (photos / "ada/two\nlines.png").touch()
    assert r"ada/two\nlines.png: is no image" in only_problem(photos)


# ------------------------------------------------------------------------------ manifests


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.png,ada", "line 6: gone.png: there is no such file"),
        ("ada,ada", "line 6: ada: is a folder; name the image in it"),
        ("../elsewhere.png,ada", "line 6: ../elsewhere.png: lies outside"),
        ("/etc/passwd,ada", "line 6: /etc/passwd is absolute; write it relative to the root"),
        ("ada/./1.png,bo", r"line 6: ada/1\.png is named by .*m\.csv line 2 already"),
        (",ada", "line 6: the column 'path' is empty"),
        ("ada/1.png, ", "line 6: the column 'contributor' is empty"),
        ("ada/1.png", "line 6: expected 2 cells as in the first line, got 1"),
        ("a,b.png,ada", "line 6: expected 2 cells .* got 3; put cells that hold a comma in quotes"),
        ("x" * 5000 + ".png,ada", NO_PATH),
    ],
)
def test_lines_of_a_manifest(line, message, photos):
    save(photos.parent / "elsewhere.png", 9)
    assert re.search(message, only_problem(photos, manifest=csv_of(photos, *ROWS, line)))


def test_links_in_a_manifest_that_lead_out(photos, tmp_path):
    save(tmp_path / "elsewhere/secret.png", 9)
    (photos / "out").symlink_to(tmp_path / "elsewhere")
    manifest = csv_of(photos, *ROWS, "out/secret.png,ada")
    assert "line 6: out/secret.png: lies outside" in only_problem(photos, manifest=manifest)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("paht,contributor", "there is no column 'path'; did you mean paht?"),
        ("path,artist", "there is no column 'contributor'; known: artist"),
        ("path,path", r"cannot be read \(columns of the same name: \['path'\]\)"),
        ("path;contributor", r"expected columns separated by commas, got ';'; save it anew"),
        ("path\tcontributor", r"expected columns separated by commas, got '\\t'; save it anew"),
    ],
)
def test_columns_of_a_manifest(header, message, photos):
    lines = said_by_images(photos, manifest=csv_of(photos, *ROWS, header=header))
    assert re.search(message, lines[1])


@pytest.mark.parametrize("header", ["path,contributor,Captions", "path,contributor,labels "])
def test_a_column_that_is_almost_called_so_is_not_passed_over(header, photos):
    manifest = csv_of(photos, *(f"{row},x" for row in ROWS), header=header)
    meant = "caption" if "Cap" in header else "label"
    assert f"would not be read; call it '{meant}'" in only_problem(photos, manifest=manifest)
    both = csv_of(photos, *(f"{row},x,y" for row in ROWS), header=f"{header},{meant}")
    fine = Path(both).rename(photos.parent / "both.csv")
    assert meant in folder(photos, manifest=str(fine)).columns()


@pytest.mark.parametrize("column", ["caption", "label"])
def test_captions_and_labels_are_all_there_or_none(column, photos):
    rows = [f"{row},{text}" for row, text in zip(ROWS, ["a", "b", "", "d"], strict=True)]
    manifest = csv_of(photos, *rows, header=f"path,contributor,{column}")
    problem = only_problem(photos, manifest=manifest, allow_single=True)
    assert f"line 4: the column '{column}' is empty" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no record in it"),
        (b"path,contributor\n", "there is no record in it"),
        (b"path,contributor\n\xff\xfe,ada\n", "cannot be read .*utf-8"),
        (b'path,contributor\n"ada/1.png,ada\n', r"cannot be read \(unexpected end of data"),
    ],
)
def test_tables_that_are_none(content, message, photos, tmp_path):
    (tmp_path / "m.csv").write_bytes(content)
    assert re.search(message, only_problem(photos, manifest=str(tmp_path / "m.csv")))


def test_a_manifest_that_is_not_there(photos):
    told = only_problem(photos, manifest="nowhere.csv")
    assert told.endswith("nowhere.csv: cannot be read (No such file or directory)")


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (pyarrow.array([1.0, float("nan")]), "line 2: the column 'contributor' is empty"),
        (pyarrow.array([None, b"ada"]), "line 1: the column 'contributor' is empty"),
        (pyarrow.array([None, b"ada"]), "line 2: 'contributor' must be text or a number"),
    ],
)
def test_what_is_no_name_never_becomes_a_contributor(photos, tmp_path, owner, said):
    columns = {"path": ["ada/1.png", "ada/2.png"], "contributor": owner}
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    assert any(said in line for line in said_by_images(photos, manifest=tmp_path / "m.parquet"))


def test_lines_that_are_no_json(photos, tmp_path):
    good = [json.dumps(dict(zip(("path", "contributor"), r.split(","), strict=True))) for r in ROWS]
    odd = [
        "{",
        "[1]",
        "[" * 100_000,
        json.dumps({"path": ["a"], "contributor": "x"}),
        json.dumps({"path": "a\0b", "contributor": "x"}),
        json.dumps({"path": "\ud800", "contributor": "x"}),
    ]
    (tmp_path / "m.jsonl").write_text("\n".join([*good, *odd]))
    lines = said_by_images(photos, manifest=str(tmp_path / "m.jsonl"))
    for number, message in enumerate(
        (
            "is no JSON",
            r'expected \{"column": value, \.\.\.\}',
            rf"is no JSON \({'Stack overflow' if NEWER else 'maximum recursion depth exceeded'}",
            "'path' must be text or a number",
            rf"a\\x00b: {NO_PATH}",
            rf"\\ud800: {NO_PATH}",
        ),
        start=5,
    ):
        (line,) = [line for line in lines if f"line {number}: " in line]
        assert re.search(message, line)


# ------------------------------------------------------------------------------ together


def test_all_problems_are_told_together_whatever_is_asked_first(photos):
    save(photos / "stray.png", 9)
    save(photos / "cy/1.png", 10, 3, 3)
    (photos / "ada/3.png").touch()
    told = set()
    for method in ("columns", "digest", "training_images", "reference_images", "reference_labels"):
        with pytest.raises(DataError) as caught:
            getattr(folder(photos), method)()
        told.add(str(caught.value))
    (message,) = told
    for part in ("stray.png", "only image of cy", "ada/3.png: is no image", "2 sizes"):
        assert part in message
    assert len(message.splitlines()) == 5


def test_what_is_wrong_with_pixels_is_told_before_the_first_image_is_handed_out(photos, tmp_path):
    (tmp_path / "held").mkdir()
    (tmp_path / "held/1.png").touch()
    with pytest.raises(DataError, match=r"held/1\.png"):
        folder(photos, reference=str(tmp_path / "held")).training_images()


def test_after_twenty_problems_the_rest_is_counted(photos):
    for i in range(27):
        (photos / f"ada/{i:02d}x.png").touch()
    lines = said_by_images(photos)
    assert len(lines) == 22
    assert lines[-1] == "  ... and 7 more"


def test_what_was_mended_is_read_anew(photos):
    (photos / "ada/3.png").touch()
    with pytest.raises(DataError):
        folder(photos).training_images()
    save(photos / "ada/3.png", 9)
    assert len(folder(photos).training_images()) == 5


def test_a_link_to_nothing_in_place_of_a_contributor(photos):
    (photos / "dora").symlink_to("/nowhere/dora")
    (line,) = said_by_images(photos)[1:]
    assert line == f"  - {photos / 'dora'}: is a link to nothing; mend or remove it"
