# Training on NVIDIA GPUs: hydra-mobile and its command line, nothing of the checkout's data.
#
#   docker build -t hydra-mobile .
#   docker run --gpus all -v "$PWD":/work hydra-mobile train runs/mine --config emojiqa-smol
#
# This file is checked for form by a test. The image was never built: where it was written there is
# no Docker daemon. Torch's Linux wheels bring their own CUDA libraries; the host needs its driver
# and the NVIDIA container toolkit.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HYDRA_MOBILE_HOME=/cache

# Kernels are compiled on the first step, with a C compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# Torch first: it decides which build everything else gets, and its layer stays when the code changes.
RUN pip install "torch==2.13.0"

COPY . /opt/hydra-mobile
RUN pip install "/opt/hydra-mobile[executorch,onnx,quickstart,data]" \
    && useradd --create-home trainer \
    && mkdir -p /cache /work \
    && chown trainer /cache /work

USER trainer
WORKDIR /work
VOLUME ["/cache"]
ENTRYPOINT ["hydra-mobile"]
CMD ["--help"]
