# Thin: the work is in `python -m lab ...`, which also serves where there is no make.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
LAB = .venv/Scripts/python -m lab
else
LAB = .venv/bin/python -m lab
endif

.PHONY: run test lab check figures publish bench setup

run test lab check figures publish bench: setup
	@$(LAB) $@

setup:
	@$(PYTHON) bootstrap.py
