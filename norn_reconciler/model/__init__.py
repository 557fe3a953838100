"""The nouns that every other room shares. Standard library only; nothing here does I/O."""
