"""Files of E4 recordings: where they lie, what they say, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from helo.data.e4.recording import find_recordings, read_recording
from helo.errors import InputError

START = 1_600_000_000.0
RATES = {"ACC.csv": 32, "BVP.csv": 64, "EDA.csv": 4, "TEMP.csv": 4}


def write_recording(folder: Path, seconds: int = 60, start: float = START) -> Path:
    """Write a recording whose samples are the seconds since its start."""
    folder.mkdir(parents=True)
    for name, rate in RATES.items():
        clock = [f"{sample / rate:.6f}" for sample in range(seconds * rate)]
        lines = [f"{start:.6f}", f"{rate:.6f}", *clock]
        copies = 3 if name == "ACC.csv" else 1
        text = "\n".join(", ".join([line] * copies) for line in lines)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / "IBI.csv").write_text(f"{start}, IBI\n1.5,0.8\n", encoding="utf-8")
    return folder


def change(path: Path, line: int, text: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_recordings_are_found_in_folders_and_archives(tmp_path: Path) -> None:
    write_recording(tmp_path / "all" / "P1")
    write_recording(tmp_path / "all" / "P2" / "1600000000_A00204")
    source = write_recording(tmp_path / "source")
    (tmp_path / "all" / "P4").mkdir()
    for path, inside in (
        (tmp_path / "all" / "S3_E4_Data.zip", ""),
        (tmp_path / "all" / "P4" / "data.zip", "nested/"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for file in source.iterdir():
                archive.write(file, inside + file.name)
                archive.writestr(f"__MACOSX/{inside}{file.name}", "of a Mac")
    found = find_recordings(tmp_path / "all")
    assert [one.subject for one in found] == ["P1", "P2", "P4", "S3"]
    first, *others = [read_recording(one).signals for one in found]
    assert {name: len(values) for name, values in first.items()} == {
        "wrist_eda": 240,
        "bvp": 3840,
        "temp": 240,
        "acc": 1920,
    }
    for other in others:
        for name in first:
            np.testing.assert_array_equal(first[name], other[name])


def test_signals_begin_together(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "P1")
    change(folder / "EDA.csv", 1, f"{START + 10:.6f}")
    (folder / "tags.csv").write_text(f"{START + 12.5}\n{START + 40}\n")
    (files,) = find_recordings(tmp_path)
    recording = read_recording(files)
    assert recording.start == START + 10
    assert recording.tags == (2.5, 30.0)
    assert recording.signals["bvp"][0] == pytest.approx(10)
    assert recording.signals["acc"][0] == pytest.approx([10, 10, 10])
    assert recording.signals["wrist_eda"][0] == 0
    assert recording.seconds == 50


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("EDA.csv", 1, "12.5", "EDA.csv: the first line must be the start in seconds since 1970, got 12.5"),
        ("EDA.csv", 2, "64.0", "EDA.csv: the second line must be the sampling rate of an E4, 4 Hz, got 64"),
        ("BVP.csv", 9, "oops", "BVP.csv: must hold numbers separated by commas"),
        ("ACC.csv", 9, "1, 2", "ACC.csv: must hold numbers separated by commas"),
        ("TEMP.csv", 1, "1600000100.0", "starts 100 s before another signal of the recording"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, line: int, text: str, message: str) -> None:
    change(write_recording(tmp_path / "P1") / name, line, text)
    (files,) = find_recordings(tmp_path)
    with pytest.raises(InputError, match=message):
        read_recording(files)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"1600000000.0\n4.0\n", b"1600000000.0,1\n4.0,1\n1,1\n"])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (write_recording(tmp_path / "P1") / "EDA.csv").write_bytes(content)
    (files,) = find_recordings(tmp_path)
    with pytest.raises(InputError, match=r"EDA\.csv: "):
        read_recording(files)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no recordings such as SUBJECT/BVP.csv$"):
        find_recordings(tmp_path)
    folder = write_recording(tmp_path / "P1")
    with pytest.raises(InputError, match="give the folder above that of a subject"):
        find_recordings(folder)
    (folder / "TEMP.csv").unlink()
    with pytest.raises(InputError, match=r"TEMP\.csv: is missing"):
        find_recordings(tmp_path)
    (tmp_path / "P2.zip").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InputError, match=r"P2\.zip: cannot be read as a zip file"):
        find_recordings(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_recordings(tmp_path / "P2.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_refused_or_read_as_it_was(tmp_path: Path, method: int) -> None:
    source = write_recording(tmp_path / "source", seconds=2)
    path = tmp_path / "all" / "S3_E4_Data.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, file.name)
    whole = path.read_bytes()
    signals = read_recording(find_recordings(path.parent)[0]).signals
    refusals: list[str] = []
    for place in range(0, len(whole), max(1, len(whole) // 400)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = [read_recording(files) for files in find_recordings(path.parent)]
        except InputError as error:
            refusals.append(str(error))
        else:
            for name, values in found[0].signals.items():
                np.testing.assert_array_equal(values, signals[name])
    assert len(refusals) > 100
    for line in refusals:
        assert str(path.parent) in line
        assert "\n" not in line


def test_an_archive_that_python_cannot_open_says_why(tmp_path: Path) -> None:
    source = write_recording(tmp_path / "source", seconds=2)
    path = tmp_path / "all" / "S3_E4_Data.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for file in source.iterdir():
            archive.write(file, file.name)
    content = bytearray(path.read_bytes())
    place = -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        content[place + 10] = 9
    path.write_bytes(content)
    with pytest.raises(InputError, match="is compressed with deflate64, which Python cannot open; unpack the file"):
        find_recordings(path.parent)
