"""The search index in an OpenSearch cluster: k-NN and BM25 as separate searches, so that their fusion stays ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Hits, questions
from datadistiller.indexing import opensearch_layout as layout
from datadistiller.indexing.opensearch_client import Access, Client, Refused
from datadistiller.indexing.opensearch_layout import Content, Shape
from datadistiller.indexing.opensearch_writer import MISSING_SECONDS, OpenSearchWriter

#: The most hits of one search (``index.max_result_window``).
MAX_HITS = 10_000
#: Up to so many allowed chunks are scored one by one: exact, where a graph under a selective filter finds too few.
EXACT_CHUNKS = 10_000
#: Candidates kept while the graph of a segment is searched: Lucene keeps as many as are asked for. Measured by
#: benchmarks/opensearch.py: recall@10 is .998 and more at 100, 1.000 at 192, which costs a third more.
EF_SEARCH = 100
#: Job numbers in one clause of a filter (``index.max_terms_count``); more are more clauses.
MAX_TERMS = 65_536

_NO_HITS = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


class OpenSearchIndex(OpenSearchWriter):
    """Implements ``Index``: the searching here, the writing in its base.

    A search gives 10,000 hits at most. It raises ``errors.Unavailable`` while any shard has no node, or the index is
    not there: never a part of the hits.
    """

    def __init__(
        self,
        access: Access,
        content: Content,
        shape: Shape | None = None,
        missing_seconds: float = MISSING_SECONDS,
    ) -> None:
        """Raises ``errors.SetupError`` for certificates that cannot be read. Nothing is called before it is needed."""
        super().__init__(Client(access), content, shape or Shape(), missing_seconds)

    async def open(self) -> None:
        """Raises ``errors.SetupError`` if the cluster will not do; one that does not answer yet may still start."""
        await self._client.check()

    async def count(self) -> int:
        """Number of chunks that searches see, whatever they are restricted to."""
        return await self._count(None)

    async def vector_search(
        self, vector: NDArray[np.float32], limit: int, allowed: NDArray[np.int64] | None = None
    ) -> Hits:
        """The nearest chunks; exact if at most ``EXACT_CHUNKS`` are allowed, else by the graph."""
        if limit <= 0 or (allowed is not None and not len(allowed)):
            return _NO_HITS
        chosen = None if allowed is None else _of_jobs(allowed)
        wanted = [float(value) for value in vector]
        if chosen is not None and await self._count(chosen, EXACT_CHUNKS + 1) <= EXACT_CHUNKS:
            numbers, scores = await self._search(_scored_one_by_one(wanted, chosen), limit)
        else:
            knn: dict[str, Any] = {"vector": wanted, "k": min(max(limit, EF_SEARCH), MAX_HITS)}
            knn |= {} if chosen is None else {"filter": chosen}
            numbers, scores = await self._search({"knn": {"vector": knn}}, limit)
        return Hits(numbers, layout.cosines(scores).astype(np.float32))

    async def keyword_search(self, question: str, limit: int, allowed: NDArray[np.int64] | None = None) -> Hits:
        """The best chunks by BM25, of which the frequencies of words are counted over all shards."""
        words = questions.words(question)
        if limit <= 0 or not words or (allowed is not None and not len(allowed)):
            return _NO_HITS
        query: dict[str, Any] = {"must": {"match": {"text": " ".join(words)}}}
        query |= {} if allowed is None else {"filter": _of_jobs(allowed)}
        numbers, scores = await self._search({"bool": query}, limit, search_type="dfs_query_then_fetch")
        return Hits(numbers, scores.astype(np.float32))

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _search(
        self, query: Mapping[str, Any], limit: int, **parameters: str
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Chunk numbers and scores, best first, equal ones by number.

        The sort tells both, and makes an index that has no chunk numbers an error: it is not ours.
        """
        body = {
            "query": query,
            "size": min(limit, MAX_HITS),
            "sort": ["_score", {"chunk_no": "asc"}],
            "stored_fields": "_none_",
            "track_total_hits": False,
        }
        answer = await self._asked(body, filter_path="hits.hits.sort", **parameters)
        found = [hit["sort"] for hit in answer.get("hits", {}).get("hits", ())]
        scores, numbers = zip(*found, strict=True) if found else ((), ())
        return np.array(numbers, np.int64), np.array(scores, np.float64)

    async def _count(self, chosen: Mapping[str, Any] | None, most: int | None = None) -> int:
        """How many chunks there are, or are chosen; counted up to ``most``."""
        body = {"query": chosen or {"match_all": {}}, "size": 0, "track_total_hits": most or True}
        answer = await self._asked(body, filter_path="hits.total.value")
        return int(answer["hits"]["total"]["value"])

    async def _asked(self, body: Mapping[str, Any], **parameters: str) -> Any:
        path = f"/{self._names.alias}/_search"
        try:
            return await self._client.call("POST", path, body, {"allow_partial_search_results": "false"} | parameters)
        except Refused as refused:
            raise _unsearchable(refused) from refused


def _of_jobs(allowed: NDArray[np.int64]) -> dict[str, Any]:
    """The filter that lets pass the chunks of these jobs and no others, however many."""
    parts = [allowed[at : at + MAX_TERMS].tolist() for at in range(0, len(allowed), MAX_TERMS)]
    clauses = [{"terms": {"job_no": part}} for part in parts]
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses}}


def _scored_one_by_one(vector: list[float], chosen: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {"field": "vector", "query_value": vector, "space_type": "innerproduct"}
    script = {"lang": "knn", "source": "knn_score", "params": parameters}
    return {"script_score": {"query": {"bool": {"filter": chosen}}, "script": script}}


def _unsearchable(refused: Refused) -> errors.Unavailable:
    """Why there are no hits: of an index that is gone, broken or not ours."""
    if refused.status == 404:
        sentence = "The search index is not there, or not built yet."
    elif refused.status == 400:
        sentence = f"The search index is not one of ours ({refused.kind})."
    else:
        sentence = f"A part of the search index is missing ({refused.status} {refused.kind})."
    return errors.Unavailable(sentence, hint="The index worker builds it anew; GET /health tells when it is there.")
