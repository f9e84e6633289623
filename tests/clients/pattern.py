"""Bodies that both ends can make by themselves, so that a digest tells whether they arrived whole and in order."""

import hashlib
from collections.abc import Iterator

# A prime, so that a piece that is lost, doubled or moved doesn't fall on the same bytes again.
_BLOCK = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200))[:6389]


def pieces(size: int, piece: int = 65_536) -> Iterator[bytes]:
    """`size` bytes, always the same, in pieces."""
    source = _BLOCK * (piece // len(_BLOCK) + 2)
    for start in range(0, size, piece):
        offset = start % len(_BLOCK)
        yield source[offset : offset + min(piece, size - start)]


def whole(size: int) -> bytes:
    return b"".join(pieces(size))


def digest(size: int) -> str:
    """SHA-256 of `size` bytes of the pattern."""
    sha = hashlib.sha256()
    for piece in pieces(size):
        sha.update(piece)
    return sha.hexdigest()


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
