"""The ``datadistiller`` command: registers the subcommands, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from datadistiller import errors
from datadistiller.cli import ask, client, documents, evaluate, ingest, keys, models, operations, serve, up, verify

EXIT_ERROR = 1
EXIT_NO_SERVER = 2

app = typer.Typer(
    name="datadistiller",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Drop documents in, ask questions, get answers with exact citations.",
)
app.command("up")(up.command)
app.command("serve")(serve.command)
app.command("ingest")(ingest.command)
app.command("ask")(ask.command)
app.command("jobs")(documents.jobs)
app.command("status")(documents.status)
app.command("cancel")(documents.cancel)
app.command("retry")(documents.retry)
app.command("delete")(documents.delete)
app.command("doctor")(operations.doctor)
app.add_typer(operations.dead_letters, name="dead-letters")
app.add_typer(keys.keys, name="keys")
app.add_typer(models.models, name="models")
app.command("rebuild-index")(operations.rebuild_index)
app.command("verify")(verify.command)
app.command("evaluate")(evaluate.command)
app.command("settings")(operations.settings)
app.command("version")(operations.version)


def main() -> None:
    """Runs the command line; errors of ours are one sentence and a hint on standard error."""
    try:
        app()
    except errors.DataDistillerError as error:
        typer.echo(f"Error: {error.message} {error.hint}", err=True)
        sys.exit(EXIT_NO_SERVER if isinstance(error, client.ServerGone) else EXIT_ERROR)
