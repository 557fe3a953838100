"""Passwords from one master key, and the files in which apps are given them."""
