"""What commands ask of the programs in engine/programs, and of this machine."""
