"""Meaning of the columns of a dataset: modalities and their tokens, emotions and their labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from helo.data.spelling import check_names
from helo.errors import InputError, shorten
from helo.names import Column, Role, enum_values


@dataclass(frozen=True)
class Modality:
    """One kind of signal and its feature columns.

    The columns form equal groups of consecutive columns, and each group is one token. An EEG of 18 channels with 5
    band powers each has 90 columns, channel by channel, and 18 tokens.

    Parameters
    ----------
    name
        Name of the modality.
    role
        ``"physiological"`` or ``"behavioural"``.
    columns
        Names of the feature columns, token by token.
    tokens
        Number of tokens. It divides the number of columns.
    main
        Whether the modality is the query of the fusion. Only a physiological modality can be.

    Raises
    ------
    InputError
        If the role is unknown, there are no columns, `tokens` does not divide their number, or a behavioural modality
        is the main one.

    >>> Modality("eda", "physiological", ("level", "slope", "peaks", "height"), tokens=2).token_features
    2
    """

    name: str
    role: str
    columns: tuple[str, ...]
    tokens: int
    main: bool = False

    def __post_init__(self) -> None:
        if self.role not in enum_values(Role):
            raise InputError(
                f"modality {self.name!r}: role must be one of {', '.join(enum_values(Role))}, got {self.role!r}"
            )
        if not self.columns:
            raise InputError(f"modality {self.name!r}: needs at least one column")
        if self.tokens < 1 or len(self.columns) % self.tokens:
            raise InputError(
                f"modality {self.name!r}: tokens must divide its {len(self.columns)} columns, got {self.tokens}; "
                f"{' and '.join(map(str, _nearest_divisors(len(self.columns), self.tokens)))} would"
            )
        if self.main and self.role != Role.PHYSIOLOGICAL:
            raise InputError(f"modality {self.name!r}: only a physiological modality can be main")

    @property
    def token_features(self) -> int:
        """Number of features per token."""
        return len(self.columns) // self.tokens


@dataclass(frozen=True)
class Schema:
    """Meaning of the columns of a dataset: the content of ``dataset.yaml``.

    Parameters
    ----------
    name
        Name of the dataset.
    modalities
        Modalities in the order of the feature columns, at least one. They may all have the same role. If there are
        physiological modalities, exactly one of them is the main one.
    emotions
        Label column of each emotion. There are at least two emotions.
    source, licence, notes
        Free text about the origin of the data.
    best_possible
        Column of the best possible prediction of each emotion. Only simulated data have such columns.
    table_columns
        Column of the dataset → column of the table that the dataset was made from, where they differ. A prediction
        takes either.

    Raises
    ------
    InputError
        If names or columns are used twice, a name has letters that `helo.data.spelling` refuses, there is no modality,
        the main modality is missing or not the only one, or ``subject`` or ``group`` is a feature or label column.
    """

    name: str
    modalities: tuple[Modality, ...]
    emotions: dict[str, str]
    source: str = ""
    licence: str = ""
    notes: str = ""
    best_possible: dict[str, str] = field(default_factory=dict)
    table_columns: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) < len(names):
            raise InputError(f"modalities must have different names, got {', '.join(names)}")
        if not self.modalities:
            raise InputError("modalities: at least one is needed")
        mains = [modality.name for modality in self.modalities if modality.main]
        if len(mains) != (1 if self.physiological else 0):
            raise InputError(
                f"modalities: exactly one physiological modality must have 'main: true', got {shorten(mains) or 'none'}"
            )
        if len(self.emotions) < 2:
            raise InputError(f"emotions: at least two are needed for a distribution, got {len(self.emotions)}")
        if self.best_possible and list(self.best_possible) != list(self.emotions):
            raise InputError("best_possible: must name the same emotions as 'emotions', in the same order")
        check_names("dataset", [self.name])
        check_names("modality", names)
        check_names("emotion", self.emotions)
        columns = [*self.features, *self.emotions.values(), *self.best_possible.values()]
        taken = [column for column in columns if column in (Column.SUBJECT, Column.GROUP)]
        if taken:
            raise InputError(f"columns: {shorten(map(repr, taken))} must not be a feature, label or best_possible")
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise InputError(f"columns: each must be used once, but {shorten(twice)} is used again")

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of all feature columns, modality by modality: the order of `Dataset.features`."""
        return tuple(column for modality in self.modalities for column in modality.columns)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Columns of `Dataset.features` that belong to each modality."""
        positions: dict[str, slice] = {}
        start = 0
        for modality in self.modalities:
            positions[modality.name] = slice(start, start + len(modality.columns))
            start += len(modality.columns)
        return positions

    @property
    def main(self) -> Modality | None:
        """Main physiological modality, which is the query of the fusion; None if all modalities are behavioural."""
        return next((modality for modality in self.modalities if modality.main), None)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the modalities, in the order of `Role`: both, or the only one."""
        present = {modality.role for modality in self.modalities}
        return tuple(role for role in enum_values(Role) if role in present)

    def with_role(self, role: str) -> tuple[Modality, ...]:
        """Return the modalities of one role, the main one first."""
        chosen = [modality for modality in self.modalities if modality.role == role]
        return tuple(sorted(chosen, key=lambda modality: not modality.main))

    @property
    def physiological(self) -> tuple[Modality, ...]:
        """Physiological modalities, the main one first."""
        return self.with_role(Role.PHYSIOLOGICAL)

    @property
    def behavioural(self) -> tuple[Modality, ...]:
        """Behavioural modalities."""
        return self.with_role(Role.BEHAVIOURAL)

    def as_dict(self) -> dict[str, Any]:
        """Return the schema as plain values, laid out as in ``dataset.yaml``."""
        modalities = {}
        for modality in self.modalities:
            entry = asdict(modality)
            del entry["name"]
            entry["role"] = str(modality.role)  # YAML writes plain strings only
            entry["columns"] = list(modality.columns)
            if not modality.main:
                del entry["main"]
            modalities[modality.name] = entry
        plain: dict[str, Any] = {"name": self.name, "modalities": modalities, "emotions": dict(self.emotions)}
        for key in ("source", "licence", "notes", "best_possible", "table_columns"):
            if getattr(self, key):
                plain[key] = getattr(self, key)
        return plain


def _nearest_divisors(number: int, wrong: int) -> list[int]:
    """Return the divisors of a number on both sides of one that is none."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    below = [divisor for divisor in divisors if divisor < wrong][-1:]
    return below + [divisor for divisor in divisors if divisor > wrong][:1]
