"""Programs that try to break the promises: each is a command of the Makefile."""
