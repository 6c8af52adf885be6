"""Reader of the official download of WESAD: features of windows of the recordings, subject by subject."""

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

from helo._machine import free_memory, usable_cpus
from helo._processes import describe_end, hidden_main
from helo.data.dataset import Dataset
from helo.data.wesad.cache import SubjectWindows, cache_path, read_cached, write_cached
from helo.data.wesad.gaps import describe_gaps
from helo.data.wesad.items import checked_items
from helo.data.wesad.pickles import read_pickle
from helo.data.wesad.pieces import missing_shares
from helo.data.wesad.questionnaire import Questionnaire, distribution, parse_quest, require_subject
from helo.data.wesad.recording import LABEL_RATE, find_segments, make_recording
from helo.data.wesad.schema import COLUMNS, DEVICES, make_schema, modalities, require_device
from helo.data.wesad.signals import window_features, window_starts
from helo.data.wesad.sources import Source, find_sources, is_download
from helo.errors import InputError

__all__ = ["DownloadSettings", "is_download", "read_download"]

_SHORTEST_S: Final = 10.0
"""Minimum length of a window in seconds. Heart rate variability needs several beats, respiration several breaths."""

_MEMORY_PER_BYTE: Final = 1.5
_MEMORY_CONSTANT: Final = 500 * 10**6
"""Memory of a process in bytes: a factor per byte of the pickle, plus a constant. Measured: 1.2 GB for 0.87 GB."""

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class DownloadSettings:
    """Choice of signals and windows.

    Attributes
    ----------
    device
        ``"wrist"``, ``"chest"`` or ``"both"``: the device whose signals are read.
    window
        Length of the windows in seconds, at least 10.
    step
        Time between the beginnings of windows in seconds. Each window lies within one condition.
    """

    device: str = "both"
    window: float = 30.0
    step: float = 15.0


@dataclass(frozen=True)
class _Settings:
    """Everything that the features of a recording depend on; `neurokit` is the version of NeuroKit2."""

    device: str
    window: float
    step: float
    neurokit: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the device's modalities."""
        return DEVICES[self.device][1]

    @property
    def columns(self) -> int:
        """Number of the device's features."""
        return sum(len(COLUMNS[name]) for name in self.names)


def read_download(
    path: Path,
    items: tuple[str, ...],
    settings: DownloadSettings = DownloadSettings(),
    *,
    jobs: int | None = None,
    cache: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read the official download: windows of features with emotion distributions from the self-reports.

    Labels and groups are those of `helo.data.wesad.read_feature_table`. Features of the same name have the same
    meaning. Nothing in a pickle is run, see `helo.data.wesad.pickles`.

    Parameters
    ----------
    path
        The zip file, the folder with ``S2/S2.pkl`` and so on, or the folder that contains this folder.
    items
        Items of the questionnaire that become emotions, see `parse_items`.
    settings
        Choice of signals and windows.
    jobs
        Number of subjects read at a time, each in its own process, or None for as many as there are cores and memory.
    cache
        Folder that keeps the features of finished subjects, so that an interrupted call can be repeated, or None.
    log
        Receives a line for each finished subject.

    Returns
    -------
    Dataset
        Windows of all subjects in natural order, with the conditions as groups.

    Raises
    ------
    InputError
        If a file is missing or malformed, a setting is out of range, NeuroKit2 is not installed, or a recording
        contradicts its questionnaire.
    """
    items = checked_items(items)
    complete = _complete_settings(settings, jobs)
    sources = find_sources(path)
    # Questionnaires come first, so that an error in one of them is reported before an hour of reading.
    quests = {source.subject: _questionnaire(source) for source in sources}
    found: dict[str, SubjectWindows] = {}
    started = time.monotonic()
    unread = []
    total = _subject_count(sources)
    for source in sources:
        kept = read_cached(cache_path(cache, source, asdict(complete)), complete.columns) if cache else None
        if kept is None:
            unread.append(source)
        else:
            found[source.subject] = kept
            log(f"{source.subject}: {len(kept.features)} windows, read before; {len(found)} of {total}")
    # If `log` raises, the processes end here and not when the exception is discarded.
    with closing(_read_all(unread, complete, cache, jobs)) as finished:
        for count, (subject, part, seconds) in enumerate(finished, start=1):
            found[subject] = part
            left = (time.monotonic() - started) / count * (len(unread) - count)
            omitted = f", {part.without_signal} more without any signal left out" if part.without_signal else ""
            log(
                f"{subject}: {len(part.features)} windows in {seconds:.0f} s{omitted}; {len(found)} of {total}"
                + (f", {_rough_duration(left)} left" if len(found) < len(sources) else "")
            )
    parts = {source.subject: found[source.subject] for source in sources}
    for line in describe_gaps(complete.names, parts):
        log(line)
    return _dataset(path, items, complete, parts, quests)


def _complete_settings(settings: DownloadSettings, jobs: int | None) -> _Settings:
    """Check the settings and add the version of NeuroKit2."""
    device, window, step = settings.device, settings.window, settings.step
    require_device(device)
    if not (math.isfinite(window) and window >= _SHORTEST_S):
        raise InputError(f"window: must be at least {_SHORTEST_S:g} seconds, got {window:g}")
    if not (math.isfinite(step) and step >= 1 / LABEL_RATE):
        raise InputError(f"step: must be more than 0 seconds, got {step:g}")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs: must be at least 1, got {jobs}")
    if importlib.util.find_spec("neurokit2") is None:
        raise InputError("reading the WESAD download needs NeuroKit2; install it: pip install 'helo-search[wesad]'")
    return _Settings(device, float(window), float(step), version("neurokit2"))


def _subject_count(sources: tuple[Source, ...]) -> str:
    return "1 subject" if len(sources) == 1 else f"{len(sources)} subjects"


def _rough_duration(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def _questionnaire(source: Source) -> Questionnaire:
    """Return the questionnaire of a subject; raise `InputError` if it belongs to another one."""
    quest = parse_quest(source.quest_text(), source.quest_where)
    require_subject(quest, source.subject, source.quest_where)
    return quest


def _read_subject(source: Source, settings: _Settings, cache: Path | None) -> tuple[str, SubjectWindows, float]:
    """Return a subject, its windows and the seconds of reading; also write the windows to `cache` unless None."""
    started = time.monotonic()
    target = cache_path(cache, source, asdict(settings)) if cache else None
    with source.open_pickle() as stream:
        content = read_pickle(stream, source.where)
    recording = make_recording(content, source.subject, settings.names, source.where)
    del content  # frees the signals of the other device
    segments = find_segments(recording.label, _questionnaire(source), source.where, source.quest_where)
    starts, conditions = window_starts(segments, settings.window, settings.step)
    for name, start, stop in segments:
        if name not in conditions:
            raise InputError(
                f"{source.where}: {name} lasts {(stop - start) / LABEL_RATE:g} s, less than one window of "
                f"{settings.window:g} s; choose a shorter --window"
            )
    gaps = np.asarray(list(missing_shares(recording, starts, settings.window).values()))
    features = window_features(recording, starts, settings.window)
    present = ~np.isnan(features).all(axis=1)
    names = np.asarray(conditions, dtype=np.str_)
    part = SubjectWindows(features[present], names[present], int((~present).sum()), gaps)
    if target is not None:
        write_cached(target, part)
    return source.subject, part, time.monotonic() - started


def _read_all(
    sources: list[Source], settings: _Settings, cache: Path | None, jobs: int | None
) -> Generator[tuple[str, SubjectWindows, float]]:
    """Yield subjects as they finish; one job runs in this process, more jobs in processes of their own."""
    if not sources:
        return
    jobs = min(jobs or _max_processes(max(source.size for source in sources)), len(sources))
    if jobs == 1:
        for source in sources:
            yield _read_subject(source, settings, cache)
        return
    with _pool(jobs) as pool:
        before = set(multiprocessing.active_children())
        with hidden_main():
            futures = [pool.submit(_read_subject, source, settings, cache) for source in sources]
        processes = set(multiprocessing.active_children()) - before
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            pool.shutdown()  # waits for the exit codes of all processes
            reason = describe_end(process.exitcode for process in processes)
            raise InputError(
                f"a process that read a recording {reason} ({jobs} at a time); choose fewer --jobs"
            ) from None


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Provide processes with one thread each, and end them when the block is left, also by an exception."""
    before = set(multiprocessing.active_children())
    added = {name: "1" for name in _THREADS if name not in os.environ}
    os.environ.update(added)  # libraries read it when the new processes import them
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield pool
    except BaseException:
        # After Ctrl-C or an error the work of the other processes is not needed.
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        pool.shutdown()
        for name in added:
            os.environ.pop(name, None)


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C: the parent process handles it and ends this process without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _max_processes(largest: int) -> int:
    """Return how many recordings fit at a time by cores and memory; `largest` is the size of the largest in bytes."""
    processors, free = int(usable_cpus()), free_memory()
    if free is not None:
        processors = min(processors, int(free / (_MEMORY_PER_BYTE * largest + _MEMORY_CONSTANT)))
    return max(1, processors)


def _dataset(
    path: Path,
    items: tuple[str, ...],
    settings: _Settings,
    found: dict[str, SubjectWindows],
    quests: dict[str, Questionnaire],
) -> Dataset:
    """Join the windows of all subjects and add the labels."""
    subjects, conditions, labels = [], [], []
    for subject, part in found.items():
        shares = {report.condition: distribution(report, items) for report in quests[subject].reports}
        subjects += [subject] * len(part.conditions)
        conditions += part.conditions.tolist()
        labels += [shares[condition] for condition in part.conditions.tolist()]
    without_signal = sum(part.without_signal for part in found.values())
    main, names = DEVICES[settings.device]
    schema = make_schema(
        items,
        modalities(names, main),
        "" if settings.device == "both" else f"-{settings.device}",
        f" Features are of the official recordings, device {settings.device}: windows of {settings.window:g} s "
        f"every {settings.step:g} s within each condition, heart beats, breaths and muscle tone by NeuroKit2 "
        f"{settings.neurokit}."
        + (f" {without_signal} windows without any signal are left out." if without_signal else ""),
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
