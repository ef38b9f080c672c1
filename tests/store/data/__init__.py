"""Stores that older versions made, and the script that made them."""
