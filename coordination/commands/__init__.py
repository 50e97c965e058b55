"""The command `mesh` and its subcommands, one a module. Nothing here imports Trio before a command runs: help is quick."""
