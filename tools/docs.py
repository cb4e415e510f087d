"""``python -m tools.docs``: rewrites the tables of the guide that come from the code (``--check`` only compares).

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import formats, limits, registry
from datadistiller.pipeline import PIPELINE, topics
from datadistiller.runtime import telemetry
from datadistiller.settings import Settings

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
PARSER_SETTINGS = (
    "max_upload_bytes", "max_pages", "max_text_chars", "parse_seconds", "ocr_seconds",
    "page_seconds", "parser_memory_mb", "max_attachments", "max_attachment_bytes", "max_nesting",
)  # fmt: skip
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def settings() -> Iterator[str]:
    """Every setting."""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = "cores, at most 4" if field.default_factory else str(field.default)
        yield f"| `DATADISTILLER_{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |"


def error_codes() -> Iterator[str]:
    """Every error a person can meet, by code."""
    yield "| code | what it means | what to do |"
    yield "|---|---|---|"
    for code, kinds in sorted(by_code().items()):
        kind = kinds[0]
        yield f"| `{code}` | {(kind.__doc__ or '').strip().splitlines()[0]} | {kind.default_hint} |"


def by_code() -> dict[str, list[type[errors.DataDistillerError]]]:
    """The classes that define each code themselves."""
    found: dict[str, list[type[errors.DataDistillerError]]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.DataDistillerError) and "code" in vars(kind):
            found.setdefault(kind.code, []).append(kind)
    return found


def stages() -> Iterator[str]:
    """The pipeline."""
    yield "| stage | topic | group | role | batch | lease | tries | what it does |"
    yield "|---|---|---|---|---|---|---|---|"
    for spec in PIPELINE:
        yield (
            f"| {spec.name} | `{spec.topic}` | `{spec.group}` | `{spec.role}` | {spec.batch} | {spec.seconds:.0f} s "
            f"| {spec.tries} | {spec.help} |"
        )


def on_kafka() -> Iterator[str]:
    """The topics."""
    groups = {spec.topic: spec.group for spec in PIPELINE}
    yield "| topic | group | partitions | kept |"
    yield "|---|---|---|---|"
    for topic in topics():
        group = f"`{groups[topic.name]}`" if topic.name in groups else ""
        yield f"| `{topic.name}` | {group} | {topic.partitions} | {topic.retention_hours / 24:.0f} d |"


def readable() -> Iterator[str]:
    """The formats."""
    yield "| format | extensions | its pages are |"
    yield "|---|---|---|"
    for form in formats.FORMATS:
        yield f"| {form.name} | {' '.join(form.extensions)} | {form.pages + 's' if form.pages else 'one'} |"


def extracted() -> Iterator[str]:
    """What is read of each format."""
    yield "| format | what is extracted | what is not | comes in | if that fails |"
    yield "|---|---|---|---|---|"
    for form in formats.FORMATS:
        others = range(1, registry.readers(form.media_type))
        names = ", ".join(registry.parser_of(form.media_type, number).name for number in others)
        yield f"| {form.name} | {form.read} | {form.left_out or 'nothing'} | {form.inside or 'itself'} | {names} |"


def parser_limits() -> Iterator[str]:
    """What a document may cost: what can be set, then what parsers keep by themselves."""
    yield "| limit | value | what it is |"
    yield "|---|---|---|"
    for name in PARSER_SETTINGS:
        field = Settings.model_fields[name]
        yield f"| `DATADISTILLER_{name.upper()}` | {field.default:,} | {field.description} |"
    source = Path(limits.__file__).read_text(encoding="utf-8")
    for about, name in re.findall(r"^#: (.*)\n([A-Z_]+) =", source, re.MULTILINE):
        yield f"| `{name}` | {getattr(limits, name):,} | {about} |"


def counted() -> Iterator[str]:
    """The metrics that processes count."""
    yield "| metric | labels | meaning |"
    yield "|---|---|---|"
    for metric in vars(telemetry.Metrics()).values():
        for family in metric.describe() if hasattr(metric, "describe") else ():
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            yield f"| `{family.name}` | {labels} | {family.documentation} |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "errors": error_codes,
    "stages": stages,
    "topics": on_kafka,
    "formats": readable,
    "extracted": extracted,
    "limits": parser_limits,
    "metrics": counted,
}


def rendered(page: str) -> str:
    """The page with its tables as the code has them."""
    return TABLE.sub(lambda found: found[1] + "\n".join(TABLES[found[2]]()) + "\n" + found[3], page)


def main() -> int:
    """0 if the pages were right already, or have been rewritten."""
    stale = 0
    for path in sorted(GUIDE.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if rendered(page) != page:
            stale = 1
            print(f"{'stale' if '--check' in sys.argv else 'rewritten'}: {path.name}")
            if "--check" not in sys.argv:
                path.write_text(rendered(page), encoding="utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
