# `make reproduce`: the figures. `make verify`: do they say what the committed ones say. `make resume`: goes on after a kill. `make test`: linters and tests.
# `make readme`: the README's verdicts and numbers from the committed ones. `make page`: all of the
# committed in one HTML file, results/page.html.
# Each makes what it needs first.
PYTHON ?= python3
# Nothing is compiled when packages are installed. Where Python may not keep what it compiles, each job
# would compile torch anew: seconds of it.
unexport PYTHONDONTWRITEBYTECODE
# Not taken from the environment, where the name is used for environments of other projects.
VENV = .venv
CORES ?= all
SNAKEMAKE = $(VENV)/bin/snakemake
# The same with one line a job on the screen.
SNAKEMAKE_LINES = PYTHONPATH="workflow/logger:$$PYTHONPATH" $(SNAKEMAKE) --logger lines --cores $(CORES)
# More for snakemake, such as ARGS="--configfile config/smoke.yaml".
ARGS ?=
REPORT = results/digits/report.html
# Written once the run agrees with the committed one.
VERIFIED = results/digits/verified
# Which one `make verify`, `make pack` and `make unpack` are about.
EXPERIMENT ?= digits
# What the latter two write and read.
PACKED ?= results/$(EXPERIMENT).tar.xz
PAGE = results/page.html

.PHONY: reproduce verify resume pack unpack figures page paper docs readme same-bits test test-cluster test-page bench gpu-check lint lock install clean
.DELETE_ON_ERROR:

reproduce: install
	$(SNAKEMAKE_LINES)
	@[ -z "$$(find paper_figures/digits -newer $(REPORT) 2>&1)" ] || \
		$(SNAKEMAKE) --report $(REPORT)
	@echo "Made:"; ls paper_figures/digits/*.p* paper_figures/digits/tables/* $(REPORT)
	@[ -z "$$(find paper_figures/digits -newer $(VERIFIED) 2>&1)" ] || \
		{ $(MAKE) --no-print-directory verify && touch $(VERIFIED); }

# Whether a run says what the committed one says, number by number; fails where it does not.
verify: install
	@PYTHONPATH=src $(VENV)/bin/python -m focal_curvature.cli verify paper_figures/$(EXPERIMENT)

# Goes on after Snakemake itself was killed, which leaves its lock on the folder behind. Not while
# another Snakemake works here.
resume: install
	$(SNAKEMAKE) --unlock
	$(SNAKEMAKE_LINES) $(ARGS)

# What an experiment has finished, without what is large, to go on with elsewhere (docs/faults.md).
pack:
	tar -caf "$(PACKED)" --exclude='*.pt' --exclude='*.npz' --exclude=splits.json results/$(EXPERIMENT)

# Takes that over, dated as splits made here: none may be older than what it is made from. The configuration
# is config/<experiment>.yaml where there is one, or ARGS says which.
unpack: SPLITS = results/$(EXPERIMENT)/splits.json
unpack: install
	$(SNAKEMAKE_LINES) $(or $(ARGS),$(addprefix --configfile ,$(wildcard config/$(EXPERIMENT).yaml))) -- $(SPLITS)
	tar -xf "$(PACKED)"
	find results/$(EXPERIMENT) -type f -exec touch -r $(SPLITS) {} +

# Redraws every committed figure from the committed tables alone; trains nothing.
figures: install
	PYTHONPATH=src $(VENV)/bin/python -m focal_curvature.plotting paper_figures/*/

# Verdicts, results and figures of all committed experiments in one file that needs no network.
page: install
	PYTHONPATH=src $(VENV)/bin/python -m focal_curvature.page $(PAGE) paper_figures/*/

# The documentation site, in site/; a broken link is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

readme: install
	PYTHONPATH=src $(VENV)/bin/python tools/exploratory.py
	PYTHONPATH=src $(VENV)/bin/python tools/neighbours.py
	PYTHONPATH=src $(VENV)/bin/python tools/best_penalty.py
	PYTHONPATH=src $(VENV)/bin/python tools/readme.py

# The report, paper/report.pdf, whose numbers and figures are read from the committed ones, and the
# figures over all experiments, paper/figures/.
paper: install
	PYTHONPATH=src $(VENV)/bin/python tools/across.py
	PYTHONPATH=src $(VENV)/bin/python tools/paper.py

# Whether this processor gives the weights of others to the bit (docs/determinism.md): a minute.
same-bits: install
	PYTHONPATH=src $(VENV)/bin/python tools/same_bits.py

# On all cores. A crash of the interpreter is its test's failure, and the others go on: by "load" or
# "worksteal" alone, since xdist's other ways give the test that crashed to the next process.
PYTEST = $(VENV)/bin/python -m pytest --numprocesses logical --dist worksteal --max-worker-restart 100
# Has a processor with AVX-512 behave as one without.
AVX2 = ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2

# Fast ones first. What computes gradients is tested a second time with the kernels of other processors.
test: lint
	$(PYTEST) tests/unit
	$(AVX2) $(PYTEST) $(addprefix tests/unit/,models training regularisers curvature test_kernels.py test_stack.py)
	$(PYTEST) tests/workflow tests/faults tests/gpu

# On a real Slurm of two nodes, which it installs where it must: needs root on Debian or Ubuntu.
test-cluster: install
	PATH="$(abspath $(VENV))/bin:$$PATH" tests/cluster/slurm.sh \
		$(VENV)/bin/python -m pytest tests/cluster

# The page in a headless Chromium, which it installs where it must: needs root on Debian for that.
test-page: install
	tests/page/chromium.sh $(VENV)/bin/python -m pytest tests/page

# What is in benchmarks/results anew, on a machine that does nothing else: half an hour, or forty minutes
# on a slow processor, as scripts leave out what would end after their budgets (--help, or a constant at
# the top). ResNet-20's curvature takes as long by itself: benchmarks/curvature.py --models resnet20.
bench: export PYTHONPATH = src
bench: install
	$(VENV)/bin/python benchmarks/around.py
	$(VENV)/bin/python benchmarks/training.py
	$(VENV)/bin/python benchmarks/kernels.py
	$(VENV)/bin/python benchmarks/scoring.py
	$(VENV)/bin/python benchmarks/planning.py
	$(VENV)/bin/python benchmarks/growth.py
	$(VENV)/bin/python benchmarks/curvature.py --models small_cnn --grid
	$(VENV)/bin/python benchmarks/smooth.py --data /usr/share/datasets

# On a CUDA machine with a C++ compiler and torch (with Triton), torchvision, numpy, pandas,
# scikit-learn, scipy, pyyaml and pytest in $(PYTHON); no network, nothing installed. Ends in failure
# where there is no CUDA device.
gpu-check:
	@$(PYTHON) -c "import sys, torch; torch.cuda.is_available() or \
		sys.exit('gpu-check: torch finds no CUDA device here, so nothing was checked')"
	PYTHONPATH=src $(PYTHON) -m pytest tests/gpu -p no:cacheprovider
	PYTHONPATH=src $(PYTHON) benchmarks/training.py --device cuda
	@cat benchmarks/results/training_cuda.md

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint
	$(VENV)/bin/mypy

# Resolves pyproject.toml anew. environment.yml is without what only tests and linters need.
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--prerelease if-necessary-or-explicit --no-emit-index-url --no-emit-find-links --no-annotate \
	--no-header pyproject.toml
lock: install
	$(COMPILE) --upgrade --all-extras --generate-hashes --output-file requirements.lock
	$(COMPILE) --extra workflow --constraints requirements.lock | $(VENV)/bin/python tools/environment.py

# Made anew where it is not what requirements.lock says. A folder that this has not made is refused.
install:
	@$(PYTHON) tools/install.py "$(VENV)"

clean:
	@$(PYTHON) tools/install.py --remove "$(VENV)"
	rm -rf results/datasets results/digits $(PAGE) .snakemake
