"""Files in, a settled fleet out: reading, checking, scanning and watching the specs folder.

Names no service: what stands under `services:` is checked by the section models that are passed in.
"""
