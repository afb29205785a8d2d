"""``python -m gncn``: the same as ``gncn``."""

from _gncn import main

main()
