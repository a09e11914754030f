"""Reports as HTML: one file each, no network, no script, every text escaped. Charts are inline SVG."""
