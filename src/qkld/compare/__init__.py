"""``qkld compare``: the fidelity figures of one quant, or of several with paired tests, without a study."""
