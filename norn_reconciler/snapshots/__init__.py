"""Copies of apps' databases: how they are called, made, checked, kept and thrown away."""
