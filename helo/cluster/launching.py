"""Choice of the type of the next machine by Ray's autoscaler: types that the cloud has just refused come last.

By itself the autoscaler of both versions asks for the same type again and again, although another one would do
(ray#20774). Version 1 calls the function that the variable ``RAY_AUTOSCALER_UTILIZATION_SCORER`` names. Version 2 has
no such variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def score_node_type(
    node_resources: Mapping[str, float],
    resources: Sequence[Mapping[str, float]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[float, ...] | None:
    """Return the score of a type of machines for waiting cells; Ray starts a machine of the type with the highest one.

    Ray forgets a refusal after half an hour.

    Parameters
    ----------
    node_resources : mapping
        Resource → amount on a machine of the type.
    resources : sequence of mapping
        Resources of each waiting cell.
    node_type : str
        Name of the type.
    node_availability_summary : ray.autoscaler._private.node_provider_availability_tracker.NodeAvailabilitySummary
        Which types the cloud has refused or granted, and when.

    Returns
    -------
    tuple of float or None
        First whether the type was granted when it was last asked for, then how long ago it was refused, then Ray's own
        score. None if no cell fits on the type.
    """
    from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

    score = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    last = node_availability_summary.node_availabilities.get(node_type)
    is_refused = last is not None and not last.is_available
    return (not is_refused, -last.last_checked_timestamp if is_refused else 0.0, *score)
