"""Windows of physiological and behavioural features, with or without emotion distributions, in memory."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from helo.data.schema import Schema
from helo.data.spelling import check_names
from helo.data.subjects import check_subject_names
from helo.data.summary import Summary, summary_html, summary_text
from helo.errors import InputError, shorten

LABEL_SUM_TOLERANCE = 1e-3
"""Maximum absolute difference between 1 and the sum of a label row. Accepted rows are divided by their sum."""

EXACT_SUM = 1e-12
"""Maximum absolute difference between 1 and the sum of a label row that is left unchanged."""

BLOCK_VALUES = 2**22
"""Values per block of rows. Temporary arrays of a block then need tens of megabytes."""


def row_blocks(rows: int, columns: int, values: int = BLOCK_VALUES) -> Iterator[slice]:
    """Yield consecutive slices of rows that hold about `values` values each.

    >>> [block.stop for block in row_blocks(5, BLOCK_VALUES // 2)]
    [2, 4, 5]
    """
    size = max(1, values // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


@dataclass(frozen=True)
class Missing:
    """Counts of missing signals. It is false where no signal is missing.

    Attributes
    ----------
    windows
        Number of windows that lack a whole modality, by modality. Modalities without such windows are left out.
    subjects
        Subjects that have no window with a modality, by modality. Modalities without such subjects are left out.
    features
        Number of missing values in windows that have other values of the same modality.
    total
        Number of all windows.
    """

    windows: dict[str, int]
    subjects: dict[str, tuple[str, ...]]
    features: int
    total: int

    def __bool__(self) -> bool:
        return bool(self.windows or self.features)

    def __str__(self) -> str:
        parts = []
        for name, count in self.windows.items():
            whole = f" (all of {shorten(self.subjects[name])})" if name in self.subjects else ""
            parts.append(f"{name} in {count:,} of {self.total:,} windows{whole}")
        if self.features:
            parts.append(f"{self.features:,} single features")
        return ", ".join(parts) or "nothing"


@dataclass(frozen=True, repr=False)
class Signals:
    """Windows of features without labels: the input of a prediction.

    Attributes
    ----------
    schema
        Meaning of the feature columns.
    subjects
        Subject of each window, strings of shape (N,).
    features
        Features of each window, float32 of shape (N, F), with columns as in `Schema.features`. NaN marks a missing
        signal. A window needs at least one value.
    groups
        Clip or condition of each window, strings of shape (N,), or None.

    Raises
    ------
    InputError
        If shapes disagree, there are no windows, a feature is infinite, a window has no signal, a subject has no name,
        a name has letters that `helo.data.spelling` refuses, or two subjects' names look alike.
    """

    schema: Schema
    subjects: NDArray[np.str_]
    features: NDArray[np.float32]
    groups: NDArray[np.str_] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        expected: dict[str, tuple[int, ...]] = {"features": (len(self), len(self.schema.features))}
        if self.groups is not None:
            expected["groups"] = (len(self),)
        self._check_shapes(expected)
        if not len(self):
            raise InputError("windows: there must be at least one, got none")
        self._check_features()
        check_subject_names(self.subject_names)
        if self.groups is not None:
            check_names("group", map(str, np.unique(self.groups)))

    def _check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"{name}: shape must be {shape}, got {getattr(self, name).shape}")

    def _check_features(self) -> None:
        infinite, empty = 0, 0
        first_infinite: tuple[int, int] = (0, 0)
        first_empty = 0
        for block in self._blocks():
            values = self.features[block]
            if (bad := np.isinf(values)).any():
                row, column = np.argwhere(bad)[0]
                first_infinite = first_infinite if infinite else (block.start + int(row), int(column))
                infinite += int(bad.sum())
            known = ~np.isnan(values)
            if (nothing := ~known.any(axis=1)).any():
                first_empty = first_empty if empty else block.start + int(np.argmax(nothing))
                empty += int(nothing.sum())
        if infinite:
            row, column = first_infinite
            raise InputError(
                f"features must be finite numbers, or NaN where a signal is missing: {infinite} are not, the "
                f"first in row {row} of column {self.schema.features[column]!r} (subject {self.subjects[row]}: "
                f"{self.features[row, column]})"
            )
        if empty:
            raise InputError(
                f"features: a window must have at least one signal; {empty} rows have only NaN or empty "
                f"cells, the first is row {first_empty} (subject {self.subjects[first_empty]}); remove them"
            )

    def _blocks(self) -> Iterator[slice]:
        return row_blocks(*self.features.shape)

    def __repr__(self) -> str:
        return summary_text(self._summary())

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        return summary_html(self._summary())

    def _summary(self) -> Summary:
        return Summary(
            kind=type(self).__name__,
            schema=self.schema,
            subjects=len(self.subject_names),
            windows=len(self),
            missing=self.missing.windows,
            emotions=tuple(getattr(self, "emotions", ())),
        )

    def __len__(self) -> int:
        return len(self.subjects)

    @cached_property
    def subject_names(self) -> tuple[str, ...]:
        """Names of all subjects in natural order (S2 before S10)."""
        return tuple(sorted(map(str, np.unique(self.subjects)), key=natural_key))

    @cached_property
    def missing(self) -> Missing:
        """Counts of missing signals."""
        modalities = self.schema.modalities
        without = np.zeros((len(self), len(modalities)), dtype=bool)  # windows without the whole modality
        scattered = 0
        for block in self._blocks():
            gaps = np.isnan(self.features[block])
            if not gaps.any():
                continue
            for number, modality in enumerate(modalities):
                own = gaps[:, self.schema.slices[modality.name]]
                whole = own.all(axis=1)
                without[block, number] = whole
                scattered += int(own[~whole].sum())
        absent: dict[str, int] = {}
        subjects: dict[str, tuple[str, ...]] = {}
        for number, modality in enumerate(modalities):
            if without[:, number].any():
                absent[modality.name] = int(without[:, number].sum())
                present = set(self.subjects[~without[:, number]])
                subjects[modality.name] = tuple(name for name in self.subject_names if name not in present)
        return Missing(absent, {name: names for name, names in subjects.items() if names}, scattered, len(self))

    @cached_property
    def averaged_groups(self) -> NDArray[np.str_] | None:
        """Groups within which predictions can be averaged, of shape (N,).

        None without groups, and if each group of each subject is a single window: an average would change nothing.
        """
        if self.groups is None:
            return None
        seen: set[tuple[str, str]] = set()
        for pair in zip(self.subjects, self.groups, strict=True):
            if pair in seen:
                return self.groups
            seen.add(pair)
        return None

    def rows(self, subjects: tuple[str, ...]) -> NDArray[np.intp]:
        """Return the row numbers of the windows of `subjects`, in the order of the data."""
        return np.flatnonzero(np.isin(self.subjects, subjects))


@dataclass(frozen=True, repr=False)
class Dataset(Signals):
    """Windows of features with emotion distributions: the input of a search.

    Parameters
    ----------
    schema
        Meaning of the columns.
    subjects
        Subject of each window, strings of shape (N,).
    features
        Features of each window, float32 of shape (N, F), with columns as in `Schema.features`. NaN marks a missing
        signal. A window needs at least one value.
    labels
        Emotion distribution of each window, float64 of shape (N, E), with columns as in `Schema.emotions`. Values are
        at least 0 and the sum of a row is 1 within `LABEL_SUM_TOLERANCE`. Rows are stored divided by their sum.
    groups
        Clip or condition of each window, strings of shape (N,), or None. Keyword only.
    best_possible
        Best possible prediction for each window of simulated data, float64 of shape (N, E), or None. Keyword only.

    Raises
    ------
    InputError
        If the features are not valid (see `Signals`), a modality is missing in all windows, a label row is not a
        distribution, or there are fewer than two subjects.
    """

    labels: NDArray[np.float64]
    best_possible: NDArray[np.float64] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = len(self), len(self.emotions)
        self._check_shapes({"labels": shape} | ({} if self.best_possible is None else {"best_possible": shape}))
        for modality in self.schema.modalities:
            if modality.name in self.missing.windows and self.missing.windows[modality.name] == len(self):
                raise InputError(f"modality {modality.name!r} is missing in all windows; leave it out of the schema")
        object.__setattr__(self, "labels", self._distributions(self.labels, "labels"))
        if self.best_possible is not None:
            object.__setattr__(self, "best_possible", self._distributions(self.best_possible, "best_possible"))
        if len(self.subject_names) < 2:
            raise InputError(
                f"{self.schema.name}: leave-one-subject-out needs at least 2 subjects, got 1 ({self.subjects[0]})"
            )

    def _distributions(self, values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
        """Return rows divided by their sums; raise `InputError` for a row that is not a distribution."""
        problems = {
            "must be finite numbers": ~np.isfinite(values).all(axis=1),
            "must not be negative": (values < 0).any(axis=1),
            "must sum to 1, not to 0": values.sum(axis=1) == 0,
            "must sum to 1 (divide each row by its sum)": np.abs(values.sum(axis=1) - 1) > LABEL_SUM_TOLERANCE,
        }
        for rule, rows in problems.items():
            if rows.any():
                row = int(np.argmax(rows))
                shown = ", ".join(f"{value:g}" for value in values[row, :4])
                raise InputError(
                    f"{what} {rule}: {int(rows.sum())} rows do not comply, the first is row {row} "
                    f"(subject {self.subjects[row]}: {shown}{', …' if values.shape[1] > 4 else ''})"
                )
        # A row divided by its sum may still sum to 1 ± 1e-16: dividing again, as when a dataset is written
        # and read, would change its last bits and with them the digest.
        total = values.sum(axis=1, keepdims=True)
        normalised: NDArray[np.float64] = np.where(np.abs(total - 1) <= EXACT_SUM, values, values / total)
        return normalised

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions in the order of the label columns."""
        return tuple(self.schema.emotions)

    @cached_property
    def digest(self) -> str:
        """Hash of everything that results depend on: schema, subjects, groups, features and labels."""
        state = hashlib.sha256(json.dumps(self.schema.as_dict(), sort_keys=True).encode())
        state.update("\0".join(map(str, self.subjects)).encode())
        if self.groups is not None:
            state.update("\0".join(map(str, self.groups)).encode())
        for block in self._blocks():
            state.update(np.ascontiguousarray(self.features[block], dtype="<f4").data)
        state.update(np.ascontiguousarray(self.labels, dtype="<f8").data)
        return state.hexdigest()[:16]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that compares runs of digits as numbers.

    >>> sorted(["S10", "S2", "S1"], key=natural_key)
    ['S1', 'S2', 'S10']
    """
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for character in name + "\0":
        if character.isdecimal():
            digits += character
            continue
        if digits:
            number = "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0")
            parts.append((0, len(number), f"{number} {digits}"))  # not as an int: it may have thousands of digits
            digits = ""
        if character != "\0":
            parts.append((1, 0, character))
    return tuple(parts)
