"""Folders here and on object storage keep the same promises."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from storage_proxy import StorageProxy

import helo
from helo.data import read_dataset, simulate, write_dataset
from helo.errors import InputError, StorageError
from helo.search.planning.space import load_space
from helo.storage import Folder, LocalFolder, is_uri, open_folder, place_of, require_new_folder


@pytest.fixture(params=["here", "object storage"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "here":
        return open_folder(tmp_path / "deep" / "run")
    return open_folder(request.getfixturevalue("object_storage")) / "deep" / "run"


def test_written_files_are_read_back(folder: Folder) -> None:
    assert folder.is_new()
    assert folder.names() == []
    folder.write("a.txt", b"one")
    folder.write("b/c.bin", b"x" * 12_000_000)  # more than one piece of an upload
    folder.write("a.txt", b"two")
    assert not folder.is_new()
    assert folder.names() == ["a.txt", "b"]
    assert (folder / "b").names() == ["c.bin"]
    assert folder.read("a.txt") == b"two"
    assert len(folder.read("b/c.bin")) == 12_000_000
    assert folder.exists("b")
    assert not folder.exists("c")
    with pytest.raises(FileNotFoundError):
        folder.read("c")


def test_files_are_moved_and_deleted(folder: Folder) -> None:
    folder.write("a", b"1")
    folder.write("b", b"2")
    folder.move("a", "aside/b")
    folder.delete("b")
    folder.delete("b")  # is gone already
    assert folder.names() == ["aside"]
    assert folder.read("aside/b") == b"1"


def test_a_stamp_changes_with_the_file(folder: Folder) -> None:
    folder.write("a", b"1")
    first, none = folder.stamps(["a", "b"])
    assert first != none == 0


def test_an_unfinished_file_does_not_appear(folder: Folder) -> None:
    folder.write("a", b"before")

    def half() -> None:
        with folder.new_file("a") as path:
            path.write_bytes(b"half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert folder.names() == ["a"]
    assert folder.read("a") == b"before"
    with folder.new_file("a") as path:
        path.write_bytes(b"all of it")
    assert folder.read("a") == b"all of it"


def test_a_folder_is_written_whole_or_not_at_all(folder: Folder) -> None:

    def half() -> None:
        with folder.filled(last="a") as staging:
            (staging / "b").write_bytes(b"1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert folder.is_new()
    with folder.filled(last="a") as staging:
        for name in "abc":
            (staging / name).write_bytes(name.encode())
    assert folder.names() == ["a", "b", "c"]
    with folder.at_hand("b") as path:
        assert path.read_bytes() == b"b"
    with pytest.raises(InputError, match=r"is already there; choose another --out"):
        require_new_folder(folder)


def test_json_round_trip(folder: Folder) -> None:
    folder.write_json("a.json", {"ä": [1]})
    assert folder.read_json("a.json") == {"ä": [1]}
    folder.write("b.json", b"{half")
    for name in ("b.json", "none.json"):
        with pytest.raises(InputError) as caught:
            folder.read_json(name)
        assert str(caught.value).startswith(f"{folder.where(name)}: cannot be read")


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.lists(st.text())))
@example(content={"1e3": "\ud800", "\x85": "\u2028\ufeff\r\n"})
def test_any_text_is_read_as_it_was_written(tmp_path: Path, content: dict[str, object]) -> None:
    here = open_folder(tmp_path / "run")
    here.write_json("a.json", content)
    assert here.read_json("a.json") == content


def test_a_folder_can_be_pickled(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a", b"1")
    sent = pickle.dumps(folder)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)  # another machine may not know it
    assert pickle.loads(sent).read("a") == b"1"  # noqa: S301 - our own


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_an_unreachable_storage_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]], scheme: str
) -> None:
    place = f"{scheme}://lab/run?endpoint_override=127.0.0.1:{free_ports(1)[0]}&scheme=http"
    monkeypatch.setattr("helo.storage.remote.ATTEMPTS", 1)
    monkeypatch.setattr("helo.storage.remote.PATIENCE", timedelta(milliseconds=100))
    monkeypatch.setattr("helo.storage.places.READ_S", 1.0)
    with pytest.raises(StorageError) as caught:
        helo.load_run(place)
    assert str(caught.value).startswith(f"{place.replace('?', '/manifest.json?')}: ")
    assert "\n" not in str(caught.value)


def test_a_failed_upload_leaves_the_previous_object(
    object_storage: str, storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(object_storage).write("a", b"before")
    storage_proxy.refuse = lambda command, path: 403 if command == "PUT" and "partNumber=2" in path else None
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage_proxy.address)
    folder = open_folder(object_storage)
    with pytest.raises(StorageError, match=f"{folder.where('a')}: "):
        folder.write("a", b"x" * 25_000_000)
    with pytest.raises(StorageError), folder.new_file("a") as path:
        path.write_bytes(b"x" * 25_000_000)
    assert folder.read("a") == b"before"
    assert folder.names() == ["a"]


BAD = {
    "http://lab/run": "unknown kind of storage http://; known are s3://, gs:// and paths",
    "s3://key:secret@lab/run": "s3://…@lab/run: contains credentials, which would be stored in the run",
    "s3://lab": "must be s3://BUCKET/FOLDER",
    "s3:///run": "must be s3://BUCKET/FOLDER",
    "s3://lab/run#first": "must be s3://BUCKET/FOLDER",
    "s3://lab/run?reigon=eu-west-1": "unknown option 'reigon' (did you mean 'region'?); known are region,",
    "s3://lab/run?region=": "unknown option 'region'",
    "s3://lab/run?scheme=ftp": "scheme must be http or https, got 'ftp'",
    "s3://lab/a//b": "has an empty part, '.' or '..' in its path",
    "s3://lab/../b": "has an empty part, '.' or '..' in its path",
}


@pytest.mark.parametrize("place", BAD)
@pytest.mark.parametrize("use", [open_folder, place_of, read_dataset, helo.load_run, helo.load_model])
def test_an_invalid_uri_is_reported_in_one_line(use: Callable[[str], object], place: str) -> None:
    with pytest.raises(InputError) as caught:
        use(place)
    assert BAD[place] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["s3:/lab/run", "s3:lab/run", "gs:/lab/run"])
def test_a_uri_with_a_missing_slash_is_not_taken_for_a_path(place: str) -> None:
    """Otherwise the run would be written to the local disk, and be lost with a rented machine."""
    with pytest.raises(InputError) as caught:
        open_folder(place)
    assert re.search(r"did you mean (s3|gs)://lab/run\?", str(caught.value))


def test_a_run_inside_another_run_is_rejected(folder: Folder) -> None:
    folder.write("manifest.json", b"{}")
    with pytest.raises(InputError, match="lies in a run, and would be deleted with it"):
        require_new_folder(folder / "sub")
    with pytest.raises(InputError, match="is already there"):
        require_new_folder(folder / "manifest.json")


def test_a_missing_bucket_is_reported(object_storage: str) -> None:
    with pytest.raises(StorageError, match="there is no bucket 'none'"):
        open_folder("s3://none/run").write("a", b"1")


def test_uris_are_told_from_paths() -> None:
    assert is_uri("gs://lab/run")
    for path in ("run", "/run", "C://run", "a b://run", "s3:/run"):
        assert not is_uri(path), path
    assert open_folder("C:/run") == LocalFolder(Path("C:/run"))
    assert str(open_folder("s3://lab/run/?region=eu-west-1")) == "s3://lab/run?region=eu-west-1"
    assert open_folder("s3://lab/run?region=eu-west-1").where("a") == "s3://lab/run/a?region=eu-west-1"


def test_a_dataset_is_read_from_object_storage(object_storage: str, tmp_path: Path) -> None:
    dataset = simulate(subjects=3, clips=2, windows=3)
    write_dataset(dataset, tmp_path / "data")
    there = open_folder(f"{object_storage}/data")
    with pytest.raises(InputError, match="no such dataset directory"):
        read_dataset(str(there))
    there.write("windows.parquet", (tmp_path / "data" / "windows.parquet").read_bytes())
    with pytest.raises(InputError, match=r"file dataset\.yaml is missing"):
        read_dataset(str(there))
    there.write("dataset.yaml", (tmp_path / "data" / "dataset.yaml").read_bytes())
    assert read_dataset(str(there)).digest == dataset.digest
    there.write("dataset.yaml", b"name: [")
    with pytest.raises(InputError, match=f"{there.where('dataset.yaml')}: is not valid YAML"):
        read_dataset(str(there))


def test_the_home_directory_stands_in_the_place_of_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave it alone in ``--out=~/run``, and so does Python."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_folder("~/run").here == tmp_path / "run"
    assert place_of("~/run") == tmp_path / "run"
    data = simulate(subjects=3, clips=2, windows=2)
    write_dataset(data, "~/data")
    assert (tmp_path / "data").is_dir()
    assert read_dataset("~/data").digest == data.digest
    (tmp_path / "space.yaml").write_text("configurations: 1\nparameters: {width: 8}\n")
    assert load_space("~/space.yaml").name == "space"
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'run'}: is not a run")):
        helo.load_run("~/run")
