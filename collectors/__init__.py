"""Collectors of emsd: one package a kind of connection, and the profiles of the devices that they read."""
