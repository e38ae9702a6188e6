"""What a run measures: presets and TOML files, cells, resuming."""
