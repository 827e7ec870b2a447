"""The parts of `python -m tests.proofs.simulate`: the product's own code between fakes of all that
is outside it, under a clock that moves only when the simulation says so."""
