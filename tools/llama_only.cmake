# Leaves out llama.cpp's tool library: llama-cpp-python loads libllama and ggml alone, and it is half of the compile time.
set(LLAMA_BUILD_COMMON OFF)
