"""What a check of `mapdev doctor` gives."""

from typing import NamedTuple


class Finding(NamedTuple):
    """The outcome of one check: fine, worth knowing (`ok` None), or in the way."""

    what: str
    ok: bool | None
    text: str
