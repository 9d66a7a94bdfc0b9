"""Whether signals on a prompt tell which answers flip."""
