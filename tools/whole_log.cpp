// llama-perplexity's own main, and then the rest of its log: a thread writes it, and the process would end before that.
#include "log.h"

int llama_perplexity(int argc, char ** argv);

int main(int argc, char ** argv) {
    const int code = llama_perplexity(argc, argv);
    common_log_pause(common_log_main());
    return code;
}
