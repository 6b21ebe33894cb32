"""Prompts: a click or a box becomes the outline of a nucleus."""
