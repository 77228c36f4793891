"""Measures of what a trained model does."""
