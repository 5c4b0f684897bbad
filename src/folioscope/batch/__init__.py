"""Piles of documents: read on as many machines as see one folder, each page once, and nothing lost when some die."""
