"""Names of subjects: every row has one, and one person has one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helo.data.spelling import alike, as_compared, check_names
from helo.errors import InputError


def check_subject_names(names: Iterable[str]) -> None:
    """Raise `InputError` for names that may be one person, who would be in training and test data at once.

    Parameters
    ----------
    names
        Distinct names.

    Raises
    ------
    InputError
        If a name is empty or has letters that names must not have, or two names look alike.
    """
    names = list(names)
    check_names("subject", names)
    spelt: dict[str, str] = {}
    for name in names:
        plain = as_compared(name)
        if not plain:
            raise InputError("subjects: every row must have a name, got an empty one")
        if plain in spelt:
            raise InputError(f"subjects {alike(spelt[plain], name)}; give one person one name")
        spelt[plain] = name


def encode_subjects(subjects: NDArray[Any], rows: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the distinct subjects and the number of each row's subject.

    Parameters
    ----------
    subjects
        Subject of each row (N,), as numbers or text.
    rows
        Number N of rows.

    Returns
    -------
    names : ndarray
        Distinct subjects in order.
    codes : ndarray
        Number (N,) of the subject of each row.

    Raises
    ------
    InputError
        If there is another number of subjects than of rows, a row has no subject, or names are not valid (see
        `check_subject_names`).

    Examples
    --------
    >>> encode_subjects(np.array(["S2", "S1", "S2"]), 3)
    (array(['S1', 'S2'], dtype='<U2'), array([1, 0, 1]))
    """
    import pandas as pd

    if len(subjects) != rows:
        raise InputError(f"groups must have one entry for each of the {rows} rows of X, got {len(subjects)}")
    missing = np.asarray(pd.isna(subjects))
    if missing.any():
        raise InputError(f"groups must name the subject of each row, but row {int(missing.argmax())} has none")
    try:
        names, codes = np.unique(subjects, return_inverse=True)
    except TypeError:  # text and numbers have no common order
        raise InputError("groups must be text or numbers, not both") from None
    check_subject_names(map(str, names))
    return names, codes
