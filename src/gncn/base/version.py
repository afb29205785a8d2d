"""The version of the library, as the package's metadata say it."""

from importlib import metadata

VERSION = metadata.version("gncn")
