"""Cards of a run: the model card, the data set card, the answers to checklists and a paragraph of methods."""
