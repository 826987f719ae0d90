"""Read a project: the TOML file, the handlers' folder, the sources' folder."""
