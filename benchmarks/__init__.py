"""What the product costs: measured in one run beside the bare upstream, nginx and another relay; ratios count."""
