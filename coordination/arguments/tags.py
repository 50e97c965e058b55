"""Tags as users give them, and which members have them."""

from __future__ import annotations

from collections.abc import Mapping

from coordination.errors import BadConfig
from mesh.membership import Member, Tags
from mesh.membership.identity import MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS, MAX_TAGS_BYTES, valid_tags

__all__ = ["TagFilter", "check_filter", "check_tags", "matches"]

TagFilter = Mapping[str, str | None]
"""Each key must be there with this value; None: with any."""


def check_tags(tags: Mapping[str, str]) -> Tags:
    """Tags as they travel. Raises `BadConfig`."""
    if not isinstance(tags, Mapping) or not all(isinstance(text, str) for pair in tags.items() for text in pair):
        raise BadConfig(f"the tags {tags!r} are refused: give a dictionary of text to text")
    pairs = tuple(sorted(tags.items()))
    if not valid_tags(pairs):
        raise BadConfig(
            f"the tags are too large: at most {MAX_TAGS} of them, {MAX_TAGS_BYTES} bytes of keys and values together, a key of "
            f"1 to {MAX_TAG_KEY} characters and a value of {MAX_TAG_VALUE}; put what is larger under a key of the store"
        )
    return pairs


def check_filter(tags: TagFilter | None) -> dict[str, str | None]:
    """Which tags a member must have. Raises `BadConfig`."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(
        isinstance(key, str) and (value is None or isinstance(value, str)) for key, value in tags.items()
    ):
        raise BadConfig(f"the tags {tags!r} are no filter: give a dictionary of text to text, or to None for any value")
    return dict(tags)


def matches(member: Member, wanted: Mapping[str, str | None]) -> bool:
    """Whether a member has these tags."""
    if not wanted:
        return True
    has = dict(member.tags)
    return all(key in has and value in (None, has[key]) for key, value in wanted.items())
