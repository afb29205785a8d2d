"""Studies that come with the library, one TOML file each; see `gncn.study.plan.load_study`."""
