"""The JSON Schema of a cluster file, for editors: it knows shapes, and not references between parts of a file."""

from __future__ import annotations

from typing import Any

from corral.cluster.shape import ClusterShape
from corral.engine_kinds import ENGINES, SERVICE_ENGINES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def make_json_schema() -> dict[str, Any]:  # JSON
    """Make the schema; references between parts of a file are checked by `corral.cluster.load`."""
    schema = ClusterShape.model_json_schema(by_alias=True, mode="validation")
    for definition in schema["$defs"].values():
        definition["title"] = str(definition["title"]).removesuffix("Shape")
    schema["title"] = "Corral cluster file"
    schema["properties"]["engines"]["propertyNames"] = {"enum": list(ENGINES)}
    schema["$defs"]["ServiceShape"]["properties"]["engines"]["items"] = {"enum": list(SERVICE_ENGINES)}
    return {"$schema": DIALECT, **schema}
