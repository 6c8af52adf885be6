"""Ray's own rules for the files of ``ray up``."""

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

MISSING = "checking a file of `ray up` needs more of Ray; run pip install 'helo-search[cluster]'"

UNLISTED = {
    "aws": {"aws_credentials", "key_pair", "cloudwatch"},
    "gcp": {"tpuVmConfig"},
    "local": {"coordinator_address"},
}
"""Keys of ``provider`` that Ray reads and its schema does not name."""


@cache
def ray_schema() -> Mapping[str, Any]:
    """The JSON schema that Ray comes with, read without importing Ray."""
    ray = find_spec("ray")
    path = Path(ray.origin).parent / "autoscaler" / "ray-schema.json" if ray and ray.origin else Path()
    if not path.is_file():
        raise InputError(MISSING)
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def check_schema(faults: Faults, content: Mapping[str, Any]) -> None:
    """Every breach of the schema, and keys of ``provider`` that look misspelt."""
    try:
        from jsonschema import Draft7Validator
    except ImportError:
        raise InputError(MISSING) from None
    if mapping(content.get("provider")).get("type") == "local":  # where Ray takes this one key more
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
    """Ray's last word, for what is left: its defaults filled in and its checks run, as ``ray up`` does before it calls
    any cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(copy.deepcopy(dict(content))))
    except (Exception, SystemExit) as error:
        faults.add((), f"Ray refuses it: {' '.join(f'{error or said.getvalue()}'.split())[:300]}")
