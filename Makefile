# Two commands do everything a newcomer needs: `make quickstart` and `make test`.
# Both create .venv and install what they need. PYTHON picks the interpreter (3.11 or newer).

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# torch comes first and pinned: asked for later, a looser range of another package would bring
# a CUDA build of several gigabytes.
TORCH := torch==2.13.0

.PHONY: quickstart test test-slow lint bench apk clean

quickstart: $(VENV)/.installed
	$(BIN)/hydra-mobile quickstart

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow and not gpu and not device" -q

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow -q

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m android_demo.tools.lint

# Short versions of the speed experiments, on what `make quickstart` leaves.
bench: $(VENV)/.peers
	$(BIN)/python -m experiments.training_speed.run --quick
	$(BIN)/python -m experiments.inference_speed.run --quick

$(VENV)/.peers: $(VENV)/.installed experiments/inference_speed/requirements.txt
	$(BIN)/pip install --quiet --no-deps -r experiments/inference_speed/requirements.txt
	touch $@

# The Android demo app; names the Debian packages that it wants where they are missing.
apk: $(VENV)/.installed
	$(BIN)/hydra-mobile app build

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -e ".[executorch,onnx,coreml,mmbench,bitsandbytes,device,android,dev]"
	touch $@

clean:
	rm -rf $(VENV)
