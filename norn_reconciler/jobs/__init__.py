"""What apps' own commands need: run beside norn, watched, ended, and kept from what is norn's."""
