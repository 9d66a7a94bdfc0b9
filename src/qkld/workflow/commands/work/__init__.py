"""What commands do that takes more than a call: read when the command runs, and so free to import torch."""
