"""``python -m gncn``: the same as ``gncn``."""

from _gncn import main

if __name__ == "__main__":
    main()
