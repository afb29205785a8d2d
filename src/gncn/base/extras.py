"""Packages that only parts of the library need: imported when used, and missed in one sentence."""

import sys
from importlib.util import find_spec

from gncn.base.errors import ConfigError

_NAMES = {
    "sklearn": "scikit-learn",
    "matplotlib": "Matplotlib",
    "scipy": "SciPy",
    "PIL": "Pillow",
    "tomli_w": "tomli-w",
    "trackio": "Trackio",
    "wandb": "Weights & Biases",
    "huggingface_hub": "huggingface-hub",
}
"""Names of packages, where they differ from the names by which they are imported."""


def needs(module: str, extra: str) -> None:
    """Refuse to go on where a package that an extra of gncn installs isn't there.

    Raises:
        ConfigError: says what to install.
    """
    # None in `sys.modules` blocks an import; a module that is there may have no spec to find.
    known = sys.modules.get(module, ...)
    if known is None or (known is ... and find_spec(module) is None):
        raise ConfigError(
            f"This needs {_NAMES.get(module, module)}, which isn't installed: "
            f"pip install 'gncn[{extra}]'."
        )
