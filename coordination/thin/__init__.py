"""Thin clients: what a sponsor does for a program that is no member, and the words between the two."""
