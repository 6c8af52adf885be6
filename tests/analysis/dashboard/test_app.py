"""Tests of the server of the dashboard without a browser: layout, answers, comparison and refusals."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from helo.analysis.__main__ import main
from helo.analysis.dashboard.app import build_app
from helo.analysis.dashboard.compared import Comparer
from helo.analysis.dashboard.server import _listening, _only_for_this_machine
from helo.analysis.dashboard.shown_runs import ShownRuns
from helo.analysis.dashboard.watched import WatchedRun
from helo.analysis.exhibits import EXHIBITS
from helo.names import FileName
from helo.run.directory import Run


def client_of(*runs: Run) -> FlaskClient:
    app = build_app([WatchedRun(str(run.folder)) for run in runs], refresh=1.0)
    _only_for_this_machine(app.server)
    return app.server.test_client()


def ask(client: FlaskClient, output: str, inputs: list[Any], state: list[Any], outputs: Any) -> dict[str, Any]:
    body = {"output": output, "outputs": outputs, "inputs": inputs, "state": state, "changedPropIds": []}
    answer = client.post("/_dash-update-component", json=body, headers={"Host": "127.0.0.1:80"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()["response"]
    return found


def test_a_part_is_laid_out_for_every_run(run: Run, make_run: Callable[..., Run]) -> None:
    client = client_of(run, make_run("other"))
    found = ask(
        client,
        "content.children",
        [{"id": "part", "property": "data", "value": "people"}],
        [],
        {"id": "content", "property": "children"},
    )
    *sections, table = found["content"]["children"]
    assert table["props"]["id"] == "table-subjects"
    for column in table["props"]["children"][1]["props"]["children"]:
        name, store, place = (one["props"] for one in column["props"]["children"])
        assert name["children"] in ("run", "other")
        assert "<caption>" in store["data"]
        assert place["id"] == store["id"] | {"kind": "place"}
    expected = [name for name, one in EXHIBITS.items() if one.part == "people"]
    assert [section["props"]["id"] for section in sections] == [f"exhibit-{name}" for name in expected]
    for section in sections:
        columns = section["props"]["children"][1]["props"]["children"]
        assert [column["props"]["children"][0]["props"]["children"] for column in columns] == ["run", "other"]
        raw, changes = ([column["props"]["children"][place]["props"] for column in columns] for place in (1, 2))
        assert [one["id"]["run"] for one in raw] == [0, 1]
        assert all("figure" in one["data"] for one in raw)
        assert changes[0]["data"] == changes[1]["data"] != {}


def test_only_figures_and_changes_that_are_new_are_sent(run: Run, make_run: Callable[..., Run]) -> None:
    watched = [WatchedRun(str(one.folder)) for one in (run, make_run("other", subjects=("S2", "S9")))]
    shown = ShownRuns({"one": watched[0], "other": watched[1]})
    client = build_app(watched, refresh=1.0).server.test_client()
    place = {"name": "subjects", "run": 0}
    figure, changes = shown.placed([(0, "subjects")])[0].made
    kinds = ("raw", "aligned", "made")
    outputs = [[{"id": {"kind": kind, **place}, "property": "data"}] for kind in kinds]
    names = "...".join(f'{{"kind":"{kind}","name":["ALL"],"run":["ALL"]}}.data' for kind in kinds)
    for known, sent in (
        ([figure, changes], (False, False)),
        (["older", changes], (True, False)),
        ([figure, "older"], (False, True)),
    ):
        body = {
            "output": f"..{names}..",
            "outputs": outputs,
            "inputs": [{"id": "versions", "property": "data", "value": [1]}],
            "state": [[{"id": {"kind": "made", **place}, "property": "data", "value": known}]],
            "changedPropIds": ["versions.data"],
        }
        answer = client.post("/_dash-update-component", json=body)
        assert ('"figure"' in answer.text, '"always"' in answer.text) == sent, answer.text[:300]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8050", 200),
        ("localhost:8050", 200),
        ("[::1]:8050", 200),
        ("127.0.0.2", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8050", 403),
        ("localhost.evil.example", 403),
    ],
)
def test_other_names_of_this_machine_are_refused(run: Run, host: str, status: int) -> None:
    assert client_of(run).get("/", headers={"Host": host}).status_code == status


def comparer_of(*runs: Run) -> Comparer:
    return Comparer({run.folder.name: WatchedRun(str(run.folder)) for run in runs})


def test_runs_of_the_same_data_are_compared(make_run: Callable[..., Run]) -> None:
    first, second, other = make_run("first"), make_run("second"), make_run("other")
    manifest = other.manifest.as_dict()
    manifest |= {"dataset": manifest["dataset"] | {"digest": "of other data"}}
    other.folder.write_json(FileName.MANIFEST, manifest)
    assert comparer_of(first).table() == []
    comparer = comparer_of(first, second, other)
    shown = str(comparer.table())
    assert "6 of 6" not in shown  # both are the same, so nobody is better
    assert "0 of 6" in shown
    assert shown.count("other data or objective") == 1
    for name, traces in (("runs", ["", "train_mean", "first", "second"]), ("pairs", ["second: above for 0 of 6"])):
        figure = json.loads(comparer.drawing(name).shown["figure"])
        assert [trace.get("name", "") for trace in figure["data"]] == traces
        assert comparer.drawing(name) is comparer.drawing(name)  # made once


def test_the_comparison_follows_its_runs(make_run: Callable[..., Run]) -> None:
    first, second = make_run("first"), make_run("second")
    cells = second.table("cells")
    second.write_table("cells", cells[cells["fold"] != "S7"])
    watched = {run.folder.name: WatchedRun(str(run.folder)) for run in (first, second)}
    comparer = Comparer(watched)
    assert "S7" not in comparer.drawing("runs").shown["figure"]  # the same subjects in all runs
    second.write_table("cells", cells)
    watched["second"].refresh()
    assert "S7" in comparer.drawing("runs").shown["figure"]


def test_runs_without_scores_are_left_out(make_run: Callable[..., Run]) -> None:
    empty = make_run("empty", without=("cells", "epochs", "predictions"))
    failed = make_run("failed")
    failed.write_table("cells", failed.table("cells").assign(status="failed"))
    comparer = comparer_of(make_run("whole"), empty, failed)
    assert comparer.table() == []
    assert "fewer than two runs have scores" in comparer.drawing("runs").shown["reason"]


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_wrong_arguments(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with taken_port() as port:
        assert main(["dashboard", str(run.folder.here), "--port", str(port)]) == 2
        assert f"127.0.0.1:{port}: is in use; choose another --port" in capsys.readouterr().err
    assert main(["dashboard", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    assert main(["dashboard", str(run.folder.here), "--port", "70000"]) == 2
    assert main(["dashboard", str(run.folder.here), "--refresh", "0"]) == 2
    assert main(["dashboard", str(run.folder.here), "--host", "no.such.host.invalid", "--port", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_it_listens_on_the_local_machine() -> None:
    from flask import Flask

    with _listening("127.0.0.1", 0, Flask("test")) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"404" in link.recv(200)
        server.shutdown()
