"""The official download: folder and zip file, what is kept, what is refused, and the real times."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helo.data.dataset import Dataset
from helo.data.directory import read_dataset, write_dataset
from helo.data.wesad import ITEM_SETS, DownloadSettings, is_download, read_download, read_feature_table
from helo.data.wesad.questionnaire import read_quest
from helo.data.wesad.recording import find_segments
from helo.data.wesad.signals import window_starts
from helo.data.wesad.sources import find_sources
from helo.errors import InputError

Official = Any
ITEMS = ITEM_SETS["panas23"]


def read(official: Official, path: Path | None = None, **settings: Any) -> Dataset:
    pytest.importorskip("neurokit2")
    options = {"jobs": 1} | {name: settings.pop(name) for name in ("jobs", "cache", "log") if name in settings}
    return read_download(
        path or official.folder, ITEMS, DownloadSettings(**({"device": "wrist"} | settings)), **options
    )


def refused(official: Official, path: Path | None = None, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(official, path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(folder: Path, prefix: str = "WESAD/") -> Path:
    """A zip file of a download, beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.glob("S*/S*")):
            archive.write(file, f"{prefix}{file.relative_to(folder)}")
        archive.writestr(f"__MACOSX/{prefix}S2/._S2.pkl", b"rubbish")
        archive.writestr(f"{prefix}wesad_readme.pdf", b"read me")
    return path


# --- what comes out -----------------------------------------------------------------------------


def test_windows_labels_and_groups(official: Official) -> None:
    dataset = read(official)
    assert dataset.subject_names == ("S2", "S14")
    assert len(dataset) == 20  # 45 s hold two windows of 30 s, 15 s apart; five conditions, two people
    assert dataset.groups is not None
    # Medi 1 came third for S2 and fifth for S14; the k-th report answers k to Happy and 1 to the rest.
    for subject, condition, happy in (("S2", "Medi 1", 3), ("S14", "Medi 1", 5), ("S2", "TSST", 2)):
        labels = dataset.labels[(dataset.subjects == subject) & (dataset.groups == condition)]
        np.testing.assert_allclose(labels[:, ITEMS.index("Happy")], [happy / (happy + 22)] * 2)
    pulse = dataset.features[:, dataset.schema.features.index("Pulse_Rate")]
    np.testing.assert_allclose(pulse, 72, rtol=0.05)


@pytest.mark.parametrize(
    ("device", "suffix", "main", "behavioural", "physiological"),
    [
        ("wrist", "-wrist", "bvp", {"acc"}, {"bvp", "wrist_eda", "temp"}),
        ("chest", "-chest", "ecg", {"chest_acc"}, {"ecg", "emg", "chest_eda", "resp", "chest_temp"}),
        (
            "both",
            "",
            "ecg",
            {"acc", "chest_acc"},
            {"ecg", "emg", "chest_eda", "resp", "chest_temp", "bvp", "wrist_eda", "temp"},
        ),
    ],
)
def test_modalities_of_each_device(
    official_both: Official, device: str, suffix: str, main: str, behavioural: set[str], physiological: set[str]
) -> None:
    dataset = read(official_both, device=device)
    assert dataset.schema.name == f"wesad-panas23{suffix}"
    assert dataset.schema.main.name == main
    assert {modality.name for modality in dataset.schema.behavioural} == behavioural
    assert {modality.name for modality in dataset.schema.physiological} == physiological
    assert all(modality.token_features == 1 for modality in dataset.schema.modalities)
    assert np.isfinite(dataset.features).all()
    for name in {"Heart_Rate", "Pulse_Rate"} & set(dataset.schema.features):
        np.testing.assert_allclose(dataset.features[:, dataset.schema.features.index(name)], 72, rtol=0.05)


def test_notes_say_what_was_done_and_the_dataset_can_be_written(official: Official, tmp_path: Path) -> None:
    dataset = read(official, window=20.0, step=5.0)
    assert len(dataset) == 60
    assert "device wrist: windows of 20 s every 5 s within each condition" in dataset.schema.notes
    assert re.search(r"NeuroKit2 \d+\.\d+", dataset.schema.notes)
    write_dataset(dataset, tmp_path / "out")
    assert read_dataset(tmp_path / "out").digest == dataset.digest


def test_python_2_and_zip_give_the_same(official: Official, python2: Callable[[Any], bytes], tmp_path: Path) -> None:
    expected = read(official).digest
    for subject in official.orders:
        official.write(subject, python2)
    assert read(official).digest == expected
    assert read(official, tmp_path).digest == expected  # one folder above
    archive = zipped(official.folder, "download/WESAD/")
    before = set(tmp_path.iterdir())
    assert read(official, archive).digest == expected
    assert set(tmp_path.iterdir()) == before  # nothing was unpacked
    assert read(official, zipped(official.folder, "")).digest == expected


def test_processes_give_the_same_and_end(official: Official, tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = read(official, jobs=2, log=lines.append, cache=tmp_path / "parts")
    assert dataset.digest == read(official).digest
    assert len(lines) == 2
    assert re.fullmatch(r"S(2|14): 10 windows in \d+ s; 1 of 2 subjects, about .* left", lines[0])
    assert re.fullmatch(r"S(2|14): 10 windows in \d+ s; 2 of 2 subjects", lines[1])
    assert multiprocessing.active_children() == []
    # What goes wrong in a process comes out as it would without.
    official.path("S14").write_bytes(b"x.")
    message = refused(official, jobs=2, cache=tmp_path / "others")
    assert message.startswith(f"{official.path('S14')}: is not a complete pickle")
    assert multiprocessing.active_children() == []


def test_a_script_without_main_guard_can_come_from_standard_input(official: Official) -> None:
    """New processes can neither import the script nor run it again."""
    script = f"""
from pathlib import Path
from helo.data.wesad.download import DownloadSettings, read_download

dataset = read_download(Path({str(official.folder)!r}), {ITEMS!r}, DownloadSettings(device="wrist"), jobs=2)
print(dataset.digest)
"""
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{read(official).digest}\n", 0), done.stderr


def test_windows_without_any_signal_are_left_out(official: Official) -> None:
    wrist = official.content["S2"]["signal"]["wrist"]
    for key, rate in (("ACC", 32), ("BVP", 64), ("EDA", 4), ("TEMP", 4)):
        values = wrist[key].copy()
        values[: 40 * rate] = np.nan  # 30 s of the first condition, which begins at 10 s
        wrist[key] = values
    official.write()
    lines: list[str] = []
    dataset = read(official, log=lines.append)
    assert len(dataset) == 19
    assert "S2: 9 windows" in lines[0]
    assert "1 more without any signal left out" in lines[0]
    assert "1 windows without any signal are left out" in dataset.schema.notes
    # Of 600 s in windows, 30 s and the half of another window are missing.
    gaps = [line for line in lines if "samples in windows are missing" in line]
    assert [line.split(":")[0] for line in gaps] == ["wrist_eda", "bvp", "temp", "acc"]
    assert all(": 7.5 % of the samples" in line for line in gaps)


def test_features_with_too_little_signal_are_counted(official: Official) -> None:
    pulse = official.content["S2"]["signal"]["wrist"]["BVP"].copy()
    pulse[10 * 64 : 55 * 64 : 64] = np.nan  # a sample of every second of the first condition
    official.content["S2"]["signal"]["wrist"]["BVP"] = pulse
    official.write()
    lines: list[str] = []
    read(official, log=lines.append)
    assert lines[-1] == (
        "bvp: 0.2 % of the samples in windows are missing; too little signal for Pulse_Rate in 2 of 20 windows"
    )


def test_what_is_a_download(official: Official, tmp_path: Path) -> None:
    assert is_download(official.folder)
    assert is_download(tmp_path)
    assert is_download(official.folder / "S2")  # `find_sources` refuses it with the right folder
    assert not is_download(tmp_path / "nowhere")
    archive = zipped(official.folder)
    assert is_download(archive)
    without_name = archive.rename(tmp_path / "download")
    assert is_download(without_name)
    (tmp_path / "windows.csv").write_text("a,b\n")
    assert not is_download(tmp_path / "windows.csv")


def test_subjects_come_in_natural_order(official: Official) -> None:
    assert [source.subject for source in find_sources(official.folder)] == ["S2", "S14"]


@pytest.mark.slow
def test_all_real_subjects_have_the_segments_and_windows_of_the_table(wesad_folder: Path, tmp_path: Path) -> None:
    """Real wrist signals in the official format, with the label at 4 Hz repeated to 700 Hz.

    Windows are matched by subject, condition and time: theirs begin within 0.25 s of ours, which is how far
    a label at 4 Hz can be off. Their grid goes on from the first meditation to the second; there, windows at
    their own times are compared in `test_signals`.
    """
    pytest.importorskip("neurokit2")
    for quest in wesad_folder.glob("S*/S*_quest.csv"):
        subject = quest.parent.name
        with np.load(quest.parent / f"{subject}_wrist.npz") as kept:
            wrist = {"ACC": kept["acc32"].astype(np.float64), "BVP": kept["bvp64"][:, None].astype(np.float64)}
            wrist |= {"EDA": kept["eda4"][:, None].astype(np.float64), "TEMP": kept["temp4"][:, None]}
            states = np.repeat(kept["label4"], 175)
            content = {"subject": subject, "signal": {"wrist": wrist}, "label": states}
        (tmp_path / subject).mkdir()
        (tmp_path / subject / quest.name).write_bytes(quest.read_bytes())
        (tmp_path / subject / f"{subject}.pkl").write_bytes(pickle.dumps(content, protocol=2))

        # Each condition begins at START and stops 20 s before END, but for one offset of the clocks.
        reports = read_quest(quest).reports
        segments = find_segments(states, read_quest(quest), "S.pkl", "S_quest.csv")
        offsets = [report.start_s - segment.start / 700 for report, segment in zip(reports, segments, strict=True)]
        ends = [report.end_s - 20 - segment.stop / 700 for report, segment in zip(reports, segments, strict=True)]
        assert np.ptp(offsets + ends) <= 0.25
        code = {"Base": 1, "TSST": 2, "Fun": 3, "Medi 1": 4, "Medi 2": 4}
        for segment in segments:
            inside = states[segment.start : segment.stop]
            assert (inside == code[segment.condition]).all()
            assert states[segment.start - 1] != inside[0] != states[segment.stop]

    dataset = read_download(tmp_path, ITEMS, DownloadSettings(device="wrist"), jobs=1)
    assert len(dataset.subject_names) == 15
    assert not np.isnan(dataset.features).any()
    table = pd.read_csv(wesad_folder / "windows.csv")
    theirs = read_feature_table(wesad_folder)
    rows, matched = [], []
    for subject in dataset.subject_names:
        label = np.load(wesad_folder / subject / f"{subject}_wrist.npz")["label4"]
        questionnaire = read_quest(wesad_folder / subject / f"{subject}_quest.csv")
        starts, conditions = window_starts(find_segments(np.repeat(label, 175), questionnaire, "", ""), 30.0, 15.0)
        mine = np.flatnonzero(dataset.subjects == subject)
        assert dataset.groups is not None
        assert dataset.groups[mine].tolist() == conditions
        for row, start, condition in zip(mine, starts / 700, conditions, strict=True):
            same = (theirs.subjects == subject) & (theirs.groups == condition)
            near = np.flatnonzero(same & ((table["start_s"] - start).abs() <= 0.25))
            rows += [row] * len(near)
            matched += near.tolist()
    assert len(matched) > 0.8 * len(table)
    assert len(set(matched)) == len(matched)
    for column in ("BVP_Std", "Wrist_EDA_Mean"):
        ours = dataset.features[rows, dataset.schema.features.index(column)]
        assert np.corrcoef(ours, table[column].to_numpy()[matched])[0, 1] >= 0.99
    np.testing.assert_allclose(dataset.labels[rows], theirs.labels[matched])


# --- what is kept -------------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches this process, though a shell has started it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("jobs", [1, 2])
def test_finished_subjects_are_not_read_again(
    official: Official, tmp_path: Path, jobs: int, interruptible: None
) -> None:
    parts = tmp_path / "parts"
    told: list[str] = []

    def interrupt(line: str) -> None:
        told.append(line)
        signal.raise_signal(signal.SIGINT)  # Ctrl-C as soon as one subject is finished

    with pytest.raises(KeyboardInterrupt):
        read(official, cache=parts, log=interrupt, jobs=jobs)
    assert multiprocessing.active_children() == []
    (line,) = told
    done = line.split(":")[0]
    assert any(path.name.startswith(f"{done}-") for path in parts.iterdir())
    # The finished subject's pickle becomes rubbish of the same size and time: opening it would fail.
    path = official.path(done)
    about, whole = path.stat(), path.read_bytes()
    path.write_bytes(b"x" * (len(whole) - 1) + b".")
    assert "is not a complete pickle" in refused(official)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    lines: list[str] = []
    dataset = read(official, cache=parts, log=lines.append)
    # With two jobs, the other subject may have been finished as well before the interrupt arrived.
    assert any(line.startswith(f"{done}: 10 windows, read before; ") for line in lines)
    path.write_bytes(whole)
    assert dataset.digest == read(official).digest


def test_parts_are_made_again_for_other_settings_or_files(official: Official, tmp_path: Path) -> None:
    def kept(path: Path | None = None, **settings: Any) -> int:
        lines: list[str] = []
        read(official, path, cache=tmp_path / "parts", log=lines.append, **settings)
        return sum("read before" in line for line in lines)

    assert kept() == 0
    assert kept() == 2
    assert kept(window=20.0) == 0
    assert kept(step=10.0) == 0
    assert kept(window=20.0) == 2
    official.content["S2"]["signal"]["wrist"]["EDA"] = official.content["S2"]["signal"]["wrist"]["EDA"][:-1]
    official.write()
    assert kept() == 1
    archive = zipped(official.folder)
    assert kept(archive) == 0
    assert kept(archive) == 2


def test_parts_that_cannot_be_written_are_named(official: Official, tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file, no folder")
    assert refused(official, cache=tmp_path / "parts").startswith(f"{tmp_path / 'parts'}: cannot be written (")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"\x80\x02cos\nsystem\n."])
def test_damaged_parts_are_made_again(official: Official, tmp_path: Path, damage: bytes) -> None:
    expected = read(official, cache=tmp_path / "parts").digest
    for path in (tmp_path / "parts").iterdir():
        assert path.suffix == ".npz"
        path.write_bytes(damage)
    assert read(official, cache=tmp_path / "parts").digest == expected
    assert read(official, cache=tmp_path / "parts").digest == expected


# --- what is refused ----------------------------------------------------------------------------


def test_missing_files_are_named(official: Official, tmp_path: Path) -> None:
    assert "nowhere: no such folder or zip file (it must hold S2/S2.pkl" in refused(official, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no recordings of WESAD" in refused(official, tmp_path / "empty")
    quest = official.folder / "S14" / "S14_quest.csv"
    quest.unlink()
    incomplete = f"{official.folder}: is not complete: S14 lacks"
    again = "download them again, or move them away (whole are S2)"
    assert refused(official) == f"{incomplete} {quest.name}; {again}"
    archive = zipped(official.folder)
    member = f"{archive}: WESAD/S14/S14"
    assert refused(official, archive) == f"{member}_quest.csv: is missing; {member}.pkl needs its questionnaire"


def test_broken_pickles_are_named(official: Official) -> None:
    path = official.path("S2")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"is not complete: S2 lacks the end of {path.name}; download" in refused(official)
    path.write_bytes(whole[: len(whole) // 2] + b".")
    assert refused(official).startswith(f"{path}: is not a complete pickle of numeric arrays (")
    path.write_bytes(b"cos\nsystem\n(S'touch made'\ntR.")
    assert refused(official).startswith(f"{path}: names 'os.system', but a pickle of WESAD names NumPy arrays only")
    official.content["S2"]["label"] = official.content["S2"]["label"][:-1400]
    official.write()
    assert refused(official).startswith(f"{path}: 'signal' 'wrist' 'EDA' has 1,280 samples, 320.0 s at 4 Hz, but 'lab")


def test_a_recording_that_contradicts_its_questionnaire_is_refused(official: Official) -> None:
    quest = official.write_quest("S2", ("Base", "Fun", "Medi 1", "TSST", "Medi 2"))
    message = refused(official)
    assert message.startswith(
        f"{official.path()}: 'label' has baseline, stress, meditation, amusement, meditation, but"
    )
    assert f"by ORDER in {quest} it must have baseline, amusement" in message
    official.write_quest("S2")
    official.content["S2"]["label"][: 15 * 700] = 0  # the first condition begins 5 s late
    official.write()
    assert "S2_quest.csv: subject S2, Base: the label begins 5 s after START (right: 0)" in refused(official)


def test_files_of_someone_else_are_refused(official: Official) -> None:
    official.content["S2"]["subject"] = "S3"
    official.write()
    assert refused(official) == f"{official.path()}: 'subject' must be 'S2' like the name of the file, got 'S3'"
    lines = (official.folder / "S14" / "S14_quest.csv").read_text()
    (official.folder / "S2" / "S2_quest.csv").write_text(lines)
    assert "S2_quest.csv: must be the questionnaire of S2, but is that of S14" in refused(official)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "wrists"}, "device: must be one of wrist, chest, both, got 'wrists' (did you mean 'wrist'?)"),
        ({"window": 5.0}, "window: must be at least 10 seconds, got 5"),
        ({"window": float("nan")}, "window: must be at least 10 seconds, got nan"),
        ({"step": 0.0}, "step: must be more than 0 seconds, got 0"),
        ({"step": float("inf")}, "step: must be more than 0 seconds, got inf"),
        ({"jobs": 0}, "jobs: must be at least 1, got 0"),
        ({"window": 60.0}, "S2.pkl: Base lasts 45 s, less than one window of 60 s; choose a shorter --window"),
        ({"device": "chest"}, "S2.pkl: 'signal' must have the key 'chest'; it has wrist"),
    ],
)
def test_wrong_settings_are_refused(official: Official, settings: dict[str, Any], message: str) -> None:
    assert refused(official, **settings).endswith(message)


def test_broken_archives_are_refused(official: Official) -> None:
    archive = zipped(official.folder)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert refused(official, archive).startswith(f"{archive}: is not a complete zip file (")
    # The directory at the end is whole, but the first pickle is not what its checksum says.
    where = whole.index(b"WESAD/S2/S2.pkl") + 5000
    archive.write_bytes(
        whole[:where] + bytes(byte ^ 0x55 for byte in whole[where : where + 2000]) + whole[where + 2000 :]
    )
    with pytest.raises(InputError, match=r"WESAD\.zip: ") as caught:
        read(official, archive)
    assert "\n" not in str(caught.value)


def test_archives_that_claim_too_much_or_hold_a_subject_twice_are_refused(official: Official) -> None:
    archive = zipped(official.folder)
    whole = bytearray(archive.read_bytes())
    # The directory entry of S2.pkl (46 bytes, then the name) claims 4.3 GB: more than any of WESAD.
    entry = whole.rindex(b"WESAD/S2/S2.pkl") - 46
    assert whole[entry : entry + 4] == b"PK\x01\x02"
    whole[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    archive.write_bytes(bytes(whole))
    message = refused(official, archive)
    assert message.startswith(f"{archive}: WESAD/S2/S2.pkl: has 4.3 GB, more than any file of WESAD")
    with zipfile.ZipFile(archive, "w") as written:
        for prefix in ("a", "b"):
            written.write(official.path(), f"{prefix}/S2/S2.pkl")
    assert refused(official, archive).endswith(
        "must hold each subject once, but S2 appears as a/S2/S2.pkl, b/S2/S2.pkl"
    )


def test_without_neurokit_the_extra_is_named(official: Official) -> None:
    """In a process of its own, in which nothing more can be imported."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from helo.data.wesad import ITEM_SETS, DownloadSettings, read_download\n"
        "sys.path.clear()\n"
        "read_download(Path(sys.argv[1]), ITEM_SETS['panas9'], DownloadSettings('wrist'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, official.folder], capture_output=True, text=True, check=False)
    assert "needs NeuroKit2; install it: pip install 'helo-search[wesad]'" in done.stderr.splitlines()[-1]
