"""Packed values: whether bytes are one whole value of msgpack, before anything is made of them."""

def is_packed(data: bytes | memoryview) -> bool:
    """Whether the bytes are one value, none missing and none left over, no deeper than 64, and without extension types."""
