"""Documents: folders and files in, passages out: found, read, cleaned, chunked, deduplicated; what was left out is reported."""
