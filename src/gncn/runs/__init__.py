"""Runs: their configuration, their folder, and the files of their models."""
