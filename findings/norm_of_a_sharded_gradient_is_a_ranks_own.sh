#!/bin/sh
# Guess: under FSDP2, float(p.grad.norm()) is the norm of the gradient, the same on every rank, as it is
# for a plain tensor.
# Seen (torch 2.13.0, gloo, 2 ranks): each rank gets the norm of the rows that it holds, and no warning;
# the squares of these add up to that of the whole, which full_tensor().norm() gives on both.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "numpy<3"
cd "$place"
cat > norms.py <<'EOF'
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def rank(r, port, out):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(r), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4, bias=False)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    model(torch.arange(6.0).reshape(2, 3)).square().mean().backward()
    gradient = model.weight.grad
    out.put((r, float(gradient.norm()), float(gradient.full_tensor().norm())))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(rank, (port, queue), nprocs=2)
    seen = sorted(queue.get() for _ in range(2))
    for r, norm, whole in seen:
        print(f"torch {torch.__version__}, rank {r}: float(grad.norm()) {norm:.4f}, of the whole gradient {whole:.4f}")
    parts = [norm for _, norm, _ in seen]
    whole = seen[0][2]
    assert abs(sum(p * p for p in parts) ** 0.5 - whole) < 1e-4 and max(parts) < whole, "this has changed"
EOF
"$place/venv/bin/python" norms.py
