"""The composition root: settings become parts, parts become roles. ``adapters`` is the only importer of adapters."""

from datadistiller.wiring.access import check_access
from datadistiller.wiring.adapters import database_url, open_embedder, uses_broker
from datadistiller.wiring.api import ApiParts, api_parts
from datadistiller.wiring.core import Core, member, open_core
from datadistiller.wiring.roles import run_roles, run_stages

__all__ = [
    "ApiParts",
    "Core",
    "api_parts",
    "check_access",
    "database_url",
    "member",
    "open_core",
    "open_embedder",
    "run_roles",
    "run_stages",
    "uses_broker",
]
