"""Decoding of JSON from files and sockets: bounded numbers, and one error for everything that is not as it should be.

A number out of its range makes the content invalid, so that no later code can fail on it: the database stores 64-bit
integers, and times must be fit for a calendar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Any integer that the database can store."""
Real = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Any finite number."""
Percent = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
Amount = Annotated[float, msgspec.Meta(ge=0.0, le=1e15)]
"""Seconds, or images per second."""
Moment = Annotated[float, msgspec.Meta(ge=0.0, le=253_370_764_800.0)]
"""Seconds since 1970, up to the year 9999, the last that calendars know."""


Kind = TypeVar("Kind")


def decoder(kind: Any) -> Callable[[bytes | str], Any]:
    """Return a function that decodes JSON as a type and raises only `msgspec.DecodeError`."""
    decode = msgspec.json.Decoder(kind).decode

    def checked(content: bytes | str) -> Any:
        try:
            return decode(content)
        except RecursionError as error:
            raise msgspec.DecodeError("JSON is nested too deeply") from error
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"not UTF-8: {error.reason} at byte {error.start}") from error

    return checked


def decode_json(content: bytes | str, kind: type[Kind]) -> Kind:
    """Decode JSON as a type.

    Raises:
        msgspec.DecodeError: the content is not JSON, or not of this type.
    """
    decoded: Kind = decoder(kind)(content)
    return decoded
