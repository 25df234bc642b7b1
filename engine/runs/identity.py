"""Identity of a run: what spec.json contains, and which run it was created as."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from engine.base.decoding import decoder
from engine.base.errors import UsageError
from engine.spec.run import RunSpec

RUN_ID = re.compile(r"[0-9a-f]{10}")
RunId = Annotated[str, msgspec.Meta(pattern=rf"\A{RUN_ID.pattern}\Z")]


class StoredSpec(RunSpec, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Contents of spec.json: what to train, with the run's origin, which is not part of the science."""

    origin: RunId | None = None
    """Id under which the run was created; None if an older version created it, under the name of its directory."""


_decode: Callable[[bytes | str], StoredSpec] = decoder(StoredSpec)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is, as read once from spec.json."""

    spec: RunSpec
    origin: str | None
    """Id under which it was created; None in runs of older versions."""
    digest: str
    """SHA-256 of spec.json in hexadecimal, stored in checkpoints to detect those of another run.

    It is computed from the bytes, so that a later depthscope with more spec fields can continue the run.
    """

    @classmethod
    def decode(cls, content: bytes) -> Identity:
        """Decode and validate spec.json.

        Raises:
            UsageError: the content is not a valid spec; the text says where and why.
        """
        try:
            stored = _decode(content)
        except msgspec.DecodeError as error:
            raise UsageError(f"not a run specification: {error}") from error
        spec = RunSpec(**{name: getattr(stored, name) for name in RunSpec.__struct_fields__})
        return cls(spec, stored.origin, hashlib.sha256(content).hexdigest())


def encode_stored(spec: RunSpec, origin: str) -> bytes:
    """Encode spec.json of a new run."""
    return msgspec.json.encode(StoredSpec(**msgspec.structs.asdict(spec), origin=origin), order="deterministic")
