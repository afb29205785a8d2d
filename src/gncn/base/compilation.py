"""Compiled programs that outlive the process, so that a command starts faster the next time."""

import os
from pathlib import Path

import jax


def keep_compiled_programs(folder: Path) -> None:
    """Let JAX keep compiled programs in a folder, which it makes if need be.

    The environment variable ``JAX_COMPILATION_CACHE_DIR`` takes precedence.  If the folder can't
    be written, JAX warns and compiles every time.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
