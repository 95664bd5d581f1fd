"""`python -m edgesmith`, which is also what torchrun starts: torchrun --nproc-per-node N -m edgesmith train RECIPE."""

from edgesmith.cli.app import main

if __name__ == "__main__":
    main()
