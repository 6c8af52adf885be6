"""What a paper needs of a run: static figures, LaTeX tables, the text of its methods, and references."""
