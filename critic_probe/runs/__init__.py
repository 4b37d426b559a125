"""What a training run leaves behind: its records read, judged, scored again and followed."""
