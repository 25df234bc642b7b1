"""The error of a value that a field of a specification cannot take."""

from __future__ import annotations

from engine.base.errors import UsageError
from models.catalog import FieldError


class InvalidField(FieldError, UsageError):
    """A run that cannot be trained as specified, because of one field."""
