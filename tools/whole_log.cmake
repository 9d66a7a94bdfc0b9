# Gives llama-perplexity a main function that waits for its log (whole_log.cpp).
set(WHOLE_LOG "${CMAKE_CURRENT_LIST_DIR}/whole_log.cpp")
cmake_language(DEFER CALL set_target_properties llama-perplexity PROPERTIES SOURCES "${WHOLE_LOG}")
