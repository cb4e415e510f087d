"""The keys of the API itself: /api/v2/keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from datadistiller import errors
from datadistiller.api import problems, schemas
from datadistiller.api.parts import Parts

KeyId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number of the key.")]

router = APIRouter(prefix="/api/v2/keys", tags=["keys"])


@router.post("", operation_id="create_key", summary="Make an API key", status_code=201, responses=problems.documented())
async def create_key(body: schemas.NewKey, parts: Parts, response: Response) -> schemas.CreatedKey:
    """The answer holds the key; nobody can see it again. It is good for all calls, on every node, at once."""
    made, key = await parts.keys.create(body.name)
    response.headers["Cache-Control"] = "no-store"
    return schemas.CreatedKey(key=key, **schemas.Key.model_validate(made, from_attributes=True).model_dump())


@router.get("", operation_id="list_keys", summary="List API keys", responses=problems.documented())
async def list_keys(parts: Parts) -> schemas.KeyList:
    """Newest first, revoked ones too. How they begin, not what they are."""
    return schemas.KeyList(
        keys=[schemas.Key.model_validate(key, from_attributes=True) for key in await parts.keys.list()]
    )


@router.delete(
    "/{key_id}",
    operation_id="revoke_key",
    summary="Revoke an API key",
    status_code=204,
    response_class=Response,
    responses=problems.documented(errors.KeyNotFound),
)
async def revoke_key(key_id: KeyId, parts: Parts) -> Response:
    """Every node refuses it within seconds. It stays in the list."""
    await parts.keys.revoke(key_id)
    return Response(status_code=204)
