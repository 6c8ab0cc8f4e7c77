"""What measures us: peers, workloads, truth files. Never in the wheel; run from the repository."""
