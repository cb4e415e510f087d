"""Throughput from file to searchable, beside the bare model on the same texts and cores, and where the CPU goes."""

from __future__ import annotations

import io
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import psycopg
import pypdfium2

from benchmarks.harness import DATA, Server, large_texts, percentile, running, small_documents
from benchmarks.rows import Row

SMALL = 2000
VOLUMES = 40


def chunk_texts(server: Server) -> list[str]:
    """What the system embedded: context and text of every chunk, longest first within pieces, as stored."""
    with psycopg.connect(server.database) as conn:
        rows = conn.execute("SELECT context, text FROM document_chunks ORDER BY chunk_no").fetchall()
    return [f"{context}\n{text}" if context else text for context, text in rows]


def _embed(texts: list[str], engine: str) -> tuple[float, float]:
    from datadistiller.wiring.adapters import choose_embedder

    model = choose_embedder(engine)
    model.embed(texts[:8])
    cpu, wall = time.process_time(), time.perf_counter()
    for at in range(0, len(texts), 32):
        model.embed(texts[at : at + 32])
    return time.process_time() - cpu, time.perf_counter() - wall


def bare_model(texts: list[str], processes: int = 2, engine: str = "auto") -> tuple[float, float]:
    """CPU seconds and wall seconds of the bare model: the same texts, one thread in each of two processes."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_embed, [texts[n::processes] for n in range(processes)], [engine] * processes))
    return sum(cpu for cpu, _ in results), max(wall for _, wall in results)


def take_in(server: Server, files: list[tuple[str, bytes]]) -> tuple[dict[str, float], int, float, list[str]]:
    """CPU seconds by role, chunks, wall seconds and embedded texts of a batch of files, to the last searchable one."""
    before = server.cpu_by_role()
    begun = time.perf_counter()
    jobs = server.wait(server.upload_all(files, priority="bulk"))
    wall = time.perf_counter() - begun
    after = server.cpu_by_role()
    chunks = sum(job["total_chunks"] for job in jobs.values())
    return {role: after[role] - before.get(role, 0) for role in after}, chunks, wall, chunk_texts(server)[-chunks:]


def around(spent: dict[str, float], bare_cpu: float, chunks: int) -> tuple[float, str]:
    """Milliseconds of CPU per chunk that are not the model's, in all and by role."""
    spent = {**spent, "embed": spent["embed"] - bare_cpu}
    parts = ", ".join(f"{r} {1000 * s / chunks:.2f}" for r, s in sorted(spent.items(), key=lambda kv: -kv[1]))
    total = 1000 * sum(spent.values()) / chunks
    return total, f"{total:.2f} ms ({parts})"


def text_rows() -> list[Row]:
    """40 plain texts of 100 kB: what everything around the model costs, and the pace beside the bare model."""
    with running() as server:
        server.wait(server.upload_all(small_documents(20, 1999)))
        spent, chunks, wall, texts = take_in(server, large_texts(VOLUMES))
    bare_cpu, bare_wall = bare_model(texts)
    cost, costs = around(spent, bare_cpu, chunks)
    rates = f"{chunks / wall:.1f} / {chunks / bare_wall:.1f} = {bare_wall / wall:.1%}"
    _, onnx_wall = bare_model(texts, engine="onnx")
    slower = f"{chunks / wall:.1f} / {chunks / onnx_wall:.1f} = {onnx_wall / wall:.1%}"
    return [
        Row("100 kB texts: chunks a second, system / bare model", ">= 90 %", rates, bare_wall / wall >= 0.9),
        Row("100 kB texts: chunks a second, system / bare model on ONNX Runtime", "", slower),
        Row("100 kB texts: CPU around the model, per chunk", "<= 2.5 ms", costs, cost <= 2.5),
    ]


def small_rows() -> list[Row]:
    """2,000 different texts of 2 kB."""
    files = small_documents(SMALL)
    with running() as server:
        server.wait(server.upload_all(small_documents(20, 1999)))
        spent, chunks, wall, texts = take_in(server, files)
        lone = [one_upload(server, n) for n in range(30)]
    bare_cpu, bare_wall = bare_model(texts)
    _, costs = around(spent, bare_cpu, chunks)
    minute = 60 * len(files) / wall
    rates = f"{chunks / wall:.1f} / {chunks / bare_wall:.1f} = {bare_wall / wall:.1%}"
    p50, p95 = percentile(lone, 0.5), percentile(lone, 0.95)
    return [
        Row("small documents (2 kB), end to end", "> 100/min, aim 1,000", f"{minute:.0f} a minute", minute > 1000),
        Row("small documents: chunks a second, system / bare model", "", rates),
        Row(f"small documents: CPU around the model, per chunk, {chunks / SMALL:.1f} a document", "", costs),
        Row("upload to searchable, one 2 kB text, idle, p50 / p95", "", f"{p50:.0f} / {p95:.0f} ms"),
    ]


def one_upload(server: Server, n: int) -> float:
    """Milliseconds from the start of an upload until it is searchable, some time after the one before."""
    time.sleep(1)
    begun = time.perf_counter()
    job = server.upload(f"lone-{n}.txt", f"Lone document number {n} speaks of lanterns.".encode())["job_id"]
    server.wait([job], look_seconds=0.005)
    return 1000 * (time.perf_counter() - begun)


def first_pages(count: int) -> bytes:
    """The first pages of a real filing as a PDF of its own."""
    with pypdfium2.PdfDocument(DATA / "filings" / "2023 Q3 MSFT.pdf") as source, pypdfium2.PdfDocument.new() as target:
        target.import_pages(source, list(range(count)))
        buffer = io.BytesIO()
        target.save(buffer)
        return buffer.getvalue()


def pdf_rows() -> list[Row]:
    """One PDF of 50 pages alone, then the 20 filings together."""
    with running() as server:
        server.wait(server.upload_all(small_documents(5, 1999)))
        fifty = first_pages(50)
        begun = time.perf_counter()
        state = server.wait([str(server.upload("fifty.pdf", fifty)["job_id"])])
        alone = time.perf_counter() - begun
        chunks = sum(job["total_chunks"] for job in state.values())
        files = [(p.name, p.read_bytes()) for p in sorted((DATA / "filings").glob("*.pdf"))]
        begun = time.perf_counter()
        jobs = server.wait(server.upload_all(files, priority="bulk"))
        wall = time.perf_counter() - begun
        peak = sum(server.memory_by_role().values())
        texts = chunk_texts(server)
    pages = sum(job["page_count"] for job in jobs.values())
    total = sum(job["total_chunks"] for job in jobs.values())
    bad = [job["filename"] for job in jobs.values() if job["status"] != "completed"]
    known = frozenset(texts[:-total])
    new = [text for text in dict.fromkeys(texts[-total:]) if text not in known]  # what had no vector yet
    _, bare_wall = bare_model(new)
    speed = f"{pages / wall:.1f} pages/s, {60 * 20 / wall:.1f} documents/min, not completed: {len(bad)}"
    share = bare_wall / wall
    rates = f"{len(new) / wall:.1f} / {len(new) / bare_wall:.1f} = {share:.1%} ({len(new)} of {total} chunks)"
    return [
        Row("50-page text PDF searchable", "< 10 s", f"{alone:.1f} s ({chunks} chunks)", alone < 10),
        Row(f"20 filings ({pages} pages), file to searchable", ">= 30 pages/s", speed, pages / wall >= 30),
        Row("filings: chunks embedded a second, system / bare model", "", rates),
        Row("memory after the filings (PSS)", "", f"{peak:.0f} MB"),
    ]


def measure() -> list[Row]:
    """Plain texts, small documents, PDFs."""
    return text_rows() + small_rows() + pdf_rows()
