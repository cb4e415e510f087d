"""``datadistiller keys``: who may call the server beyond its own machine."""

from __future__ import annotations

from typing import Annotated

import typer

from datadistiller.cli import client, output

keys = typer.Typer(no_args_is_help=True, help="API keys: who may call the server from other machines.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Make a key and print it, this once. Programs send it as 'Authorization: Bearer KEY'."""
    with client.Client(url) as server:
        made = server.post("/api/v2/keys", {"name": name})
    output.console().print(made["key"], markup=False, soft_wrap=True)
    typer.echo(f"Key {made['key_id']}. Keep it: it is stored nowhere and cannot be shown again.", err=True)


@keys.command("list")
def list_keys(as_json: client.AsJson = False, url: client.Url = client.DEFAULT_URL) -> None:
    """List keys, newest first: how they begin, and when they were used."""
    with client.Client(url) as server:
        found = server.get("/api/v2/keys")
    if as_json:
        output.as_json(found)
        return
    shown = output.table("id", "name", "begins", "made", "last used", "revoked")
    for key in found["keys"]:
        times = ((key[when] or "")[:16] for when in ("created_at", "last_used_at", "revoked_at"))
        shown.add_row(str(key["key_id"]), output.plain(key["name"]), key["prefix"], *times)
    output.console().print(shown if found["keys"] else "There are no keys.")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="The number of the key.")],
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Refuse a key from now on; every node does within seconds."""
    with client.Client(url) as server:
        server.delete(f"/api/v2/keys/{key_id}")
    output.console().print(f"Key {key_id} is revoked.")
