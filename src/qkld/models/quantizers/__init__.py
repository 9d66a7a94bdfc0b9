"""The libraries that quantize: bitsandbytes, torchao, HQQ, compressed-tensors."""
