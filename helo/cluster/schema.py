"""Ray's own rules for files for ``ray up``.

The schema and the functions that ``ray up`` calls are private parts of Ray, read in Ray 2.60. There is no public way to
check a file without starting a cluster.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helo.cluster.faults import Faults, Place, mapping
from helo.errors import InputError

MISSING = "checking a file for `ray up` needs ray[default] and jsonschema; run pip install 'helo-search[cluster]'"

UNLISTED = {
    "aws": {"aws_credentials", "key_pair", "cloudwatch"},
    "gcp": {"tpuVmConfig"},
    "local": {"coordinator_address"},
}
"""Keys of ``provider`` that Ray reads and that are missing from its schema."""


@cache
def ray_schema() -> Mapping[str, Any]:
    """Return the JSON schema in the installed Ray, without importing Ray."""
    ray = find_spec("ray")
    path = Path(ray.origin).parent / "autoscaler" / "ray-schema.json" if ray and ray.origin else Path()
    if not path.is_file():
        raise InputError(MISSING)
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def check_schema(faults: Faults, content: Mapping[str, Any]) -> None:
    """Add every violation of the schema, and keys of ``provider`` that look misspelt."""
    try:
        from jsonschema import Draft7Validator
    except ImportError:
        raise InputError(MISSING) from None
    if mapping(content.get("provider")).get("type") == "local":  # Ray reads this key for local clusters, too
        content = {key: entry for key, entry in content.items() if key != "min_workers"}
    errors = Draft7Validator(ray_schema()).iter_errors(content)
    for error in sorted(
        errors, key=lambda error: (error.validator != "additionalProperties", len(error.absolute_path))
    ):
        place: Place = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            for key in error.instance:
                if key not in known:
                    faults.unknown(place, str(key), known)
        elif error.validator == "required":
            for key in error.validator_value:
                if key not in error.instance:
                    faults.missing(place, key, "is missing")
        elif error.validator == "type":
            hint = "; a cell's share of a GPU is --gpus-per-cell" if place[-2:] == ("resources", "GPU") else ""
            faults.add(place, f"must be of type {error.validator_value}, got {error.instance!r:.80}{hint}")
        elif error.validator == "minimum":
            faults.add(place, f"must be at least {error.validator_value}, got {error.instance!r:.80}")
        else:
            faults.add(place, error.message[:200])
    _check_provider(faults, content.get("provider"))


def _check_provider(faults: Faults, provider: Any) -> None:
    from difflib import get_close_matches

    if not isinstance(provider, Mapping):
        return
    kind = provider.get("type")
    if not isinstance(kind, str) or kind not in UNLISTED:
        faults.add(("provider", "type"), f"must be aws, gcp or local, got {kind!r:.80}")
    known = {*ray_schema()["properties"]["provider"]["properties"], *UNLISTED.get(str(kind), set())}
    for key in map(str, provider):
        if key not in known and get_close_matches(key, known, n=1):
            faults.unknown(("provider",), key, known)


def check_with_ray(faults: Faults, content: Mapping[str, Any]) -> None:
    """Run the checks of ``ray up`` itself: those that it runs before it calls a cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            validate_config(prepare_config(copy.deepcopy(dict(content))))
    except (Exception, SystemExit) as error:
        faults.add((), f"Ray refuses it: {' '.join(str(error or output.getvalue()).split())[:300]}")
