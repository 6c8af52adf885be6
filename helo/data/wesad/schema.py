"""Modalities and schema of a WESAD dataset."""

from __future__ import annotations

from typing import Final

from helo.data.schema import Modality, Schema
from helo.data.wesad.items import ITEM_SETS
from helo.errors import InputError, did_you_mean
from helo.names import Role

_EDA: Final = "EDA_Mean EDA_Std EDA_Max SCR_Count SCR_Amplitude_Mean"
_ACC: Final = (
    "X_Mean X_Std X_Range Y_Mean Y_Std Y_Range Z_Mean Z_Std Z_Range Mag_Mean Mag_Std Mag_Max Jerk_Mean "
    "Jerk_Std PeakFreq Energy_0p5_5Hz ZeroMotionFrac"
)


def _named(prefix: str, names: str) -> tuple[str, ...]:
    """Return names with a prefix."""
    return tuple(prefix + name for name in names.split())


COLUMNS: Final = {
    "ecg": (*_named("ECG_", "Mean Std Skewness Kurtosis"), "Heart_Rate", "SDNN", "RMSSD"),
    "emg": _named("EMG_", "Mean Std Max Skewness Kurtosis"),
    "chest_eda": _named("Chest_", _EDA),
    "wrist_eda": _named("Wrist_", _EDA),
    "bvp": (*_named("BVP_", "Mean Std Amplitude"), "Pulse_Rate"),
    "temp": _named("Wrist_TEMP_", "Mean Std Slope"),
    "acc": _named("ACC_", _ACC),
    "resp": _named("RESP_", "Mean Std Rate Amplitude"),
    "chest_temp": _named("Chest_TEMP_", "Mean Std Slope"),
    "chest_acc": _named("Chest_ACC_", _ACC),
}
"""Feature columns by modality. ``windows.csv`` contains the first seven modalities, the download all ten."""

WRIST: Final = ("wrist_eda", "bvp", "temp", "acc")
CHEST: Final = ("ecg", "emg", "chest_eda", "resp", "chest_temp", "chest_acc")
DEVICES: Final = {
    "wrist": ("bvp", WRIST),
    "chest": ("ecg", CHEST),
    "both": ("ecg", tuple(name for name in COLUMNS if name in WRIST + CHEST)),
}
"""Main modality and all modalities of each choice of devices, in the order of the columns."""

_MOTION: Final = ("acc", "chest_acc")


def modalities(names: tuple[str, ...], main: str) -> tuple[Modality, ...]:
    """Return modalities by name, in which each feature is a token of its own.

    Parameters
    ----------
    names
        Keys of `COLUMNS`.
    main
        Name of the main modality.

    Returns
    -------
    tuple of Modality
        The modalities in the order of `names`.
    """
    return tuple(
        Modality(
            name,
            Role.BEHAVIOURAL if name in _MOTION else Role.PHYSIOLOGICAL,
            COLUMNS[name],
            len(COLUMNS[name]),
            main=name == main,
        )
        for name in names
    )


MODALITIES: Final = modalities(tuple(COLUMNS)[:7], "ecg")
"""Modalities of ``windows.csv``, with 46 feature columns in total."""


def require_device(device: str) -> None:
    """Raise `InputError` unless `device` is one of `DEVICES`."""
    if device not in DEVICES:
        raise InputError(f"device: must be one of {', '.join(DEVICES)}, got {device!r}{did_you_mean(device, DEVICES)}")


def make_schema(
    items: tuple[str, ...], of: tuple[Modality, ...] = MODALITIES, suffix: str = "", more: str = ""
) -> Schema:
    """Return the schema of a WESAD dataset.

    Parameters
    ----------
    items
        PANAS items that are the emotions.
    of
        Modalities.
    suffix
        Suffix of the name.
    more
        Text at the end of the notes.

    Returns
    -------
    Schema
        The schema.
    """
    names = [name for name, known in ITEM_SETS.items() if known == items]
    return Schema(
        name=f"wesad-{names[0] if names else f'custom{len(items)}'}{suffix}",
        modalities=of,
        emotions={item: f"label_{item}" for item in items},
        source="WESAD: Schmidt et al., ICMI 2018, doi:10.1145/3242969.3242985",
        licence="for research use only",
        notes=(
            f"Items: {', '.join(items)}. The label of a window is answer / sum of answers over these PANAS "
            "items (1 to 5) in the report of its subject on its condition: all windows of a condition share "
            f"it. An unanswered item counts as 1. The mean amplitude of no skin conductance response is 0.{more}"
        ),
    )
