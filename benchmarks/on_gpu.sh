#!/usr/bin/env bash
# The whole of the project's speed on one machine with a GPU: tests, generation, ceiling, defenses, peers.
#
#   DATASETS_DIR=data/raw benchmarks/on_gpu.sh [--seconds 330] [--parts tests,ceiling] [--small]
#
# Needs torch, NumPy and h5py; no DVC, no network. DATASETS_DIR holds mnist/ (idx files, plain or .gz) and cifar10/
# (Parquet, which needs pyarrow and Pillow; or cifar10.npz with train_images, train_labels, test_images, test_labels).
# The peers (torchattacks, Foolbox) are those installed, or wheels of theirs in the folder WHEELS; where there are none
# their part says so. Results: JSON files and a log in OUT, by default benchmarks/results/gpu. Without a GPU everything
# runs smaller, on the CPU, and by default into .work/gpu: the committed results are a GPU's.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export DATASETS_DIR=${DATASETS_DIR:-data/raw} PYTHONUNBUFFERED=1
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}
if compgen -G "${WHEELS:-/nowhere}/*.whl" >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
    --root-user-action ignore --target "$site" "$WHEELS"/*.whl && export PYTHONPATH="$PYTHONPATH:$site" \
    || echo "the wheels of $WHEELS did not install"
fi
"$python" benchmarks/on_gpu.py "$@"
