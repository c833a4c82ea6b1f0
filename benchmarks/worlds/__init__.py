"""Answers of `bisim-check` on other people's environments, in files that other people's libraries wrote."""
