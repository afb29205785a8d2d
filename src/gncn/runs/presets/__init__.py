"""Configurations that come with the library, as TOML files; see `gncn.runs.config`."""
