"""GGUF files: read, checked, run in torch or by llama.cpp, written."""
