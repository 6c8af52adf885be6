"""The official download of WESAD: features of windows from the recordings, subject by subject."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from helo.data.dataset import Dataset
from helo.data.wesad.cache import Part, part_path, read_part, write_part
from helo.data.wesad.items import checked_items
from helo.data.wesad.pickles import read_pickle
from helo.data.wesad.questionnaire import Questionnaire, distribution, parse_quest, require_subject
from helo.data.wesad.recording import LABEL_RATE, find_segments, make_recording
from helo.data.wesad.schema import COLUMNS, DEVICES, make_schema, modalities, require_device
from helo.data.wesad.signals import window_features, window_starts
from helo.data.wesad.sources import Source, find_sources, is_download
from helo.errors import InputError

__all__ = ["is_download", "read_download"]

_SHORTEST_S: Final = 10.0
"""Seconds a window must have: heart rate variability and breaths need several beats and breaths."""

_MEMORY_PER_BYTE: Final = 1.5
_MEMORY_BESIDES: Final = 500 * 10**6
"""Memory that a process takes per byte of a pickle, and besides. Measured: 1.2 GB for one of 0.87 GB."""

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Settings:
    """What the features of a recording depend on."""

    device: str
    window: float
    step: float
    neurokit: str

    @property
    def names(self) -> tuple[str, ...]:
        """The device's modalities."""
        return DEVICES[self.device][1]

    @property
    def columns(self) -> int:
        """How many features they have."""
        return sum(len(COLUMNS[name]) for name in self.names)


def read_download(
    path: Path,
    items: tuple[str, ...],
    *,
    device: str = "both",
    window: float = 30.0,
    step: float = 15.0,
    jobs: int | None = None,
    parts: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read the official download: windows of features with an emotion distribution from the self-reports.

    Labels and groups are those of `helo.data.wesad.feature_table.wesad`; features of the same name mean the same.

    - `path`: the folder with ``S2/S2.pkl`` and so on (or one above), or the zip file
    - `items`: the answers that make up the distribution, see `parse_items`
    - `device`: signals of the ``wrist``, the ``chest`` or ``both``
    - `window`, `step`: length of the windows and distance of their beginnings in seconds; each lies wholly
      within one condition
    - `jobs`: subjects read at a time, each in a process of its own; by default as many as there are
      processors and memory for
    - `parts`: folder in which finished subjects are kept, so that a second call need not read them again
    - `tell`: called with a line for each finished subject

    Nothing in a pickle is ever run, see `helo.data.wesad.pickles`. Raises `InputError` for missing or
    malformed files, for values out of range, and where the recording contradicts the questionnaire.
    """
    items = checked_items(items)
    settings = _settings(device, window, step, jobs)
    sources = find_sources(path)
    # All questionnaires first: what is wrong in one shows at once, not after an hour.
    quests = {source.subject: _quest(source) for source in sources}
    found: dict[str, Part] = {}
    started = time.monotonic()
    todo = []
    for source in sources:
        kept = read_part(part_path(parts, source, asdict(settings)), settings.columns) if parts else None
        if kept is None:
            todo.append(source)
        else:
            found[source.subject] = kept
            tell(f"{source.subject}: {len(kept.features)} windows, kept from before; {len(found)} of {_n(sources)}")
    # Closed at once if `tell` raises: the processes must not go on until the exception is forgotten.
    with closing(_all_parts(todo, settings, parts, jobs)) as finished:
        for made, (subject, part, seconds) in enumerate(finished, start=1):
            found[subject] = part
            left = (time.monotonic() - started) / made * (len(todo) - made)
            gone = f", {part.without_signal} more without any signal left out" if part.without_signal else ""
            tell(
                f"{subject}: {len(part.features)} windows in {seconds:.0f} s{gone}; {len(found)} of {_n(sources)}"
                + (f", {_about(left)} left" if len(found) < len(sources) else "")
            )
    return _dataset(path, items, settings, {source.subject: found[source.subject] for source in sources}, quests)


def _settings(device: str, window: float, step: float, jobs: int | None) -> _Settings:
    require_device(device)
    if not (math.isfinite(window) and window >= _SHORTEST_S):
        raise InputError(f"window: must be at least {_SHORTEST_S:g} seconds, got {window:g}")
    if not (math.isfinite(step) and step >= 1 / LABEL_RATE):
        raise InputError(f"step: must be more than 0 seconds, got {step:g}")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs: must be at least 1, got {jobs}")
    if importlib.util.find_spec("neurokit2") is None:
        raise InputError("reading the WESAD download needs NeuroKit2: pip install 'helo-search[wesad]'")
    return _Settings(device, float(window), float(step), version("neurokit2"))


def _n(sources: tuple[Source, ...]) -> str:
    return f"{len(sources)} subject{'s' * (len(sources) != 1)}"


def _about(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def _quest(source: Source) -> Questionnaire:
    quest = parse_quest(source.quest_text(), source.quest_where)
    require_subject(quest, source.subject, source.quest_where)
    return quest


def _make_part(source: Source, settings: _Settings, folder: Path | None) -> tuple[str, Part, float]:
    """Read one subject, and keep its part if there is a `folder`; also the seconds it took."""
    started = time.monotonic()
    target = part_path(folder, source, asdict(settings)) if folder else None
    with source.open_pickle() as stream:
        content = read_pickle(stream, source.where)
    recording = make_recording(content, source.subject, settings.names, source.where)
    del content  # the signals that are not asked for
    segments = find_segments(recording.label, _quest(source), source.where, source.quest_where)
    starts, conditions = window_starts(segments, settings.window, settings.step)
    for name, start, stop in segments:
        if name not in conditions:
            raise InputError(
                f"{source.where}: {name} lasts {(stop - start) / LABEL_RATE:g} s, less than one window of "
                f"{settings.window:g} s; choose a shorter --window"
            )
    features = window_features(recording, starts, settings.window)
    some = ~np.isnan(features).all(axis=1)
    part = Part(features[some], np.asarray(conditions, dtype=np.str_)[some], int((~some).sum()))
    if target is not None:
        write_part(target, part)
    return source.subject, part, time.monotonic() - started


def _all_parts(
    sources: list[Source], settings: _Settings, folder: Path | None, jobs: int | None
) -> Generator[tuple[str, Part, float]]:
    """The parts of all sources, as they are finished: with one job in this process, else in processes."""
    if not sources:
        return
    jobs = min(jobs or _processes(max(source.size for source in sources)), len(sources))
    if jobs == 1:
        for source in sources:
            yield _make_part(source, settings, folder)
        return
    with _pool(jobs) as pool:
        futures = [pool.submit(_make_part, source, settings, folder) for source in sources]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise InputError(
                f"a process that read a recording was ended, most likely for want of memory ({jobs} at a time): "
                "choose fewer --jobs"
            ) from None


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each, which end with this block, however it is left."""
    before = set(multiprocessing.active_children())
    mine = {name: "1" for name in _THREADS if name not in os.environ}
    os.environ.update(mine)  # for the processes to come: libraries look at it when they are imported
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    try:
        yield pool
    except BaseException:
        # Ctrl-C, or a subject that cannot be read: nobody waits for what the others are at.
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        pool.shutdown()
        for name in mine:
            os.environ.pop(name, None)


def _leave_interrupts() -> None:
    """A process leaves Ctrl-C to the one that started it, which ends it without a traceback of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _processes(largest: int) -> int:
    """How many recordings may be read at a time, the largest of so many bytes: by processors and memory."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _free_memory()
    return max(
        1, processors if free is None else min(processors, int(free / (_MEMORY_PER_BYTE * largest + _MEMORY_BESIDES)))
    )


def _free_memory() -> int | None:
    """Bytes of memory that may be taken, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _dataset(
    path: Path, items: tuple[str, ...], settings: _Settings, found: dict[str, Part], quests: dict[str, Questionnaire]
) -> Dataset:
    subjects, conditions, labels = [], [], []
    for subject, part in found.items():
        shares = {report.condition: distribution(report, items) for report in quests[subject].reports}
        subjects += [subject] * len(part.conditions)
        conditions += part.conditions.tolist()
        labels += [shares[condition] for condition in part.conditions.tolist()]
    gone = sum(part.without_signal for part in found.values())
    main, names = DEVICES[settings.device]
    schema = make_schema(
        items,
        modalities(names, main),
        "" if settings.device == "both" else f"-{settings.device}",
        f" Features are of the official recordings, device {settings.device}: windows of {settings.window:g} s "
        f"every {settings.step:g} s within each condition, heart beats, breaths and muscle tone by NeuroKit2 "
        f"{settings.neurokit}." + (f" {gone} windows without any signal are left out." if gone else ""),
    )
    features = np.concatenate([part.features for part in found.values()]).astype(np.float32)
    try:
        return Dataset(
            schema,
            np.asarray(subjects, dtype=np.str_),
            features,
            np.asarray(labels, dtype=np.float64).reshape(len(subjects), len(items)),
            groups=np.asarray(conditions, dtype=np.str_),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
