"""Harm done to files at random, without knowing their format."""

import random

TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"=", b".", b"\n", b"\0", b"-1", b"0", b"null",
    b"true", b"NaN", b"1e999", b"9" * 19, b"9" * 30, b"\xff\xff\xff\xff", b"\xed\xa0\x80",
    b"[" * 40, b'{"a":' * 40, b"a." * 40, b"\\ud800", b"\xef\xbb\xbf", b"(1,)", b"|O",
    b"\x7f" + b"\xff" * 7,
)  # fmt: skip


def harmed(content: bytes, draw: random.Random) -> bytes:
    """A content with a few random changes."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(found) + 1)
        end = min(len(found), at + draw.choice((1, 1, 2, 4, 8, 64)))
        match draw.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << draw.randrange(8)
            case 1:
                del found[at:end]
            case 2:
                found[at:end] = draw.choice(TOKENS)
            case 3:
                found[at:at] = draw.choice(TOKENS)
            case 4:
                found[at:at] = found[at:end] * draw.choice((1, 2, 100))
            case _:
                found[at:end] = draw.randbytes(end - at)
    return bytes(found)
