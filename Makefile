# make demo: from nothing to a verdict. make setup: the environment alone. make test: from nothing to a tested checkout. make fuzz: see bench/results.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(if $(shell $(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo yes),$(p))))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-slow lint types docs dist site fuzz bench bench-training bench-scale bench-increment bench-verdict bench-evidence bench-selection bench-audit bench-demo bench-plan bench-diagnosis bench-files bench-explain bench-predict bench-run bench-validate lock clean

# The environment alone, for your own data.
.PHONY: setup
setup: .venv/done
	@echo 'type next: . .venv/bin/activate'
	@echo 'and then:  what docs/own-data.md says of scans and labels'

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
	@echo '           dvc exp run --temp -S lr=1e-5'
	@echo '           flairprep compare'

# The lane that you wait for, and the rest. Four workers, even on 2 cores: many tests wait for a process or the disk.
PYTEST := pytest -q -n 4 --dist loadfile --no-loadscope-reorder tests

test: .venv/dev
	@$(PYTEST) -m 'not slow'

test-slow: .venv/dev
	@$(PYTEST) -m slow

# docs/params.md, docs/codes.md and params.schema.json, from the code.
docs: .venv/done
	@python docs/generate.py

# The pages as a site in the folder site, which needs no network. In .site they lie as here, so that every link between them works.
PAGES := README.md CHANGELOG.md CONTRIBUTING.md LICENSE NOTICE CITATION.cff docs
site: .venv-site/done
	@rm -rf .site && mkdir -p .site/bench && ln -s ../../bench/results .site/bench/results && ln -s $(addprefix ../,$(PAGES)) .site
	@NO_MKDOCS_2_WARNING=1 PYTHONDONTWRITEBYTECODE=1 .venv-site/bin/mkdocs build --strict --quiet
	@rm -rf .site
	@echo 'look at:   site/index.html (open it in a browser)'

dist: .venv/dev
	@rm -rf dist && uv build --quiet --out-dir dist

lint: .venv/dev
	@ruff check . && ruff format --check . && lint-imports

types: .venv/dev
	@mypy

# Damaged files through the real workers, and stages killed at any moment: about half an hour on 2 cores.
fuzz: .venv/dev
	@mkdir -p bench/results
	@python bench/fuzz.py --files 5000 --seed 0 --kills 50 >bench/results/fuzz.txt; status=$$?; cat bench/results/fuzz.txt; exit $$status

# Speed beside other tools, those of the extra `bench` that are installed (10 minutes); steps of training (5); cohorts of
# up to 5,000 (20).
bench: .venv/dev
	@mkdir -p bench/results
	@python bench/speed.py --json bench/results/speed.json >bench/results/speed.txt; status=$$?; cat bench/results/speed.txt; exit $$status

bench-training bench-scale: bench-%: .venv/dev
	@mkdir -p bench/results
	@python bench/$*.py --json bench/results/$*.json >bench/results/$*.txt; status=$$?; cat bench/results/$*.txt; exit $$status

# The verdict and compare on small trained networks (evidence), and the best epoch (selection): 40 minutes together.
bench-verdict: bench-evidence bench-selection

# The audit on small volumes (10), trainings with planted faults (40), 50 demo cohorts from DICOM to verdict (40), what one
# case more than 200 costs (10; 15 GB of disk for a while), screening designs on simulated networks (20), DVC with
# 350,000 raw files, loose and packed (30; 8 GB and a million inodes for a while), occlusion maps on the demo (20),
# predict beside the stages (15), planted shifts and leaks in other cohorts (30), and a whole run of 585 cases (90; its
# script can set other commits beside it).
bench-evidence bench-selection bench-audit bench-demo bench-increment bench-plan bench-diagnosis bench-files bench-explain bench-predict bench-run bench-validate: bench-%: .venv/dev
	@mkdir -p bench/results
	@python bench/$*.py >bench/results/$*.txt; status=$$?; cat bench/results/$*.txt; exit $$status

# uv installs a lock in a third of pip's time. It comes from requirements-bootstrap.lock, into .venv and nowhere else.
# Compiled at once, on all cores: where PYTHONDONTWRITEBYTECODE is set, every stage that imports tensorflow would otherwise
# start 6 s later. The packages' own tests, a third of the time, nobody imports; a file that does not compile harms none.
# GPU=1 takes tensorflow with CUDA instead of tensorflow-cpu.
UV := uv pip install --quiet --no-deps
BYTECODE := python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
LOCK := requirements$(if $(GPU),-gpu).lock

.venv/done: $(LOCK) requirements-bootstrap.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo "flairprep needs python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1)"; exit 1; }
	@echo 'making .venv from $(LOCK), about a minute'
	@$(PYTHON) -m venv --clear .venv
	@pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements-bootstrap.lock
	@$(UV) --require-hashes -r $(LOCK)
	@$(UV) --no-build-isolation --editable .
	@$(BYTECODE)
	@touch $@

# What tests and benches need besides.
.venv/dev: .venv/done requirements-dev.lock
	@$(UV) --require-hashes -r requirements-dev.lock
	@$(BYTECODE)
	@touch $@

# What the site needs, an environment of its own: 220 MB.
.venv-site/done: requirements-site.lock requirements-bootstrap.lock
	@$(PYTHON) -m venv --clear .venv-site
	@.venv-site/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements-bootstrap.lock
	@.venv-site/bin/$(UV) --python .venv-site/bin/python --require-hashes -r requirements-site.lock
	@touch $@

# Pinned versions and hashes for Python 3.11 to 3.13, without addresses.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
USED := --extra dask --extra demo

lock: .venv/done
	@echo 'uv>=0.9' | $(COMPILE) --output-file requirements-bootstrap.lock -
	@printf '%s\n' 'mkdocs-material>=9.8' 'mermaidx>=0.10' | $(COMPILE) --output-file requirements-site.lock -
	@$(COMPILE) --extra cpu $(USED) --output-file requirements.lock pyproject.toml
	@$(COMPILE) --extra gpu $(USED) --constraints requirements.lock --output-file requirements-gpu.lock pyproject.toml
	@$(COMPILE) --extra cpu $(USED) --extra dev --constraints requirements.lock \
		$$(sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/--no-emit-package \1/p' requirements.lock | sort -u) \
		--output-file requirements-dev.lock pyproject.toml

clean:
	@rm -rf .venv .venv-site
