# Thin: the work is in `python -m lab ...`, which also serves where there is no make.
ifeq ($(OS),Windows_NT)
PYTHON ?= python
LAB = .venv/Scripts/python -m lab
else
PYTHON ?= python3
LAB = .venv/bin/python -m lab
endif

.PHONY: run test matrix lab check check-evidence check-lessons figures publish bench setup chromium

run test matrix lab check figures publish bench: setup
	@$(LAB) $@

check-evidence: setup
	@$(LAB) check --evidence

# Apart from `check` and `test`: it runs every lesson some four times.
check-lessons: setup
	@$(LAB) check --lessons

setup:
	@$(PYTHON) bootstrap.py

ifneq ($(OS),Windows_NT)
test: chromium

# The widgets are tested in a real browser too, where there is one.
chromium:
	@for name in $${CHROMIUM:-chromium chromium-browser google-chrome google-chrome-stable}; do \
	    command -v "$$name" >/dev/null 2>&1 && exit 0; \
	done; \
	echo "no chromium, so the tests in a browser are skipped: apt-get install chromium, or CHROMIUM=/path make test"
endif
