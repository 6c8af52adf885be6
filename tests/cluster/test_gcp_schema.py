"""The machines of the file for Google Cloud are instances that the API of Compute Engine accepts."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from helo._yaml import read_yaml

pytestmark = pytest.mark.optional

FILE = Path(__file__).parents[2] / "cluster" / "gcp.yaml"


@pytest.fixture(scope="module")
def instance() -> dict[str, Any]:
    """JSON schema of an instance, from the description of the API that Google's client brings."""
    pytest.importorskip("googleapiclient", reason="needs google-api-python-client")
    documents = files("googleapiclient") / "discovery_cache" / "documents"
    schemas = json.loads((documents / "compute.v1.json").read_text(encoding="utf-8"))["schemas"]
    converted = {name: _as_json_schema(schema) for name, schema in schemas.items()}
    return {"$ref": "#/schemas/Instance", "schemas": converted}


def _as_json_schema(entry: Any) -> Any:
    """Return a part of the description as JSON schema, which refuses unknown keys."""
    if not isinstance(entry, dict):
        return entry
    if "$ref" in entry:
        return {"$ref": f"#/schemas/{entry['$ref']}"}
    if entry.get("format") in ("int64", "uint64") and entry.get("type") == "string":
        return {"type": ["string", "integer"]}
    if "properties" in entry:
        properties = {name: _as_json_schema(value) for name, value in entry["properties"].items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    nested = {key: _as_json_schema(entry[key]) for key in ("items", "additionalProperties") if key in entry}
    return {**{key: entry[key] for key in ("type", "enum") if key in entry}, **nested}


def faults(schema: dict[str, Any], config: dict[str, Any]) -> list[str]:
    return [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(config)]


@pytest.mark.parametrize("name", read_yaml(FILE)["available_node_types"])
def test_a_machine_is_an_instance_of_compute_engine(instance: dict[str, Any], name: str) -> None:
    assert faults(instance, read_yaml(FILE)["available_node_types"][name]["node_config"]) == []


def test_all_keys_of_an_instance_are_known(instance: dict[str, Any]) -> None:
    config = read_yaml(FILE)["available_node_types"]["cpu"]["node_config"]
    given = {"id": "1", "description": "a worker", "metadata": {"items": [{"key": "k", "value": "v"}]}}
    assert faults(instance, {**config, **given}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machinType": "n2-standard-2"}, "'machinType' was unexpected"),
        ({"scheduling": {"provisioningModel": "SPOTTY"}}, "'SPOTTY' is not one of"),
        ({"disks": [{"initializeParams": {"diskSizeGb": "large", "sourceImag": "i"}}]}, "'sourceImag' was unexpected"),
        ({"networkInterfaces": {"subnetwork": "s"}}, "is not of type 'array'"),
    ],
)
def test_a_wrong_machine_is_no_instance(instance: dict[str, Any], change: dict[str, Any], message: str) -> None:
    config = read_yaml(FILE)["available_node_types"]["cpu"]["node_config"]
    assert any(message in fault for fault in faults(instance, {**config, **change}))
