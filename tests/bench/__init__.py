"""Speed and memory against the reference: `python launch.py bench`. Never part of the tests: a busy machine must not fail them."""
