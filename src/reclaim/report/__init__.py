"""How it is shown: one self-contained page and a short table for the terminal."""
