"""Search space without what has no effect on data whose modalities all have one role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from helo.configuration import DEFAULTS, acting, roles_read
from helo.errors import InputError, shorten
from helo.names import ModalitySelection, TransportKind
from helo.search.planning.space import Choices, Space
from helo.search.planning.space_parameters import variant_parameters

_MAX_NAMES: Final = 12  # hyperparameters or variants in a sentence


def space_for_roles(space: Space, roles: Iterable[str]) -> Space:
    """Return the space that is searched on data whose modalities have certain roles.

    On data with both roles the space stays unchanged. On data with one role, `modalities` is fixed to that role and
    `transport` to ``"none"``. Hyperparameters of the transport are no longer searched. A variant is left out if it
    reads the other role, or if it is the same model as a variant before it. `Space.left_out` says so.

    Parameters
    ----------
    space : Space
        The requested space.
    roles : iterable of str
        Role of each modality of the data.

    Returns
    -------
    Space
        The space to search. It does not change if it is adapted to the same data again.

    Raises
    ------
    InputError
        If the space reads only the role that the data do not have, or if nothing remains to be compared.
    """
    present = sorted(set(roles))
    if len(present) > 1:
        return space
    role = str(present[0])
    settled = {"modalities": role, "transport": str(TransportKind.NONE)}
    effective = acting({**DEFAULTS, **settled})
    without_effect = {name for name in DEFAULTS if name not in effective} | set(settled)
    fixed = {name: value for name, value in space.fixed.items() if name not in without_effect} | settled
    if space.variants:
        neutral = {name: DEFAULTS[name] for name in without_effect} | settled
        return _without_variants(replace(space, fixed=fixed), space, role, neutral)
    _require_role(space, role)
    searched = {name: entry for name, entry in space.searched.items() if name not in without_effect}
    dropped = [name for name in space.searched if name in without_effect]
    if dropped and not searched and space.configurations > 1:
        raise InputError(
            f"space {space.name}: searches only {shorten(dropped, _MAX_NAMES)}, without effect on data whose "
            f"modalities are all {role}; search other hyperparameters"
        )
    reason = f"not searched, because without effect on such data: {shorten(dropped, _MAX_NAMES)}"
    return replace(
        space,
        searched=searched,
        fixed=fixed,
        first={name: value for name, value in space.first.items() if name in searched},
        left_out=space.left_out + ((reason,) if dropped else ()),
    )


def _require_role(space: Space, role: str) -> None:
    """Raise `InputError` if no configuration of a space reads modalities of a role."""
    entry = space.searched.get("modalities")
    if isinstance(entry, Choices):
        selections = entry.values
    else:
        selections = (space.fixed.get("modalities", DEFAULTS["modalities"]),)
    if role not in selections and ModalitySelection.BOTH not in selections:
        try:
            roles_read(selections[0], [role])
        except InputError as error:
            raise InputError(f"space {space.name}: {error}") from None


def _without_variants(adapted: Space, requested: Space, role: str, neutral: Mapping[str, Any]) -> Space:
    """Return `adapted` with the variants of the requested space that are different models on the data.

    `neutral` has the values of all hyperparameters without effect on the data.
    """
    kept: dict[str, dict[str, Any]] = {}
    other_role: list[str] = []
    same: dict[str, list[str]] = {}  # kept variant → variants that are the same model
    for variant, values in requested.variants.items():
        params = {**DEFAULTS, **requested.fixed, **values}
        if params["modalities"] not in (ModalitySelection.BOTH, role):
            other_role.append(variant)
            continue
        params |= neutral
        twin = next((name for name, model in kept.items() if acting(model) == acting(params)), None)
        if twin is None:
            kept[variant] = params
        else:
            same.setdefault(twin, []).append(variant)
    reasons = [f"{shorten(names, _MAX_NAMES)} (the same model as {twin})" for twin, names in same.items()]
    if other_role:
        reasons.append(f"{shorten(other_role, _MAX_NAMES)} (reads no {role} modality)")
    sentence = f"variants left out on such data: {'; '.join(reasons)}"
    if len(kept) < 2:
        raise InputError(
            f"space {requested.name}: variants must be at least two, so that they can be compared, but {len(kept)} "
            f"remains on data whose modalities are all {role}; {sentence}"
        )
    found = variant_parameters(kept)
    return replace(
        adapted,
        configurations=len(kept),
        searched=found.searched,
        fixed={key: value for key, value in {**adapted.fixed, **found.shared}.items() if key not in found.searched},
        variants=found.variants,
        left_out=requested.left_out + ((sentence,) if reasons else ()),
    )
