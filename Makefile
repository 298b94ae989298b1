# make demo: from nothing to a verdict. make test: from nothing to a tested checkout. make fuzz: see bench/results.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(if $(shell $(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo yes),$(p))))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test lint types fuzz bench bench-training bench-scale bench-increment bench-verdict bench-audit bench-demo lock clean

demo: .venv/done
	@git config user.email >/dev/null || { git config user.name "$$(id -un)"; git config user.email "$$(id -un)@localhost"; \
		echo "git knows no user and dvc exp run needs one: in this clone it is now $$(git config user.email)"; }
	@test -f data/raw/train_labels.csv || flairprep demo
	@dvc add --quiet data/raw/train && git add data/raw/train_labels.csv
	@flairprep check
	@dvc repro
	@echo
	@flairprep verdict
	@echo 'look at:   reports/index.html (open it in a browser), and the plots: dvc plots show'
	@echo 'type next: . .venv/bin/activate'
	@echo '           dvc exp run -S lr=1e-5'
	@echo '           flairprep compare'

test: .venv/done
	@pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

lint: .venv/done
	@ruff check . && ruff format --check .

types: .venv/done
	@mypy

# Damaged files through the real workers, and stages killed at any moment: about half an hour on 2 cores.
fuzz: .venv/done
	@mkdir -p bench/results
	@python bench/fuzz.py --files 5000 --seed 0 --kills 50 >bench/results/fuzz.txt; status=$$?; cat bench/results/fuzz.txt; exit $$status

# Speed beside other tools, those of the extra `bench` that are installed (10 minutes); steps of training (5); cohorts of
# up to 5,000 (20).
bench: .venv/done
	@mkdir -p bench/results
	@python bench/speed.py --json bench/results/speed.json >bench/results/speed.txt; status=$$?; cat bench/results/speed.txt; exit $$status

bench-training bench-scale: bench-%: .venv/done
	@mkdir -p bench/results
	@python bench/$*.py --json bench/results/$*.json >bench/results/$*.txt; status=$$?; cat bench/results/$*.txt; exit $$status

# Verdicts on simulated runs (20 minutes), the audit on small volumes (4), 50 demo cohorts from DICOM to verdict (40), and
# what one case more than 200 costs (10; 15 GB of disk for a while).
bench-verdict bench-audit bench-demo bench-increment: bench-%: .venv/done
	@mkdir -p bench/results
	@python bench/$*.py >bench/results/$*.txt; status=$$?; cat bench/results/$*.txt; exit $$status

# Compiled afterwards, on all cores: pip would do it on one. Without it, where PYTHONDONTWRITEBYTECODE is set every stage
# that imports tensorflow would start 6 s later. A few files of packages are meant for other Pythons and do not compile.
.venv/done: requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo "flairprep needs python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1)"; exit 1; }
	@echo 'making .venv from requirements.lock, a minute or two'
	@$(PYTHON) -m venv --clear .venv
	@pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	@pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $@

# Pinned versions and hashes for Python 3.11 to 3.13, without addresses.
lock:
	@uv pip compile --quiet --universal --python-version 3.11 --extra dask --extra demo --extra dev --generate-hashes --no-annotate --no-header \
		--output-file requirements.lock pyproject.toml

clean:
	@rm -rf .venv
