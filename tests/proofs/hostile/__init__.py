"""Hostile pictures and links, through the whole way of a paid order."""
