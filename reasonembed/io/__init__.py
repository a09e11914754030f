"""Files in and out: streamed, validated with line numbers, written beside their place and renamed."""
