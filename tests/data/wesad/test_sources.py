"""Where the files of WESAD are found, and why an archive cannot be opened."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helo.data.wesad.pickles import read_pickle
from helo.data.wesad.sources import find_sources, is_download
from helo.errors import InputError


def fill(folder: Path) -> Path:
    for subject in ("S2", "S10"):
        for name in (f"{subject}.pkl", f"{subject}_quest.csv"):
            file = folder / subject / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name * 100 + ".")
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.glob("S*/S*")):
            archive.write(file, f"WESAD/{file.relative_to(folder)}")
    return path


@pytest.mark.parametrize("inside", ["", "WESAD", "download/WESAD"])
def test_folders_above(tmp_path: Path, inside: str) -> None:
    fill(tmp_path / "top" / inside)
    (tmp_path / "top" / "__MACOSX" / "S2").mkdir(parents=True)
    (tmp_path / "top" / "__MACOSX" / "S2" / "S2.pkl").touch()
    assert is_download(tmp_path / "top")
    assert [source.subject for source in find_sources(tmp_path / "top")] == ["S2", "S10"]


def test_a_partial_folder_names_what_is_lacking_and_what_is_whole(tmp_path: Path) -> None:
    folder = fill(tmp_path / "WESAD")
    (folder / "S2" / "S2_quest.csv").unlink()
    with pytest.raises(InputError, match=r"S2 lacks S2_quest\.csv; download them again, .* \(whole are S10\)$"):
        find_sources(folder)
    (folder / "S10" / "S10.pkl").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"S2 lacks S2_quest\.csv, S10 lacks the end of S10\.pkl; download them again$"
    ):
        find_sources(folder)


SMALL = {
    "subject": "S2",
    "signal": {"wrist": {"EDA": np.arange(40, dtype=np.float32)}},
    "label": np.arange(7, dtype=np.int32),
}


def content_of(archive: Path) -> list[tuple[object, ...]] | str:
    """Return all that is read of an archive, or the line that refuses it."""
    try:
        found: list[tuple[object, ...]] = []
        for source in find_sources(archive):
            with source.open_pickle() as stream:
                found.append((source.subject, repr(read_pickle(stream, source.where)), source.quest_text()))
    except InputError as error:
        return str(error)
    return found


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    cut=st.just(0) | st.integers(0, 1 << 20),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
def test_many_damaged_archives(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], cut: int, method: int
) -> None:
    """Whatever bytes are changed or missing, an archive is refused in one line, or read as it was."""
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("WESAD/S2/S2.pkl", pickle.dumps(SMALL, protocol=2))
        archive.writestr("WESAD/S2/S2_quest.csv", "# Subj;S2\n" * 20)
    whole = content_of(path)
    assert not isinstance(whole, str)
    damaged = bytearray(path.read_bytes())
    for place, byte in damage:
        damaged[place % len(damaged)] = byte
    path.write_bytes(damaged[: len(damaged) - cut % len(damaged)])
    found = content_of(path)
    if isinstance(found, str):
        assert str(path) in found
        assert "\n" not in found
    else:
        # The checksum keeps the content; only the number in the name of a subject may have been changed.
        assert [one[1:] for one in found] == [one[1:] for one in whole]


@pytest.mark.parametrize("inside", ["S2", "S2/S2_E4_Data"])
def test_a_folder_of_one_subject_names_the_folder_above(tmp_path: Path, inside: str) -> None:
    fill(tmp_path / "WESAD")
    (tmp_path / "WESAD" / inside).mkdir(exist_ok=True)
    with pytest.raises(
        InputError, match=rf"holds no recordings of WESAD .*; {re.escape(str(tmp_path / 'WESAD'))} does$"
    ):
        find_sources(tmp_path / "WESAD" / inside)
    assert is_download(tmp_path / "WESAD" / "S2")


@pytest.mark.parametrize(
    ("method", "flags", "reason"),
    [
        (9, 0, "is compressed with deflate64, which Python cannot open"),
        (97, 0, "is compressed with method 97, which Python cannot open"),
        (99, 1, "is compressed with AES encryption, which Python cannot open"),
        (0, 1, "is encrypted"),
    ],
)
def test_archives_that_python_cannot_open(tmp_path: Path, method: int, flags: int, reason: str) -> None:
    path = zipped(fill(tmp_path / "WESAD"), tmp_path / "WESAD.zip")
    content = bytearray(path.read_bytes())
    for found in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[found.start() + 8] |= flags
        content[found.start() + 10] = method
    path.write_bytes(bytes(content))
    with pytest.raises(InputError) as caught:
        find_sources(path)
    assert f"{path}: WESAD/S10/S10.pkl: {reason}; unpack the file with another program" in str(caught.value)


def test_a_truncated_archive_names_the_subjects_that_are_whole(tmp_path: Path) -> None:
    path = zipped(fill(tmp_path / "WESAD"), tmp_path / "WESAD.zip")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"WESAD/S2/S2.pkl") + 100])
    with pytest.raises(InputError, match=r"is not a complete zip file .* \(whole in it are S10\)$"):
        find_sources(path)
