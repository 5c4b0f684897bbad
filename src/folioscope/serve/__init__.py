"""HTTP: reading, segmenting and the page where a person tries both. Needs the extra `serve`."""
