"""Profiles: one YAML file a device model, found by emsd through the entry point group `emsd.profiles`."""
