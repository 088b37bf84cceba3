"""The drivers of a run, one file a method: CSRO's policy-space response oracles and PIBR's iterated best response."""
