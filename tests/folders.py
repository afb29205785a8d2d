"""What folders hold, for tests that compare them."""

from gncn.base.locks import LOCK, OWNER


def content(path, *, locks=True):
    """The content of every file by its name; `locks` stay when a command ends, as promised."""
    return {
        f.relative_to(path).as_posix(): f.read_bytes()
        for f in path.rglob("*")
        if f.is_file() and (locks or f.name not in (LOCK, OWNER))
    }


def strays(path):
    """Files that are not yet, or no longer, what a folder is there for."""
    return [name for name in content(path) if ".gncn-" in name or ".replaced" in name]
