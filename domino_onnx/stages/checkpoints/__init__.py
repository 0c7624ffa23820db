"""What a run keeps on disk while it lasts: a folder, its pieces, and what tells whether they can be believed."""
