# Two commands do everything a newcomer needs: `make quickstart` and `make test`.
# Both create .venv and install what they need. PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# torch comes first and pinned, as the extras want it: a package index that has CPU builds (their
# versions end in +cpu) gives one for this line, where a looser range would bring the newest CUDA
# build of several gigabytes. Where the index has none, name one that has:
#   make quickstart TORCH_INDEX=URL       (pytorch.org, "Get Started", pip and CPU, shows it)
TORCH := torch==2.13.0
TORCH_INDEX ?=
# Python compiles what it imports, when it first does; to compile all of it takes pip a minute.
PIP := $(BIN)/pip install --quiet --no-compile
# What is compiled is kept, whatever the environment says: tests start a hundred commands.
unexport PYTHONDONTWRITEBYTECODE
# Processes of `make test`. A worker takes about 2 GiB.
WORKERS ?= 2

.PHONY: quickstart test test-slow lint bench apk docs clean

quickstart: $(VENV)/.quickstart
	$(BIN)/hydra-mobile quickstart

# In the order of the files: xdist's own ends with the app's screens, one test that takes longest.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow and not gpu and not device" -q -n $(WORKERS) --dist loadfile \
		--no-loadscope-reorder

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow -q

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m android_demo.tools.lint
	$(BIN)/python -m android_demo.tools.native_format

# Short versions of the speed experiments, on what `make quickstart` leaves; fails where a ratio is
# below the committed ones by more than their spread. The first run builds llama.cpp, ten minutes.
bench: $(VENV)/.peers
	rm -rf runs/bench
	$(BIN)/python -m experiments.training_speed.run --quick --work runs/bench/training_speed
	$(BIN)/python -m experiments.inference_speed.run --quick --work runs/bench/inference_speed
	$(BIN)/python -m experiments.guard --runs runs/bench

$(VENV)/.peers: $(VENV)/.installed experiments/inference_speed/requirements.txt
	$(PIP) --no-deps -r experiments/inference_speed/requirements.txt
	touch $@

# What the docs say of the code, made again, and the site of it all: build/site/index.html.
docs: $(VENV)/.installed
	$(BIN)/python -m docs.build.cli
	$(BIN)/python -m docs.build.config_page
	$(BIN)/python -m docs.build.python_page
	$(BIN)/python -m docs.build.pages
	$(BIN)/python -m docs.build.site

# The Android demo app; names the Debian packages that it wants where they are missing.
apk: $(VENV)/.installed
	$(BIN)/hydra-mobile app build

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@$(BIN)/python -c "import torch; print('torch', torch.__version__)"
	@if [ "$$(uname)" = Linux ] && [ ! -e /dev/nvidiactl ] \
	  && $(BIN)/python -c "import sys, torch; sys.exit(torch.version.cuda is None)"; then \
	  echo "This torch is a CUDA build and there is no GPU here: it works, and takes about 4 GB of"; \
	  echo "disk. The Makefile says how to get a CPU build (TORCH_INDEX)."; fi
	touch $@

# What the quickstart needs; tests and checks need more, which `.installed` brings.
$(VENV)/.quickstart: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[executorch,onnx,quickstart]"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[executorch,onnx,coreml,quickstart,data,tensorboard,mmbench,bitsandbytes,device,android,dev]"
	touch $@

clean:
	rm -rf $(VENV)
