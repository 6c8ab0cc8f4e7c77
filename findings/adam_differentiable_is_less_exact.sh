#!/bin/sh
# Guess: torch's Adam gives the same float64 steps with differentiable=True as without, to rounding.
# Seen (torch 2.13.0, CPU): after 50 steps they are some 1e-6 apart, where float64 rounding is 1e-16.
# The step counter is a float32 tensor, and with differentiable=True the bias corrections beta ** step
# are computed from it, in float32, also for float64 parameters.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "numpy<3"
"$place/venv/bin/python" - <<'EOF'
import torch


def trained(**how):
    optimizer = torch.optim.Adam([torch.zeros(20, dtype=torch.float64, requires_grad=True)], lr=1e-2, **how)
    p = torch.linspace(0.1, 2, 20, dtype=torch.float64, requires_grad=True).clone()
    optimizer.param_groups[0]["params"] = [p]
    for _ in range(50):
        p.grad = 4 * p.detach() ** 3
        optimizer.step() if how["differentiable"] else torch.no_grad()(optimizer.step)()
    return p.detach()


plain, differentiable = trained(differentiable=False), trained(differentiable=True)
assert plain.dtype == differentiable.dtype == torch.float64
apart = float((plain - differentiable).abs().max())
print(f"torch {torch.__version__}: {apart:.1e} apart in float64 after 50 steps")
assert 1e-8 < apart < 1e-4, "this has changed"
EOF
