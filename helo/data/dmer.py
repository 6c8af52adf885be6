"""Reader of DMER: EEG, skin conductance, pulse, face video and self-reports of 73 subjects on 32 film clips.

Source: Yang et al., "A multimodal dataset for mixed emotion recognition", Scientific Data, 2024; access by a signed
agreement. The reader takes a MATLAB file ``n.mat`` for each subject n (of ``Features.zip``) with

- ``feas`` (windows, 913): columns 0–89 EEG (18 channels × 5 bands, channel by channel), 90–117 skin conductance (GSR),
  118–144 pulse (PPG), 145–912 face (LBP-TOP of the video)
- ``vids``: number of the clip of each window, from 0
- ``dis_label`` (clips, 10): PANAS scores; in this file, or in ``n/datas.mat`` (of ``Aligned_data.zip``)
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from helo._paths import local_path
from helo.data.dataset import Dataset
from helo.data.schema import Modality, Schema
from helo.errors import InputError, shorten
from helo.names import Role

LEFT_OUT: Final = (3, 4, 13, 16, 17, 27, 31)
"""Numbers of the subjects that the authors exclude; 73 of 80 remain."""

_PANAS: Final = "Inspired Alert Excited Enthusiastic Determined Afraid Upset Nervous Scared Distressed"
EMOTIONS: Final = tuple(_PANAS.split())
"""The ten columns of ``dis_label``."""

MODALITIES: Final = tuple(
    Modality(name, role, tuple(f"{name}_{number}" for number in range(width)), tokens, main=name == "eeg")
    for name, role, width, tokens in (
        # A channel of 5 bands is a token.
        ("eeg", Role.PHYSIOLOGICAL, 90, 18),
        # The statistics of GSR and PPG are not published. Each is a token of its own, as in WESAD.
        ("gsr", Role.PHYSIOLOGICAL, 28, 28),
        ("ppg", Role.PHYSIOLOGICAL, 27, 27),
        # LBP-TOP is a sequence of three histograms, of the planes XY, XT and YT. With 8 neighbours, each has
        # 2^8 = 256 bins. Each plane is a token, since optimal transport to a single token is trivial.
        ("video", Role.BEHAVIOURAL, 768, 3),
    )
)
"""Modalities in the order of the columns of ``feas``."""

FEATURES: Final = sum(len(modality.columns) for modality in MODALITIES)
"""Number of columns of ``feas``."""

_FEATURES, _CLIPS, _SCORES = "feas", "vids", "dis_label"
_LABEL_FILE: Final = "datas.mat"

# Errors of loadmat for a truncated file and for a file of another format.
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError),
    *(zlib.error, struct.error),
)


def read_dmer(
    folder: Path,
    *,
    labels: Path | None = None,
    leave_out: Sequence[int] = LEFT_OUT,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Read the windows of DMER, with emotion distributions from the PANAS scores.

    The label of a window is s_e / Σ s, where s (10,) are the scores of its subject for its clip. All windows of a
    subject and clip share this label. Groups are the clips. The function needs memory for the result and one subject.

    Parameters
    ----------
    folder
        Folder with the files ``n.mat``, directly or one level below (``Features/n.mat``).
    labels
        Folder with the files ``n/datas.mat``, directly or one level below. None takes ``dis_label`` from ``n.mat`` if
        it has this variable, otherwise from ``n/datas.mat`` beside it, in `folder` or one level below.
    leave_out
        Numbers of the subjects to exclude.
    log
        Receives a line per subject.

    Returns
    -------
    Dataset
        N windows with features (N, 913) in the units of the files and labels (N, 10).

    Raises
    ------
    InputError
        If a file is missing or malformed, `leave_out` names an unknown subject, or fewer than 2 subjects remain.
    """
    folder = local_path(folder)
    files = _subject_files(folder)
    unknown = [number for number in leave_out if number not in files]
    if unknown and tuple(leave_out) != LEFT_OUT:
        raise InputError(f"{folder}: subject {shorten(unknown)} cannot be left out: there is no {unknown[0]}.mat")
    files = {number: path for number, path in files.items() if number not in leave_out}
    if len(files) < 2:
        raise InputError(
            f"{folder}: leave-one-subject-out needs at least 2 subjects, got {shorten(files) or 'none'} "
            f"(left out: {shorten(leave_out, most=10) or 'none'})"
        )
    # Reading the headers first finds wrong files before minutes of reading, and gives the size of the result.
    parts = [_locate(number, path, folder, labels) for number, path in files.items()]
    features = np.empty((sum(part.windows for part in parts), FEATURES), dtype=np.float32)
    distributions = np.empty((len(features), len(EMOTIONS)))
    clips = np.empty(len(features), dtype=np.intp)
    start = 0
    for position, part in enumerate(parts, start=1):
        rows = slice(start, start + part.windows)
        features[rows], clips[rows], distributions[rows] = _read_subject(part)
        start = rows.stop
        log(
            f"subject {part.number} ({position} of {len(parts)}): {part.windows:,} windows, "
            f"{len(np.unique(clips[rows]))} clips"
        )
    subjects = np.repeat([str(part.number) for part in parts], [part.windows for part in parts])
    groups = np.char.add("clip ", clips.astype(np.str_))
    try:
        return Dataset(_schema(leave_out), subjects, features, distributions, groups=groups)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def parse_subjects(text: str) -> tuple[int, ...]:
    """Parse a list of subject numbers such as ``3,4,13``.

    Parameters
    ----------
    text
        Numbers separated by commas.

    Returns
    -------
    tuple of int
        The numbers without repetitions.

    Raises
    ------
    InputError
        If a part is not a number of 1 to 6 digits.

    Examples
    --------
    >>> parse_subjects("3, 4,13")
    (3, 4, 13)
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not re.fullmatch("[0-9]{1,6}", word):
            raise InputError(
                f"--leave-out must be numbers of subjects separated by commas, such as 3,4,13, got {word!r}"
            )
    return tuple(dict.fromkeys(map(int, words)))


def _schema(leave_out: Sequence[int]) -> Schema:
    return Schema(
        name="dmer",
        modalities=MODALITIES,
        emotions={emotion: f"label_{emotion}" for emotion in EMOTIONS},
        source="DMER: Yang et al., Scientific Data, 2024",
        licence="by signed agreement with its authors; not to be passed on",
        notes=(
            f"Left out: subjects {shorten(leave_out, most=80) or 'none'}. The label of a window is score / sum of "
            "scores over the ten PANAS items of its subject and clip: all windows of a clip share it. Tokens: an EEG "
            "channel (5 bands), each feature of skin and pulse, each of the three planes of LBP-TOP."
        ),
    )


def _subject_files(folder: Path) -> dict[int, Path]:
    """Return the path of ``n.mat`` by subject number, in the order of the numbers."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory (it must hold 1.mat, 2.mat ..., or Features/1.mat ...)")
    found: dict[int, Path] = {}
    for path in sorted([*folder.glob("*.mat"), *folder.glob("*/*.mat")]):
        if not re.fullmatch("[0-9]{1,6}", path.stem) or not path.is_file():
            continue
        number = int(path.stem)
        if number in found:
            raise InputError(f"{path}: subject {number} is also in {found[number]}; keep one of them")
        found[number] = path
    if not found:
        raise InputError(f"{folder}: no files of subjects found (it must hold 1.mat, 2.mat ..., or Features/1.mat ...)")
    return dict(sorted(found.items()))


class _SubjectParts(NamedTuple):
    """Files of a subject, and its number of windows."""

    number: int
    features: Path  # holds feas and vids
    scores: Path  # holds dis_label
    windows: int


def _locate(number: int, path: Path, folder: Path, labels: Path | None) -> _SubjectParts:
    """Find the files of a subject and count its windows, from the headers alone."""
    shapes = _contents(path)
    for name in (_FEATURES, _CLIPS):
        if name not in shapes:
            raise InputError(
                f"{path}: variable {name!r} is missing; the file holds {shorten(shapes) or 'nothing'} (truncated?)"
            )
    shape = shapes[_FEATURES]
    if len(shape) != 2 or shape[1] != FEATURES or not shape[0]:
        turned = "; it is transposed" if len(shape) == 2 and shape[0] == FEATURES else ""
        raise InputError(f"{path}: {_FEATURES} must be windows × {FEATURES}, got {_by(shape)}{turned}")
    if labels is None and _SCORES in shapes:
        return _SubjectParts(number, path, path, shape[0])
    where = Path(str(number)) / _LABEL_FILE
    if labels is not None:
        places = [local_path(labels) / where, *sorted(local_path(labels).glob(f"*/{where}"))]
    else:
        places = [path.parent / where, folder / where, *sorted(folder.glob(f"*/{where}"))]
    scores = next((place for place in places if place.is_file()), None)
    if scores is None:
        raise InputError(
            f"{places[0]}: is missing; the labels ({_SCORES}) of subject {number} must be in it"
            + ("" if labels is not None else f", in {path}, or in the folder given by --labels")
        )
    if _SCORES not in (names := _contents(scores)):
        raise InputError(f"{scores}: variable {_SCORES!r} is missing; the file holds {shorten(names) or 'nothing'}")
    return _SubjectParts(number, path, scores, shape[0])


def _read_subject(part: _SubjectParts) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """Return the features (W, 913), clips (W,) and emotion distributions (W, 10) of a subject."""
    names = (_FEATURES, _CLIPS) if part.scores != part.features else (_FEATURES, _CLIPS, _SCORES)
    variables = _load(part.features, names)
    features, path = _float32(variables[_FEATURES], part.features), part.features
    clips = _numbers(variables[_CLIPS], path, _CLIPS)
    if clips.size != part.windows or max(clips.shape) != clips.size:
        raise InputError(
            f"{path}: {_CLIPS} must name the clip of each of the {part.windows} windows, got {_by(clips.shape)}"
        )
    clips = clips.ravel()
    scores = variables[_SCORES] if _SCORES in variables else _load(part.scores, (_SCORES,))[_SCORES]
    scores = _numbers(scores, part.scores, _SCORES)
    if scores.ndim != 2 or scores.shape[1] != len(EMOTIONS):
        raise InputError(f"{part.scores}: {_SCORES} must be clips × {len(EMOTIONS)} emotions, got {_by(scores.shape)}")
    wrong = ~((clips >= 0) & (clips < len(scores)) & (clips == np.floor(clips)))
    if wrong.any():
        window = int(np.argmax(wrong))
        counted = " (clips are counted from 0)" if clips[window] == len(scores) else ""
        raise InputError(
            f"{path}: {_CLIPS} must be whole numbers from 0 to {len(scores) - 1}, the rows of {_SCORES}, got "
            f"{clips[window]:g} in window {window}{counted}"
        )
    whole = clips.astype(np.intp)
    used, which = np.unique(whole, return_inverse=True)  # clips without windows need no scores
    shares = np.empty((len(used), len(EMOTIONS)))
    for place, clip in enumerate(used):
        row = scores[clip].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            total = row.sum()
        if not 0 < total < np.inf or (row < 0).any():
            raise InputError(
                f"{part.scores}: {_SCORES}, clip {clip}: scores must be finite, ≥ 0 and not all 0, got "
                f"{shorten((f'{value:g}' for value in row), most=10)}"
            )
        shares[place] = row / total
    return features, whole, shares[which]


def _float32(values: Any, path: Path) -> NDArray[np.float32]:
    """Return features in single precision; raise `InputError` for infinite values and empty windows."""
    numbers = _numbers(values, path, _FEATURES)
    with np.errstate(over="ignore"):  # values beyond float32 become inf, which is reported below
        features: NDArray[np.float32] = numbers.astype(np.float32)
    unbounded = np.isinf(features)
    if unbounded.any():
        window, column = np.argwhere(unbounded)[0]
        raise InputError(
            f"{path}: {_FEATURES}, window {window}, column {column}: must be a finite number, or NaN where a signal "
            f"is missing, got {numbers[window, column]:g}"
        )
    empty = np.isnan(features).all(axis=1)
    if empty.any():
        raise InputError(
            f"{path}: {_FEATURES}, window {int(np.argmax(empty))}: a window must have at least one signal; "
            f"{int(empty.sum())} windows have only NaN; remove them from {_FEATURES} and {_CLIPS}"
        )
    return features


def _numbers(values: Any, path: Path, name: str) -> NDArray[Any]:
    """Return a variable as floating-point numbers; raise `InputError` for other types."""
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise InputError(f"{path}: {name} must be a matrix of real numbers, got {array.dtype}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _contents(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each variable of a MATLAB file, from its headers; check the types of those used here."""
    from scipy.io import whosmat  # imported late because it takes half a second, which `--help` should not wait for

    shapes = {}
    for name, shape, kind in _matlab(path, lambda: whosmat(str(path))):
        if name in (_FEATURES, _CLIPS, _SCORES) and not re.fullmatch("double|single|logical|u?int[0-9]+", kind):
            raise InputError(f"{path}: {name} must be a matrix of real numbers, got {kind}")
        shapes[name] = shape
    return shapes


def _load(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return some variables of a MATLAB file."""
    from scipy.io import loadmat

    variables: dict[str, Any] = _matlab(path, lambda: loadmat(str(path), variable_names=list(names)))
    return variables


def _matlab(path: Path, read: Callable[[], Any]) -> Any:
    """Return the result of `read`; raise `InputError` if the file cannot be read."""
    from scipy.io.matlab import MatReadError

    try:
        return read()
    except NotImplementedError:  # raised by SciPy for HDF5 files
        raise InputError(
            f"{path}: is a MATLAB v7.3 (HDF5) file; save it with save(FILE, '-v7', ...) in MATLAB"
        ) from None
    except (MatReadError, *_UNREADABLE) as error:
        raise InputError(f"{path}: cannot be read as a MATLAB file ({' '.join(str(error).split())})") from None


def _by(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as ``10 × 913``."""
    return " × ".join(map(str, shape)) or "one value"
