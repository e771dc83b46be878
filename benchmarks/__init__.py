"""Benchmarks of the product beside the bare upstream, nginx and another relay.

Only ratios within one run can be compared.
"""
