"""``datadistiller models``: other models than the bundled one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from datadistiller.cli import output

models = typer.Typer(no_args_is_help=True, help="Other models than the bundled one.")


class Pooling(StrEnum):
    """How a vector is made of a text's tokens."""

    MEAN = "mean"
    CLS = "cls"


@models.command("convert")
def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the published model (model.safetensors).")],
    to: Annotated[
        Path | None, typer.Option("--output", help="New folder for the result; by default its name, here.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; by default that of its folder.")] = None,
    pooling: Annotated[Pooling | None, typer.Option(help="Only if the folder does not say it.")] = None,
    query_prefix: Annotated[str | None, typer.Option(help="Put before every question, as in 'query: '.")] = None,
    passage_prefix: Annotated[str | None, typer.Option(help="Put before every passage, as in 'passage: '.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Window, if another than the folder says.")] = None,
) -> None:
    """Convert a model of the BERT family for both engines: for vectors, or for scoring passages anew."""
    # Imported late: 'datadistiller --help' shall not wait for it.
    from datadistiller.embedding import conversion, published

    name = name or path.resolve().name
    options = published.Options(pooling.value if pooling else None, query_prefix, passage_prefix, max_tokens)
    target = to or Path(f"{name}-int8")
    card = conversion.convert(path, target, name, options)
    use = "RERANKING" if card.scores else "EMBEDDING"
    show = output.console().print
    show(f"{card.name}: {card.pooling}, {card.dim} dimensions, {card.window} tokens", markup=False, highlight=False)
    if not card.scores:
        prefixes = f"before passages {card.prefix!r}, before questions {card.question_prefix!r}"
        show(f"fingerprint {card.fingerprint}; {prefixes}", markup=False, highlight=False, soft_wrap=True)
    if not card.check:
        show("ONNX Runtime will compute it: the native engine is not compiled here.", markup=False, soft_wrap=True)
    show(f"Use it with DATADISTILLER_{use}_MODEL={target}", markup=False, highlight=False, soft_wrap=True)
