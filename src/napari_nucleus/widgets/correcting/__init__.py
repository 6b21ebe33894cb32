"""What the dock widget *Correct nuclei* is made of."""
