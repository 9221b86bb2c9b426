# `make reproduce`: the figures. `make resume`: goes on after a kill. `make test`: linters and tests.
# `make readme`: the README's verdicts and numbers from the committed ones. `make page`: all of the
# committed in one HTML file, results/page.html.
# Each makes what it needs first.
PYTHON ?= python3
VENV ?= .venv
CORES ?= all
SNAKEMAKE = $(VENV)/bin/snakemake
# More for snakemake, such as ARGS="--configfile config/smoke.yaml".
ARGS ?=
REPORT = results/digits/report.html
PAGE = results/page.html

.PHONY: reproduce resume figures page readme test test-cluster test-page bench gpu-check lint lock clean
.DELETE_ON_ERROR:

reproduce: $(VENV)/installed
	$(SNAKEMAKE) --cores $(CORES)
	@[ -z "$$(find results/digits/runs.csv paper_figures/digits -newer $(REPORT) 2>&1)" ] || \
		$(SNAKEMAKE) --report $(REPORT)
	@echo "Made:"; ls paper_figures/digits/*.p* paper_figures/digits/tables/* $(REPORT)

# Goes on after Snakemake itself was killed, which leaves its lock on the folder behind. Not while
# another Snakemake works here.
resume: $(VENV)/installed
	$(SNAKEMAKE) --unlock
	$(SNAKEMAKE) --cores $(CORES) $(ARGS)

# Redraws every committed figure from the committed tables alone; trains nothing.
figures: $(VENV)/installed
	PYTHONPATH=src $(VENV)/bin/python -m focal_curvature.plotting paper_figures/*/

# Verdicts, results and figures of all committed experiments in one file that needs no network.
page: $(VENV)/installed
	PYTHONPATH=src $(VENV)/bin/python -m focal_curvature.page $(PAGE) paper_figures/*/

readme: $(VENV)/installed
	$(VENV)/bin/python tools/readme.py

test: lint
	$(VENV)/bin/python -m pytest

# On a real one-node Slurm, which it installs where it must: needs root on Debian or Ubuntu.
test-cluster: $(VENV)/installed
	PATH="$(abspath $(VENV))/bin:$$PATH" tests/cluster/slurm.sh \
		$(VENV)/bin/python -m pytest tests/cluster

# The page in a headless Chromium, which it installs where it must: needs root on Debian for that.
test-page: $(VENV)/installed
	tests/page/chromium.sh $(VENV)/bin/python -m pytest tests/page

# Every ratio in benchmarks/results anew: an hour, on a machine that does nothing else.
bench: export PYTHONPATH = src
bench: reproduce
	$(VENV)/bin/python benchmarks/around.py
	$(VENV)/bin/python benchmarks/training.py
	$(VENV)/bin/python benchmarks/scoring.py
	$(VENV)/bin/python benchmarks/planning.py
	$(VENV)/bin/python benchmarks/curvature.py --grid

# On a CUDA machine with a C++ compiler and torch (with Triton), torchvision, numpy, pandas,
# scikit-learn, scipy, pyyaml and pytest in $(PYTHON); no network, nothing installed. Ends in failure
# where there is no CUDA device.
gpu-check:
	@$(PYTHON) -c "import sys, torch; torch.cuda.is_available() or \
		sys.exit('gpu-check: torch finds no CUDA device here, so nothing was checked')"
	PYTHONPATH=src $(PYTHON) -m pytest tests/gpu -p no:cacheprovider
	PYTHONPATH=src $(PYTHON) benchmarks/training.py --device cuda
	@cat benchmarks/results/training_cuda.md

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

# Resolves pyproject.toml anew.
lock: $(VENV)/installed
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
		--prerelease if-necessary-or-explicit --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		pyproject.toml --output-file requirements.lock
	$(VENV)/bin/python tools/environment.py

# The file is written last, so that an interrupted installation is begun again.
$(VENV)/installed: requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements.lock
	touch $@

clean:
	rm -rf $(VENV) results/datasets results/digits $(PAGE) .snakemake
